package acceptance

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// An editedBackend returns sessions from Load that are not as they were stored.
type editedBackend struct {
	store.Backend
	change atomic.Pointer[func(*store.Record)]
}

// edit sets what happens to every session that Load returns from now on; nil: nothing.
func (e *editedBackend) edit(change func(*store.Record)) {
	if change == nil {
		e.change.Store(nil)
		return
	}
	e.change.Store(&change)
}

func (e *editedBackend) Load(ctx context.Context, key store.Key) (store.Record, error) {
	rec, err := e.Backend.Load(ctx, key)
	if change := e.change.Load(); err == nil && change != nil {
		session := *rec.Session
		rec.Session = &session
		(*change)(&rec)
	}
	return rec, err
}

// A backend that returns another guard's session, or a damaged one, gives nobody access,
// and nothing is ended: a 503, as for any other failure (L5).
func TestForeignSessionIsNotAccepted(t *testing.T) {
	owners := map[string]string{
		"another guard's":                    "__Host-Http-visitor=ada",
		"of a guard with a longer name":      "__Host-Http-session2=ada",
		"of nobody":                          "",
		"of a user without an ID":            "__Host-Http-session=",
		"with a part of the prefix":          "__Host-Http-sess",
		"of the same user, without a prefix": "ada",
	}
	require.Len(t, owners["another guard's"], len("__Host-Http-session=ada"))
	edits := map[string]func(*store.Record){"missing, without an error": func(r *store.Record) { r.Session = nil }}
	for name, owner := range owners {
		edits[name] = func(r *store.Record) { r.Owner = owner }
	}
	for name, edit := range edits {
		for _, superseded := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				withFakeClock(t, func(t *testing.T) {
					inner := newFailingBackend()
					backend := &editedBackend{Backend: inner}
					s := rememberingSite(t, nil, func(c *sessionguard.Config[*user]) { c.Backend = backend })
					b := s.browse()
					b.login("ada")
					if superseded {
						other := s.copyOf(b)
						advance(idle)
						require.Equal(t, "secret of ada", other.Get("/home").Body)
					}
					before := b.Cookies()
					backend.edit(edit)
					for range 2 {
						resp := b.Get("/home")
						require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, resp.Body)
						require.Empty(t, resp.Cookies())
						advance(time.Second)
					}
					require.Zero(t, inner.callCounts()["Delete"])
					backend.edit(nil)
					require.Equal(t, before, b.Cookies())
					require.Equal(t, "secret of ada", b.Get("/home").Body)
				})
			})
		}
	}
}
