// Package calls makes the calls of a backend: it turns their panics into errors, and reports
// how long they take. A driver's or a client library's mistake must not leave a request without
// a response, end the process on a goroutine of the guard, or be taken for a result.
package calls

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// Interfaces are a backend with its optional interfaces, nil where it does not have them.
type Interfaces struct {
	store.Backend
	store.Cacher
	store.Watcher
	store.Lister
}

// A Report is told about a call: the method, how long it took, and its error. That is nil for
// a result, such as [store.ErrNotFound].
type Report func(method string, took time.Duration, err error)

// Of returns the interfaces of b. What panics there returns an error instead, and is logged
// with its stack. A call that returns costs no allocation more. Without a report,
// [store.Memory] comes back as it is: it calls no foreign code.
//
// It cannot recover from a panic in a goroutine that b has started.
func Of(b store.Backend, log func(message string, args ...any), report Report) Interfaces {
	if m, ok := b.(*store.Memory); ok && report == nil {
		return Interfaces{Backend: m, Watcher: m, Lister: m}
	}
	c := caller{log, report}
	all := Interfaces{Backend: &backend{b, c}}
	if cacher, ok := b.(store.Cacher); ok {
		all.Cacher = safeCacher{cacher, c}
	}
	if watcher, ok := b.(store.Watcher); ok {
		all.Watcher = safeWatcher{watcher, c}
	}
	if lister, ok := b.(store.Lister); ok {
		all.Lister = safeLister{lister, c}
	}
	return all
}

type caller struct {
	log    func(message string, args ...any)
	report Report // nil: nobody wants to know
}

// begin returns the time, if it is to be reported.
func (c caller) begin() (began time.Time) {
	if c.report != nil {
		began = time.Now()
	}
	return began
}

// end is deferred by a call of method. If that panics, it sets err. The error wraps nothing:
// what a panic says is no result.
func (c caller) end(method string, began time.Time, err *error) {
	if p := recover(); p != nil {
		*err = c.failed(method, p)
	}
	if c.report != nil {
		c.report(method, time.Since(began), failure(*err))
	}
}

func (c caller) failed(method string, p any) error {
	c.log("the backend panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
	return fmt.Errorf("%s of the backend panicked: %v", method, p)
}

// failure returns err unless it is a result.
func failure(err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrLimit) {
		return nil
	}
	return err
}

type safeCacher struct {
	store.Cacher
	caller
}

// Cached implements [store.Cacher]. After a panic, the caller has to ask the server. It is
// not reported: it asks nobody.
func (c safeCacher) Cached(key store.Key) (r store.Record, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			_ = c.failed("Cached", p)
		}
	}()
	return c.Cacher.Cached(key)
}

type safeWatcher struct {
	store.Watcher
	caller
}

func (w safeWatcher) Watch(ctx context.Context, ended func(store.Ending)) (err error) {
	defer w.end("Watch", w.begin(), &err)
	return w.Watcher.Watch(ctx, ended)
}

type safeLister struct {
	store.Lister
	caller
}

// All implements [store.Lister]. A panic of yield is not the backend's, and its time is none
// of the call.
func (l safeLister) All(ctx context.Context, realm string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		began, failed, yielding := l.begin(), error(nil), false
		defer func() {
			if yielding {
				return
			}
			p := recover()
			if p != nil {
				failed = l.failed("All", p)
			}
			if l.report != nil {
				l.report("All", time.Since(began), failure(failed))
			}
			if p != nil {
				yield(store.Record{}, failed)
			}
		}()
		for rec, err := range l.Lister.All(ctx, realm) {
			paused := l.begin()
			failed, yielding = err, true
			more := yield(rec, err)
			yielding = false
			began = began.Add(l.begin().Sub(paused))
			if !more || err != nil {
				return
			}
		}
	}
}

// Count implements [store.Lister].
func (l safeLister) Count(ctx context.Context, realm string) (n int, err error) {
	defer l.end("Count", l.begin(), &err)
	return l.Lister.Count(ctx, realm)
}

type backend struct {
	store.Backend
	caller
}

func (b *backend) Create(ctx context.Context, r store.Record, limit store.Limit) (ended []store.Record, err error) {
	defer b.end("Create", b.begin(), &err)
	return b.Backend.Create(ctx, r, limit)
}

func (b *backend) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) (err error) {
	defer b.end("Replace", b.begin(), &err)
	return b.Backend.Replace(ctx, old, version, r)
}

func (b *backend) Load(ctx context.Context, key store.Key) (r store.Record, err error) {
	defer b.end("Load", b.begin(), &err)
	return b.Backend.Load(ctx, key)
}

func (b *backend) Touch(ctx context.Context, key store.Key, seen store.Time) (err error) {
	defer b.end("Touch", b.begin(), &err)
	return b.Backend.Touch(ctx, key, seen)
}

func (b *backend) Save(ctx context.Context, r store.Record) (err error) {
	defer b.end("Save", b.begin(), &err)
	return b.Backend.Save(ctx, r)
}

func (b *backend) Delete(ctx context.Context, key store.Key, reason store.Reason) (ended store.Record, err error) {
	defer b.end("Delete", b.begin(), &err)
	return b.Backend.Delete(ctx, key, reason)
}

func (b *backend) LoadByID(ctx context.Context, owner, id string) (r store.Record, err error) {
	defer b.end("LoadByID", b.begin(), &err)
	return b.Backend.LoadByID(ctx, owner, id)
}

func (b *backend) ByOwner(ctx context.Context, owner, after string, max int) (page []store.Record, err error) {
	defer b.end("ByOwner", b.begin(), &err)
	return b.Backend.ByOwner(ctx, owner, after, max)
}

func (b *backend) DeleteByID(ctx context.Context, ends []store.End) (ended []store.Record, err error) {
	defer b.end("DeleteByID", b.begin(), &err)
	return b.Backend.DeleteByID(ctx, ends)
}
