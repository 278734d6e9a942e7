package acceptance

import (
	"context"
	"errors"
	"iter"
	"maps"
	"sync"

	"github.com/sessionguard-go/sessionguard/store"
)

// failingBackend is a backend that counts its calls, fails on demand, and can run a test's
// function before a call. The guard treats it as remote, because it is not a *store.Memory.
type failingBackend struct {
	store.Backend
	mu     sync.Mutex
	calls  map[string]int
	fail   map[string]error  // by method, "*" for all
	before map[string]func() // by method, outside the lock
}

func newFailingBackend() *failingBackend {
	return &failingBackend{Backend: store.NewMemory(), calls: map[string]int{}, fail: map[string]error{}, before: map[string]func(){}}
}

var errBackendDown = errors.New("the backend is down")

// failOn makes these methods fail from now on, "*" all of them, and no others.
func (f *failingBackend) failOn(methods ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.fail)
	for _, m := range methods {
		f.fail[m] = errBackendDown
	}
}

// beforeCall runs do before each call of method, or no longer if do is nil.
func (f *failingBackend) beforeCall(method string, do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before[method] = do
}

func (f *failingBackend) callCounts() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.calls)
}

// enter counts a call and returns the error that it must fail with.
func (f *failingBackend) enter(method string) error {
	f.mu.Lock()
	f.calls[method]++
	before := f.before[method]
	err := errors.Join(f.fail[method], f.fail["*"])
	f.mu.Unlock()
	if before != nil {
		before()
	}
	return err
}

func (f *failingBackend) Create(ctx context.Context, r store.Record, l store.Limit) ([]store.Record, error) {
	if err := errors.Join(f.enter("Create"), checkGroup(r)); err != nil {
		return nil, err
	}
	return f.Backend.Create(ctx, r, l)
}

func (f *failingBackend) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	if err := errors.Join(f.enter("Replace"), checkGroup(r)); err != nil {
		return err
	}
	return f.Backend.Replace(ctx, old, version, r)
}

// checkGroup fails where a backend on several machines would: a key must belong to the
// group of its owner.
func checkGroup(r store.Record) error {
	if r.Key.Group() != store.GroupOf(r.Owner) {
		return errors.New("the key is not in its owner's group")
	}
	return nil
}

func (f *failingBackend) Load(ctx context.Context, key store.Key) (store.Record, error) {
	if err := f.enter("Load"); err != nil {
		return store.Record{}, err
	}
	return f.Backend.Load(ctx, key)
}

func (f *failingBackend) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	if err := f.enter("Touch"); err != nil {
		return err
	}
	return f.Backend.Touch(ctx, key, seen)
}

func (f *failingBackend) Save(ctx context.Context, r store.Record) error {
	if err := f.enter("Save"); err != nil {
		return err
	}
	return f.Backend.Save(ctx, r)
}

func (f *failingBackend) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	if err := f.enter("Delete"); err != nil {
		return store.Record{}, err
	}
	return f.Backend.Delete(ctx, key, reason)
}

func (f *failingBackend) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	if err := f.enter("LoadByID"); err != nil {
		return store.Record{}, err
	}
	return f.Backend.LoadByID(ctx, owner, id)
}

func (f *failingBackend) ByOwner(ctx context.Context, owner, after string, max int) ([]store.Record, error) {
	if err := f.enter("ByOwner"); err != nil {
		return nil, err
	}
	return f.Backend.ByOwner(ctx, owner, after, max)
}

func (f *failingBackend) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	if err := f.enter("DeleteByID"); err != nil {
		return nil, err
	}
	return f.Backend.DeleteByID(ctx, ends)
}

// All implements store.Lister. Before each session it is also a call of "next".
func (f *failingBackend) All(ctx context.Context, realm string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		if err := f.enter("All"); err != nil {
			yield(store.Record{}, err)
			return
		}
		for r, err := range f.Backend.(store.Lister).All(ctx, realm) {
			if failed := f.enter("next"); failed != nil {
				r, err = store.Record{}, failed
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func (f *failingBackend) Count(ctx context.Context, realm string) (int, error) {
	if err := f.enter("Count"); err != nil {
		return 0, err
	}
	return f.Backend.(store.Lister).Count(ctx, realm)
}

// withValues returns a copy of r with other values, which Save can store.
func withValues(r store.Record, values []byte) store.Record {
	s := *r.Session
	s.Values = values
	s.Version++
	r.Session = &s
	return r
}
