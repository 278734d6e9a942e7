package acceptance

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// lameBackend is a backend that lists slowly, or only partly, and cannot end some sessions.
type lameBackend struct {
	*failingBackend
	listingTakes time.Duration // before the first session of each realm
	hangsAfter   atomic.Int64  // so many sessions of a realm; 0: never
	corrupt      string        // the realm in which a session cannot be read
	unendable    string        // the ID of a session whose page cannot be ended
	lags         bool          // DeleteByID and ByOwner report an error for what they have done
	overtaken    int           // so many pages are ended by somebody else before DeleteByID does
}

func (l *lameBackend) ByOwner(ctx context.Context, owner, after string, max int) ([]store.Record, error) {
	page, err := l.failingBackend.ByOwner(ctx, owner, after, max)
	if l.lags {
		err = errors.Join(err, errors.New("a replica lags"))
	}
	return page, err
}

func (l *lameBackend) All(ctx context.Context, realm string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		select {
		case <-time.After(l.listingTakes):
		case <-ctx.Done():
			yield(store.Record{}, ctx.Err())
			return
		}
		n := int64(0)
		for r, err := range l.failingBackend.All(ctx, realm) {
			if n++; n == l.hangsAfter.Load() {
				<-ctx.Done()
				r, err = store.Record{}, ctx.Err()
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
		if realm == l.corrupt {
			yield(store.Record{}, errors.New("a corrupt session"))
		}
	}
}

func (l *lameBackend) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	for _, end := range ends {
		if end.ID == l.unendable {
			return nil, errors.New("a session that cannot be ended")
		}
	}
	ended, err := l.failingBackend.DeleteByID(ctx, ends)
	if l.overtaken > 0 {
		l.overtaken--
		return make([]store.Record, len(ends)), err
	}
	if l.lags {
		err = errors.Join(err, errors.New("a replica lags"))
	}
	return ended, err
}

func lameSite(t *testing.T) (*site, *lameBackend) {
	backend := &lameBackend{failingBackend: newFailingBackend()}
	return newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend }), backend
}

// L5: one session that cannot be read hides and saves no other one, of whatever kind.
func TestACorruptSessionSavesNobodyFromEndAll(t *testing.T) {
	for _, kind := range []string{"=", ":"} {
		t.Run(kind, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := lameSite(t)
				backend.corrupt = sessionCookie + kind
				b := s.browse()
				b.login("ada")
				var ids []string
				var failed error
				for session, err := range s.guard.AllSessions(t.Context()) {
					require.NoError(t, failed, "an error is the last")
					if failed = err; err == nil {
						ids = append(ids, session.UserID)
					}
				}
				require.Equal(t, []string{"ada"}, ids)
				require.ErrorIs(t, failed, sessionguard.ErrUnavailable)
				require.ErrorIs(t, s.guard.EndAll(t.Context()), sessionguard.ErrUnavailable)
				require.False(t, b.loggedIn())
			})
		})
	}
}

// L5: a page that cannot be ended saves nobody else, and neither does a replica that lags.
func TestAPageThatFailsSavesNobodyElseFromEndAll(t *testing.T) {
	for _, name := range []string{"a session", "replicas"} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := lameSite(t)
				s.browse().login("ada")
				addSessions(t, backend.failingBackend, "ada", 10*store.MaxPage)
				if backend.lags = name == "replicas"; !backend.lags {
					for rec, err := range backend.All(t.Context(), sessionCookie+"=") {
						require.NoError(t, err)
						backend.unendable = rec.ID // of the first page
						break
					}
				}
				require.ErrorIs(t, s.guard.EndAll(t.Context()), sessionguard.ErrUnavailable)
				left, err := backend.Count(t.Context(), sessionCookie+"=")
				require.NoError(t, err)
				require.Equal(t, !backend.lags, left > 0)
				require.LessOrEqual(t, left, store.MaxPage)
			})
		})
	}
}

// L5: pages that somebody else has ended meanwhile are no failures.
func TestPagesThatHaveEndedMeanwhileSaveNobodyFromEndAll(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := lameSite(t)
		s.browse().login("ada")
		addSessions(t, backend.failingBackend, "ada", 10*store.MaxPage)
		backend.overtaken = 5
		require.NoError(t, s.guard.EndAll(t.Context()))
		require.Zero(t, backend.overtaken)
		s.requireEveryone()
	})
}

// L6: a backend in this process does not hang, whatever takes time between its sessions.
func TestEndAllHasPatienceWithMemory(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.OnBackendCall = func(method string, _ time.Duration, _ error) {
				if method == "All" { // of the first kind of sessions
					time.Sleep(time.Hour)
				}
			}
		})
		s.browse().login("ada")
		require.NoError(t, s.guard.EndAll(t.Context()))
		s.requireEveryone()
	})
}

// K2: a backend that is down is not asked for each of a million sessions.
func TestEndAllLeavesABackendAloneThatIsDown(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := lameSite(t)
		s.browse().login("ada")
		addSessions(t, backend.failingBackend, "ada", 10*store.MaxPage)
		backend.failOn("DeleteByID")
		before := backend.callCounts()
		require.ErrorIs(t, s.guard.EndAll(t.Context()), sessionguard.ErrUnavailable)
		require.Equal(t, 3, callsSince(backend.failingBackend, before)["DeleteByID"])
	})
}

// L6: a backend that is far away, or has many expired sessions to pass by, takes a while before
// it finds the first session. It does not hang.
func TestEndAllAwaitsABackendThatIsSlowToFindTheFirst(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := lameSite(t)
		b := s.browse()
		b.login("ada")
		backend.listingTakes = 50 * time.Second
		require.NoError(t, s.guard.EndAll(t.Context()))
		require.False(t, b.loggedIn())
	})
}

// L6: neither does EndAll hang if the backend does so when it has listed some sessions.
func TestEndAllGivesUpABackendThatHangsLater(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := lameSite(t)
		s.browse().login("ada")
		addSessions(t, backend.failingBackend, "ada", 2*store.MaxPage)
		backend.hangsAfter.Store(store.MaxPage + 2)
		start := time.Now()
		require.ErrorIs(t, s.guard.EndAll(t.Context()), sessionguard.ErrUnavailable)
		require.Equal(t, 2*time.Minute, time.Since(start))
		left, err := backend.Count(t.Context(), sessionCookie+"=")
		require.NoError(t, err)
		require.Equal(t, store.MaxPage, left, "what was listed has ended")
		backend.hangsAfter.Store(0)
		advance(time.Minute)
		s.requireEveryone()
	})
}

// L5: EndUser ends what there is, of each kind, although replicas lag.
func TestLaggingReplicasSaveNobodyFromEndUser(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &lameBackend{failingBackend: newFailingBackend()}
		s := factorSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		b, pending := s.browse(), s.browse()
		b.prove("ada", "pwd,otp")
		pending.prove("ada", "pwd")
		backend.lags = true
		require.ErrorIs(t, s.guard.EndUser(t.Context(), "ada"), sessionguard.ErrUnavailable)
		require.False(t, b.loggedIn())
		require.Equal(t, "nobody", pending.Get("/factor").Body)
		_, err := s.guard.Sessions(t.Context(), "ada")
		require.ErrorIs(t, err, sessionguard.ErrUnavailable)
	})
}
