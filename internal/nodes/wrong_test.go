package nodes

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

const (
	separate     = "each node keeps sessions of its own"
	caches       = "a node believes what it has loaded once"
	losesDeletes = "a session that is deleted stays"
	losesReasons = "nobody remembers why a session was ended"
	miscounts    = "the limit is kept in steps"
	forksReplace = "a session is revived as often as it is asked for"
	overwrites   = "the last values win"
	resurrects   = "saving brings a session back"
	touchesBack  = "touching brings a session back"
	tellsNobody  = "a watcher is told nothing"
)

// mistakes are what breaks a promise, by the promise's name.
var mistakes = map[string][]string{
	"who logs in on one node is logged in on the other":                               {separate},
	"a logout on one node ends every copy on the other":                               {caches, losesDeletes},
	"who ends a session on one node ends it on the other, and it is told why":         {losesReasons, caches},
	"a slow request on one node brings nothing back that was logged out on the other": {resurrects, touchesBack},
	"of 100 logins on both nodes as many live on as the limit allows":                 {miscounts},
	"50 requests on both nodes revive a remembered session once":                      {forksReplace},
	"two requests on two nodes that change different values both win":                 {overwrites},
	"a stream on one node is cut when its session ends on the other":                  {tellsNobody},
}

// wrong is a node on a Memory, with one mistake. It counts as remote.
func wrong(m *store.Memory, mistake string) *wrongNode {
	return &wrongNode{Memory: m, mistake: mistake, loaded: &sync.Map{}}
}

type wrongNode struct {
	*store.Memory
	mistake string
	loaded  *sync.Map // by key: what was last loaded
}

// travel is the way to a backend on a network and back. What is tried again and again
// then takes time also in a synctest bubble.
func (*wrongNode) travel() { time.Sleep(time.Millisecond) }

func (w *wrongNode) ByOwner(ctx context.Context, owner string) ([]store.Record, error) {
	w.travel()
	return w.Memory.ByOwner(ctx, owner)
}

func (w *wrongNode) Create(ctx context.Context, r store.Record, limit store.Limit) ([]store.Record, error) {
	w.travel()
	if w.mistake != miscounts || limit.Max == 0 {
		return w.Memory.Create(ctx, r, limit)
	}
	records, err := w.ByOwner(ctx, r.Owner)
	if err != nil {
		return nil, err
	}
	if limit.Refuse && len(records) >= limit.Max {
		return nil, store.ErrLimit
	}
	var ended []store.Record
	for i := 0; i <= len(records)-limit.Max; i++ {
		rec, err := w.Memory.Delete(ctx, records[i].Key, store.ReasonTooManySessions)
		if err != nil {
			return nil, err
		}
		ended = append(ended, rec)
	}
	w.travel()
	_, err = w.Memory.Create(ctx, r, store.Limit{})
	return ended, err
}

func (w *wrongNode) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	w.travel()
	if w.mistake == forksReplace && r.Revived() {
		if _, err := w.Memory.Load(ctx, old); err == nil {
			_, err = w.Memory.Create(ctx, r, store.Limit{})
			return err
		}
	}
	return w.Memory.Replace(ctx, old, version, r)
}

func (w *wrongNode) Load(ctx context.Context, key store.Key) (store.Record, error) {
	w.travel()
	if r, ok := w.loaded.Load(key); ok && w.mistake == caches {
		return r.(store.Record), nil
	}
	r, err := w.Memory.Load(ctx, key)
	if err == nil {
		w.loaded.Store(key, r)
	}
	return r, err
}

// back creates a session again that this node has loaded.
func (w *wrongNode) back(ctx context.Context, key store.Key) error {
	r, ok := w.loaded.Load(key)
	if !ok {
		return store.ErrNotFound
	}
	_, err := w.Memory.Create(ctx, r.(store.Record), store.Limit{})
	return err
}

func (w *wrongNode) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	err := w.Memory.Touch(ctx, key, seen)
	if w.mistake == touchesBack && errors.Is(err, store.ErrNotFound) {
		return w.back(ctx, key)
	}
	return err
}

func (w *wrongNode) Save(ctx context.Context, key store.Key, version uint64, values []byte) error {
	w.travel()
	err := w.Memory.Save(ctx, key, version, values)
	if w.mistake == overwrites && errors.Is(err, store.ErrConflict) {
		return w.Memory.Save(ctx, key, version+1, values)
	}
	if w.mistake == resurrects && errors.Is(err, store.ErrNotFound) {
		return w.back(ctx, key)
	}
	return err
}

func (w *wrongNode) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	w.travel()
	switch w.mistake {
	case losesDeletes:
		return w.Memory.Load(ctx, key)
	case losesReasons:
		reason = store.ReasonLoggedOut
	}
	return w.Memory.Delete(ctx, key, reason)
}

func (w *wrongNode) Watch(ctx context.Context, ended func(store.Ending)) error {
	if w.mistake == tellsNobody {
		return nil
	}
	return w.Memory.Watch(ctx, ended)
}
