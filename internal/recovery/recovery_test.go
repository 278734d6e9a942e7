package recovery

import (
	"context"
	"fmt"
	"testing"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

type cachingWatcher struct {
	store.Backend
	store.Cacher
	store.Watcher
}

func TestEveryPanicIsAnErrorWithAStack(t *testing.T) {
	logged := ""
	log := func(_ string, args ...any) { logged += fmt.Sprintln(args...) }
	// Its interfaces are nil, and so each method dereferences nil.
	b, cacher, watcher := Backend(cachingWatcher{}, log)
	ctx := t.Context()
	for method, call := range map[string]func() error{
		"Create":   func() error { _, err := b.Create(ctx, store.Record{}, store.Limit{}); return err },
		"Replace":  func() error { return b.Replace(ctx, store.Key{}, 1, store.Record{}) },
		"Load":     func() error { _, err := b.Load(ctx, store.Key{}); return err },
		"Touch":    func() error { return b.Touch(ctx, store.Key{}, 1) },
		"Save":     func() error { return b.Save(ctx, store.Record{}) },
		"Delete":   func() error { _, err := b.Delete(ctx, store.Key{}, store.ReasonEnded); return err },
		"LoadByID": func() error { _, err := b.LoadByID(ctx, "a", "b"); return err },
		"ByOwner":  func() error { _, err := b.ByOwner(ctx, "a", "", 1); return err },
		"DeleteByID": func() error {
			_, err := b.DeleteByID(ctx, []store.End{{}})
			return err
		},
		"Watch": func() error { return watcher.Watch(ctx, func(store.Ending) {}) },
	} {
		logged = ""
		require.ErrorContains(t, call(), method+" of the backend panicked: runtime error", method)
		require.Contains(t, logged, "recovery_test.go", "the stack of "+method)
	}
	logged = ""
	_, ok := cacher.Cached(store.Key{})
	require.False(t, ok)
	require.Contains(t, logged, "recovery_test.go")
}

type panicking struct {
	store.Backend
	value any
}

func (p panicking) Load(context.Context, store.Key) (store.Record, error) { panic(p.value) }

// A server's failure is never taken for the end of a session.
func TestThePanicOfAResultIsNoResult(t *testing.T) {
	for _, value := range []any{store.ErrNotFound, &store.MovedError{}, &store.EndedError{Reason: store.ReasonEnded}} {
		b, _, _ := Backend(panicking{value: value}, func(string, ...any) {})
		_, err := b.Load(t.Context(), store.Key{})
		require.Error(t, err)
		require.NotErrorIs(t, err, store.ErrNotFound)
	}
}

func TestOptionalInterfacesAreThoseOfTheBackend(t *testing.T) {
	m := store.NewMemory()
	b, cacher, watcher := Backend(m, nil)
	require.Same(t, m, b, "a protected request calls it directly")
	require.Nil(t, cacher)
	require.Equal(t, store.Watcher(m), watcher)

	_, cacher, watcher = Backend(panicking{}, nil)
	require.Nil(t, cacher)
	require.Nil(t, watcher)
}

func TestACallCostsNoAllocation(t *testing.T) {
	m := store.NewMemory()
	b, cacher, _ := Backend(struct {
		store.Backend
		store.Cacher
	}{m, misses{}}, nil)
	direct := testing.AllocsPerRun(100, func() { _, _ = m.Load(t.Context(), store.Key{}) })
	require.Equal(t, direct, testing.AllocsPerRun(100, func() {
		_, _ = cacher.Cached(store.Key{})
		_, _ = b.Load(t.Context(), store.Key{})
	}))
}

type misses struct{}

func (misses) Cached(store.Key) (store.Record, bool) { return store.Record{}, false }
