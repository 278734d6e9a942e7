package storetest

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

func TestMemoryKeepsEveryPromise(t *testing.T) {
	Run(t, func(*testing.T) store.Backend { return store.NewMemory() })
}

func TestMemoryKeepsEveryPromiseInASynctestBubble(t *testing.T) {
	for _, p := range checksFor(store.NewMemory()) {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { p.run(t, store.NewMemory()) })
		})
	}
}

func TestMemoryKeepsEveryPromiseAsTwoNodes(t *testing.T) {
	RunNodes(t, func(*testing.T) (a, b store.Backend) {
		m := store.NewMemory()
		return m, m
	})
}

func TestPlainBackendKeepsEveryPromise(t *testing.T) {
	Run(t, func(*testing.T) store.Backend { return newMapBackend("").mapBackend })
}

func TestPlainWatcherKeepsEveryPromise(t *testing.T) {
	Run(t, func(*testing.T) store.Backend { return newMapBackend("") })
}

func TestPlainNodesKeepEveryPromise(t *testing.T) {
	RunNodes(t, func(*testing.T) (a, b store.Backend) {
		p := newMapBackend("")
		return p, p.anotherNode()
	})
}

func TestOnlyAWatcherIsAskedToWatch(t *testing.T) {
	w := newMapBackend("")
	require.Len(t, checksFor(w.mapBackend), len(backendChecks))
	require.Len(t, checksFor(w), len(backendChecks)+len(watcherChecks))
	require.Len(t, checksFor(alternate(w.mapBackend, w.mapBackend)), len(backendChecks))
	require.Len(t, checksFor(alternate(w, w)), len(backendChecks)+len(watcherChecks))
}

// A field that newRecord or successor left out would be in no promise.
func TestEveryFieldHasAValueOfItsOwn(t *testing.T) {
	same := map[string]bool{"ID": true, "Owner": true, "Created": true}
	r := newRecord()
	fields, replaced := fieldsOf(r), fieldsOf(successor(r))
	seen := map[string]string{}
	for name, value := range fields {
		require.False(t, value.IsZero(), "%s is zero", name)
		is := fmt.Sprint(value.Interface())
		require.Empty(t, seen[is], "%s has the value of another field", name)
		seen[is] = name
		require.Equal(t, same[name], is == fmt.Sprint(replaced[name].Interface()), "%s after Replace", name)
	}
}

func fieldsOf(r store.Record) map[string]reflect.Value {
	fields := map[string]reflect.Value{"LastSeen": reflect.ValueOf(r.LastSeen)}
	for _, part := range []any{*r.Session, *r.Details} {
		v := reflect.ValueOf(part)
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "Details" {
				fields[name] = v.Field(i)
			}
		}
	}
	return fields
}

// Every promise is seen broken by a backend with one mistake, and every mistake is
// found. Once it is, only promises that nothing has broken yet are tried.
func TestEveryMistakeIsFound(t *testing.T) {
	seen := map[string]bool{}
	for _, of := range mistakes {
		for _, mistake := range of.made {
			t.Run(mistake, func(t *testing.T) {
				var broken []string
				for _, p := range of.promises {
					if len(broken) > 0 && seen[p.name] {
						continue
					}
					if failureOf(t, p, newMapBackend(mistake)) != "" {
						seen[p.name] = true
						broken = append(broken, p.name)
					}
				}
				require.NotEmpty(t, broken, "the suite passes a backend with this mistake")
				t.Logf("breaks:\n\t%s", strings.Join(broken, "\n\t"))
			})
		}
	}
	for _, p := range checksFor(newMapBackend("")) {
		require.True(t, seen[p.name], "no mistake breaks the promise %q: can its check fail?", p.name)
	}
}

func TestNodesThatAreNotOneAreFound(t *testing.T) {
	for name, nodes := range map[string]func() (a, b store.Backend){
		"keep sessions of their own": func() (a, b store.Backend) { return newMapBackend(""), newMapBackend("") },
		"remember what they loaded": func() (a, b store.Backend) {
			p := newMapBackend("")
			return &cachingNode{mapWatcher: p}, &cachingNode{mapWatcher: p}
		},
		"tell only of what they ended": func() (a, b store.Backend) {
			p, other := newMapBackend(""), newMapBackend("").mapBackend
			other.sharedState = p.sharedState
			return p, other
		},
	} {
		t.Run(name, func(t *testing.T) {
			var broken []string
			for _, p := range checksFor(newMapBackend("")) {
				if failureOf(t, p, alternate(nodes())) != "" {
					broken = append(broken, p.name)
				}
			}
			require.NotEmpty(t, broken)
			t.Logf("breaks:\n\t%s", strings.Join(broken, "\n\t"))
		})
	}
}

// caching is a node that believes what it has loaded once.
type cachingNode struct {
	*mapWatcher
	loaded sync.Map
}

func (c *cachingNode) Load(ctx context.Context, key store.Key) (store.Record, error) {
	if r, ok := c.loaded.Load(key); ok {
		return r.(store.Record), nil
	}
	r, err := c.mapWatcher.Load(ctx, key)
	if err == nil {
		c.loaded.Store(key, r)
	}
	return r, err
}

// failureOf runs a check as the testing package would, and returns its complaint. In
// the bubble, nobody has to wait for what a watcher is never told.
func failureOf(t *testing.T, p check, b store.Backend) (failure string) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeT{ctx: t.Context()}
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.run(r, b)
		}()
		<-done
		failure = r.failure
	})
	return failure
}

type fakeT struct {
	ctx     context.Context
	failure string
}

func (r *fakeT) Errorf(format string, args ...any) { r.failure += fmt.Sprintf(format, args...) }
func (r *fakeT) FailNow()                          { runtime.Goexit() }
func (r *fakeT) Helper()                           {}
func (r *fakeT) Context() context.Context          { return r.ctx }
