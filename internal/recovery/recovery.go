// Package recovery turns the panics of a backend into errors. A driver's or a client
// library's mistake must not leave a request without a response, end the process on a
// goroutine of the guard, or be taken for a result.
package recovery

import (
	"context"
	"fmt"
	"iter"
	"runtime/debug"

	"github.com/sessionguard-go/sessionguard/store"
)

// Interfaces are a backend with its optional interfaces, nil where it does not have them.
type Interfaces struct {
	store.Backend
	store.Cacher
	store.Watcher
	store.Lister
}

// Of returns the interfaces of b. What panics there returns an error instead, and is logged
// with its stack. A call that returns costs no allocation more. [store.Memory] comes back as
// it is: it calls no foreign code.
//
// It cannot recover from a panic in a goroutine that b has started.
func Of(b store.Backend, log func(message string, args ...any)) Interfaces {
	if m, ok := b.(*store.Memory); ok {
		return Interfaces{Backend: m, Watcher: m, Lister: m}
	}
	r := recoverer{log}
	all := Interfaces{Backend: &backend{b, r}}
	if cacher, ok := b.(store.Cacher); ok {
		all.Cacher = recoveringCacher{cacher, r}
	}
	if watcher, ok := b.(store.Watcher); ok {
		all.Watcher = recoveringWatcher{watcher, r}
	}
	if lister, ok := b.(store.Lister); ok {
		all.Lister = recoveringLister{lister, r}
	}
	return all
}

type recoverer struct {
	log func(message string, args ...any)
}

// recover is deferred by a call of method. If that panics, it sets err. The error wraps
// nothing: what a panic says is no result.
func (r recoverer) recover(method string, err *error) {
	if p := recover(); p != nil {
		*err = r.failed(method, p)
	}
}

func (r recoverer) failed(method string, p any) error {
	r.log("the backend panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
	return fmt.Errorf("%s of the backend panicked: %v", method, p)
}

type recoveringCacher struct {
	store.Cacher
	recoverer
}

// Cached implements [store.Cacher]. After a panic, the caller has to ask the server.
func (c recoveringCacher) Cached(key store.Key) (r store.Record, ok bool) {
	var err error
	defer c.recover("Cached", &err)
	return c.Cacher.Cached(key)
}

type recoveringWatcher struct {
	store.Watcher
	recoverer
}

func (w recoveringWatcher) Watch(ctx context.Context, ended func(store.Ending)) (err error) {
	defer w.recover("Watch", &err)
	return w.Watcher.Watch(ctx, ended)
}

type recoveringLister struct {
	store.Lister
	recoverer
}

// All implements [store.Lister]. A panic of yield is not the backend's.
func (l recoveringLister) All(ctx context.Context, realm string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		yielding := false
		err := func() (err error) {
			defer func() {
				if !yielding {
					if p := recover(); p != nil {
						err = l.failed("All", p)
					}
				}
			}()
			for rec, err := range l.Lister.All(ctx, realm) {
				yielding = true
				more := yield(rec, err)
				yielding = false
				if !more || err != nil {
					return nil
				}
			}
			return nil
		}()
		if err != nil {
			yield(store.Record{}, err)
		}
	}
}

// Count implements [store.Lister].
func (l recoveringLister) Count(ctx context.Context, realm string) (n int, err error) {
	defer l.recover("Count", &err)
	return l.Lister.Count(ctx, realm)
}

type backend struct {
	store.Backend
	recoverer
}

func (b *backend) Create(ctx context.Context, r store.Record, limit store.Limit) (ended []store.Record, err error) {
	defer b.recover("Create", &err)
	return b.Backend.Create(ctx, r, limit)
}

func (b *backend) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) (err error) {
	defer b.recover("Replace", &err)
	return b.Backend.Replace(ctx, old, version, r)
}

func (b *backend) Load(ctx context.Context, key store.Key) (r store.Record, err error) {
	defer b.recover("Load", &err)
	return b.Backend.Load(ctx, key)
}

func (b *backend) Touch(ctx context.Context, key store.Key, seen store.Time) (err error) {
	defer b.recover("Touch", &err)
	return b.Backend.Touch(ctx, key, seen)
}

func (b *backend) Save(ctx context.Context, r store.Record) (err error) {
	defer b.recover("Save", &err)
	return b.Backend.Save(ctx, r)
}

func (b *backend) Delete(ctx context.Context, key store.Key, reason store.Reason) (ended store.Record, err error) {
	defer b.recover("Delete", &err)
	return b.Backend.Delete(ctx, key, reason)
}

func (b *backend) LoadByID(ctx context.Context, owner, id string) (r store.Record, err error) {
	defer b.recover("LoadByID", &err)
	return b.Backend.LoadByID(ctx, owner, id)
}

func (b *backend) ByOwner(ctx context.Context, owner, after string, max int) (page []store.Record, err error) {
	defer b.recover("ByOwner", &err)
	return b.Backend.ByOwner(ctx, owner, after, max)
}

func (b *backend) DeleteByID(ctx context.Context, ends []store.End) (ended []store.Record, err error) {
	defer b.recover("DeleteByID", &err)
	return b.Backend.DeleteByID(ctx, ends)
}
