package storetest

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/sessionguard-go/sessionguard/store"
)

// alternatingNodes are two nodes that should behave like one backend. Calls go to a and b in
// turn.
type alternatingNodes struct {
	a, b  store.Backend
	calls atomic.Uint64
}

// alternate returns a backend whose calls go to a and b in turn. It is a Watcher if a is one,
// and a Lister if both are.
func alternate(a, b store.Backend) store.Backend {
	n := &alternatingNodes{a: a, b: b}
	w, watches := a.(store.Watcher)
	la, lists := a.(store.Lister)
	lb, listsToo := b.(store.Lister)
	l := alternatingListers{n, la, lb}
	switch lists = lists && listsToo; {
	case watches && lists:
		return struct {
			alternatingListers
			store.Watcher
		}{l, w}
	case lists:
		return l
	case watches:
		return struct {
			*alternatingNodes
			store.Watcher
		}{n, w}
	}
	return n
}

func (n *alternatingNodes) next() store.Backend {
	if n.calls.Add(1)%2 == 1 {
		return n.a
	}
	return n.b
}

func (n *alternatingNodes) Create(ctx context.Context, r store.Record, limit store.Limit) ([]store.Record, error) {
	return n.next().Create(ctx, r, limit)
}

func (n *alternatingNodes) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	return n.next().Replace(ctx, old, version, r)
}

func (n *alternatingNodes) Load(ctx context.Context, key store.Key) (store.Record, error) {
	return n.next().Load(ctx, key)
}

func (n *alternatingNodes) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	return n.next().Touch(ctx, key, seen)
}

func (n *alternatingNodes) Save(ctx context.Context, r store.Record) error {
	return n.next().Save(ctx, r)
}

func (n *alternatingNodes) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	return n.next().Delete(ctx, key, reason)
}

func (n *alternatingNodes) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	return n.next().LoadByID(ctx, owner, id)
}

func (n *alternatingNodes) ByOwner(ctx context.Context, owner, after string, max int) ([]store.Record, error) {
	return n.next().ByOwner(ctx, owner, after, max)
}

func (n *alternatingNodes) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	return n.next().DeleteByID(ctx, ends)
}

// alternatingListers are alternatingNodes that are Listers.
type alternatingListers struct {
	*alternatingNodes
	a, b store.Lister
}

func (l alternatingListers) next() store.Lister {
	if l.calls.Add(1)%2 == 1 {
		return l.a
	}
	return l.b
}

func (l alternatingListers) All(ctx context.Context, realm string) iter.Seq2[store.Record, error] {
	return l.next().All(ctx, realm)
}

func (l alternatingListers) Count(ctx context.Context, realm string) (int, error) {
	return l.next().Count(ctx, realm)
}
