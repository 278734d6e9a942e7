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

func TestMemoryPasses(t *testing.T) {
	Run(t, func(*testing.T) store.Backend { return store.NewMemory() })
}

func TestMemoryPassesInSynctestBubble(t *testing.T) {
	for _, c := range checksFor(store.NewMemory()) {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.run(t, store.NewMemory()) })
		})
	}
}

func TestMemoryPassesAsTwoNodes(t *testing.T) {
	RunNodes(t, func(*testing.T) (a, b store.Backend) {
		m := store.NewMemory()
		return m, m
	})
}

func TestMapBackendPasses(t *testing.T) {
	Run(t, func(*testing.T) store.Backend { return newMapBackend("").mapBackend })
}

func TestMapWatcherPasses(t *testing.T) {
	Run(t, func(*testing.T) store.Backend { return newMapBackend("") })
}

func TestMapBackendNodesPass(t *testing.T) {
	RunNodes(t, func(*testing.T) (a, b store.Backend) {
		node := newMapBackend("")
		return node, node.anotherNode()
	})
}

func TestMapListerPasses(t *testing.T) {
	Run(t, func(*testing.T) store.Backend {
		w := newMapBackend("")
		return mapLister{w.mapBackend, w}
	})
}

// A mapLister is a mapBackend that is a store.Lister and no store.Watcher.
type mapLister struct {
	*mapBackend
	store.Lister
}

func TestChecksOfInterfacesAreOnlyForThoseThatHaveThem(t *testing.T) {
	w := newMapBackend("")
	watching, listing := len(watcherChecks)+len(byIDWatcherChecks), len(listerChecks)+len(listerRaceChecks)
	for b, want := range map[store.Backend]int{
		w.mapBackend:               0,
		mapLister{w.mapBackend, w}: listing,
		w:                          watching + listing,
		struct {
			*mapBackend
			store.Watcher
		}{w.mapBackend, w}: watching,
	} {
		require.Len(t, checksFor(b), len(backendChecks)+want)
		require.Len(t, checksFor(alternate(b, b)), len(backendChecks)+want)
	}
	require.Len(t, checksFor(alternate(w, w.mapBackend)), len(backendChecks)+watching)
}

// No check would notice the loss of a field that newRecord or successor leaves out.
func TestEveryFieldHasDistinctValue(t *testing.T) {
	same := map[string]bool{"ID": true, "Owner": true, "Created": true}
	r := newRecord()
	fields, replaced := fieldsOf(r), fieldsOf(successor(r))
	fieldOf := map[string]string{}
	for name, value := range fields {
		require.False(t, value.IsZero(), "%s is zero", name)
		text := fmt.Sprint(value.Interface())
		require.Empty(t, fieldOf[text], "%s has the value of another field", name)
		fieldOf[text] = name
		require.Equal(t, same[name], text == fmt.Sprint(replaced[name].Interface()), "%s after Replace", name)
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

// Every mistake makes a check fail, and every check fails for some mistake. To save time, once
// a mistake has been found, only checks that have never failed are tried on it.
func TestEveryMistakeIsFound(t *testing.T) {
	failed := map[string]bool{}
	for _, group := range mistakes {
		for _, mistake := range group.mistakes {
			t.Run(mistake, func(t *testing.T) {
				var found []string
				for _, c := range group.checks {
					if len(found) > 0 && failed[c.name] {
						continue
					}
					if failureOf(t, c, newMapBackend(mistake)) != "" {
						failed[c.name] = true
						found = append(found, c.name)
					}
				}
				require.NotEmpty(t, found, "a backend with this mistake passes")
				t.Logf("failed checks:\n\t%s", strings.Join(found, "\n\t"))
			})
		}
	}
	for _, c := range checksFor(newMapBackend("")) {
		require.True(t, failed[c.name], "no mistake fails the check %q: can it fail?", c.name)
	}
}

func TestNodesThatDisagreeAreFound(t *testing.T) {
	for name, nodes := range map[string]func() (a, b store.Backend){
		"each has its own sessions": func() (a, b store.Backend) { return newMapBackend(""), newMapBackend("") },
		"each caches what it has loaded": func() (a, b store.Backend) {
			shared := newMapBackend("")
			return &cachingNode{mapWatcher: shared}, &cachingNode{mapWatcher: shared}
		},
		"each lists only what it has created": func() (a, b store.Backend) {
			node, other := newMapBackend(""), newMapBackend("")
			return mapLister{node.mapBackend, node}, mapLister{node.anotherNode(), other}
		},
		"each reports only the endings it caused": func() (a, b store.Backend) {
			node, other := newMapBackend(""), newMapBackend("")
			other.sharedState = node.sharedState
			return node, other
		},
	} {
		t.Run(name, func(t *testing.T) {
			var found []string
			for _, c := range checksFor(alternate(nodes())) {
				if failureOf(t, c, alternate(nodes())) != "" {
					found = append(found, c.name)
				}
			}
			require.NotEmpty(t, found)
			t.Logf("failed checks:\n\t%s", strings.Join(found, "\n\t"))
		})
	}
}

// A cachingNode loads each session only once.
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

// failureOf runs a check as the testing package would, and returns its failure message. In the
// synctest bubble, waiting for an ending that never arrives takes no time.
func failureOf(t *testing.T, c check, b store.Backend) (failure string) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeT{ctx: t.Context()}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.run(r, b)
		}()
		<-done
		failure = r.failure
	})
	return failure
}

// A fakeT is a T that records a failure.
type fakeT struct {
	ctx     context.Context
	failure string
}

func (r *fakeT) Errorf(format string, args ...any) { r.failure += fmt.Sprintf(format, args...) }
func (r *fakeT) FailNow()                          { runtime.Goexit() }
func (r *fakeT) Helper()                           {}
func (r *fakeT) Context() context.Context          { return r.ctx }
