package calls

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

type cachingWatcher struct {
	store.Backend
	store.Cacher
	store.Watcher
	store.Lister
}

func TestEveryPanicIsAnErrorWithAStack(t *testing.T) {
	logged := ""
	log := func(_ string, args ...any) { logged += fmt.Sprintln(args...) }
	// Its interfaces are nil, and so each method dereferences nil.
	b := Of(cachingWatcher{}, log, nil)
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
		"Watch": func() error { return b.Watch(ctx, func(store.Ending) {}) },
		"Count": func() error { _, err := b.Count(ctx, "a="); return err },
		"All": func() (failed error) {
			for rec, err := range b.All(ctx, "a=") {
				require.Nil(t, rec.Session)
				require.NoError(t, failed)
				failed = err
			}
			return failed
		},
	} {
		logged = ""
		require.ErrorContains(t, call(), method+" of the backend panicked: runtime error", method)
		require.Contains(t, logged, "calls_test.go", "the stack of "+method)
	}
	logged = ""
	_, ok := b.Cached(store.Key{})
	require.False(t, ok)
	require.Contains(t, logged, "calls_test.go")
}

type panicking struct {
	store.Backend
	value any
}

func (p panicking) Load(context.Context, store.Key) (store.Record, error) { panic(p.value) }

// A server's failure is never taken for the end of a session.
func TestThePanicOfAResultIsNoResult(t *testing.T) {
	for _, value := range []any{store.ErrNotFound, &store.MovedError{}, &store.EndedError{Reason: store.ReasonEnded}} {
		b := Of(panicking{value: value}, func(string, ...any) {}, nil)
		_, err := b.Load(t.Context(), store.Key{})
		require.Error(t, err)
		require.NotErrorIs(t, err, store.ErrNotFound)
	}
}

func TestOptionalInterfacesAreThoseOfTheBackend(t *testing.T) {
	m := store.NewMemory()
	b := Of(m, nil, nil)
	require.Same(t, m, b.Backend, "a protected request calls it directly")
	require.Equal(t, Interfaces{Backend: m, Watcher: m, Lister: m}, b)

	b = Of(panicking{}, nil, nil)
	require.Equal(t, Interfaces{Backend: b.Backend}, b)
}

type listing struct{ store.Backend }

func (listing) All(context.Context, string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		_ = yield(store.Record{LastSeen: 1}, nil) && yield(store.Record{LastSeen: 2}, nil)
	}
}

func (listing) Count(context.Context, string) (int, error) { return 2, nil }

func TestAllStopsWhereTheCallerDoes(t *testing.T) {
	b := Of(listing{}, func(string, ...any) { t.Error("no panic of the backend") }, nil)
	n := 0
	for range b.All(t.Context(), "a=") {
		n++
		break
	}
	require.Equal(t, 1, n)
	require.PanicsWithValue(t, "the caller's", func() {
		for range b.All(t.Context(), "a=") {
			panic("the caller's")
		}
	})
}

func TestACallCostsNoAllocation(t *testing.T) {
	m := store.NewMemory()
	b := Of(struct {
		store.Backend
		store.Cacher
	}{m, misses{}}, nil, nil)
	direct := testing.AllocsPerRun(100, func() { _, _ = m.Load(t.Context(), store.Key{}) })
	require.Equal(t, direct, testing.AllocsPerRun(100, func() {
		_, _ = b.Cached(store.Key{})
		_, _ = b.Load(t.Context(), store.Key{})
	}))
}

type misses struct{}

func (misses) Cached(store.Key) (store.Record, bool) { return store.Record{}, false }

// answering returns err from each call.
type answering struct {
	listing
	err error
}

func (a answering) Load(context.Context, store.Key) (store.Record, error) {
	time.Sleep(time.Second)
	return store.Record{}, a.err
}

func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for err, failed := range map[error]bool{
			nil:                      false,
			store.ErrNotFound:        false,
			&store.MovedError{}:      false,
			&store.EndedError{}:      false,
			store.ErrConflict:        false,
			store.ErrLimit:           false,
			context.DeadlineExceeded: true,
		} {
			reports := 0
			b := Of(answering{err: err}, nil, func(method string, took time.Duration, got error) {
				reports++
				require.Equal(t, "Load", method)
				require.Equal(t, time.Second, took)
				if failed {
					require.Equal(t, err, got)
				} else {
					require.NoError(t, got)
				}
			})
			_, got := b.Load(t.Context(), store.Key{})
			require.Equal(t, err, got)
			require.Equal(t, 1, reports)
		}
	})
}

func TestReportOfAPanicAndOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var methods []string
		report := func(method string, took time.Duration, err error) {
			require.Zero(t, took, "without the time of the caller")
			if err != nil {
				method += " failed"
			}
			methods = append(methods, method)
		}
		b := Of(panicking{value: "down"}, func(string, ...any) {}, report)
		_, err := b.Load(t.Context(), store.Key{})
		require.Error(t, err)
		for range Of(listing{}, nil, report).All(t.Context(), "a=") {
			time.Sleep(time.Hour)
		}
		for range Of(cachingWatcher{}, func(string, ...any) {}, report).All(t.Context(), "a=") {
		}
		require.Equal(t, []string{"Load failed", "All", "All failed"}, methods)
	})
}

// failing yields an error and, against the contract, goes on after it.
type failing struct {
	listing
	err error
}

func (f failing) All(context.Context, string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		_ = yield(store.Record{}, f.err) && yield(store.Record{}, nil)
	}
}

func TestAnErrorOfAllIsReportedAndTheLast(t *testing.T) {
	down := errors.New("down")
	for yielded, want := range map[error]error{down: down, store.ErrNotFound: nil} {
		var reported, got []error
		b := Of(failing{err: yielded}, nil, func(_ string, _ time.Duration, err error) { reported = append(reported, err) })
		for _, err := range b.All(t.Context(), "a=") {
			got = append(got, err)
		}
		require.Equal(t, []error{yielded}, got)
		require.Equal(t, []error{want}, reported)
	}
}

func TestMemoryIsReportedToo(t *testing.T) {
	reported := ""
	b := Of(store.NewMemory(), nil, func(method string, _ time.Duration, _ error) { reported = method })
	_, _ = b.Load(t.Context(), store.Key{})
	require.Equal(t, "Load", reported)
}
