package acceptance

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// L5: whatever one user does while the backend is down, the logouts of others are carried
// through.
func TestNobodyTakesThePlacesOfOthersLogouts(t *testing.T) {
	for name, attack := range map[string]struct {
		before, during func(s *site, cookies *[]string)
	}{
		"many sessions": {
			func(s *site, cookies *[]string) {
				for range 1040 {
					b := s.browse()
					b.login("grace")
					*cookies = append(*cookies, b.Cookies()[sessionCookie])
				}
			},
			func(s *site, cookies *[]string) {
				for i := 0; i < len(*cookies); i += 8 {
					requireUnavailable(s.T, s.browse().Post("/logout", "Cookie", cookiesNamed(sessionCookie, (*cookies)[i:i+8]...)))
				}
			},
		},
		"many logins, of many users": {
			func(*site, *[]string) {},
			func(s *site, _ *[]string) {
				s.on("POST /in", func(w http.ResponseWriter, r *http.Request) error {
					return s.guard.Login(w, r, &user{ID: r.FormValue("id")})
				})
				for i := range 1100 {
					requireUnavailable(s.T, s.browse().Post("/in?id="+strings.Repeat("x", i+1)))
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := remoteSite(t)
				b, copied := s.browse(), s.browse()
				b.login("ada")
				copied.SetCookies(b.Cookies())
				var cookies []string
				attack.before(s, &cookies)
				backend.failOn("*")
				attack.during(s, &cookies)
				requireUnavailable(t, b.Post("/logout"))
				backend.failOn()
				advance(time.Minute)
				require.False(t, copied.loggedIn())
			})
		})
	}
}

// L5: nobody keeps an administrator's EndUser from being carried through by taking all places
// of their own.
func TestUserWithManyLogoutsIsEndedAllTheSame(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		var cookies []string
		for range 88 {
			b := s.browse()
			b.login("grace")
			cookies = append(cookies, b.Cookies()[sessionCookie])
		}
		backend.failOn("*")
		for i := 0; i < 80; i += 8 {
			requireUnavailable(t, s.browse().Post("/logout", "Cookie", cookiesNamed(sessionCookie, cookies[i:i+8]...)))
		}
		require.Contains(t, s.log.String(), "gave up")
		require.ErrorIs(t, s.guard.EndUser(t.Context(), "grace"), sessionguard.ErrUnavailable)
		backend.failOn()
		advance(time.Minute)
		require.Empty(t, sessionsOf(t, backend, "grace"))
	})
}

// afterwardsBackend ends sessions as asked, and then returns an error for as long as it fails.
// As some backends do, it says for a while that a session was logged out.
type afterwardsBackend struct {
	*failingBackend
	mu     sync.Mutex
	fails  bool
	killed map[store.Key]bool
}

var errAfterwards = errors.New("no replica has received it")

func (b *afterwardsBackend) err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails {
		return errAfterwards
	}
	return nil
}

func (b *afterwardsBackend) setFails(fails bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fails = fails
}

func (b *afterwardsBackend) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	ended, err := b.failingBackend.Delete(ctx, key, reason)
	if b.err() == nil {
		return ended, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.killed[key] = true
	return store.Record{}, errAfterwards
}

func (b *afterwardsBackend) Load(ctx context.Context, key store.Key) (store.Record, error) {
	b.mu.Lock()
	killed := b.killed[key]
	b.mu.Unlock()
	if killed {
		return store.Record{}, &store.EndedError{Reason: store.ReasonLoggedOut}
	}
	return b.failingBackend.Load(ctx, key)
}

func (b *afterwardsBackend) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	ended, err := b.failingBackend.DeleteByID(ctx, ends)
	return ended, errors.Join(err, b.err())
}

// L5: an end that was not confirmed is tried again until it is, although the server that was
// asked does not have the session any more: a failover may bring it back.
func TestUnconfirmedEndIsRepeatedThoughTheSessionIsGone(t *testing.T) {
	for name, test := range map[string]struct {
		method string
		end    func(s *site, b *browser, id string)
	}{
		"Logout": {"Delete", func(s *site, b *browser, _ string) { requireUnavailable(s.T, b.Post("/logout")) }},
		"EndSession": {"DeleteByID", func(s *site, _ *browser, id string) {
			require.ErrorIs(s.T, s.guard.EndSession(s.Context(), "ada", id), sessionguard.ErrUnavailable)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				backend := &afterwardsBackend{failingBackend: newFailingBackend(), killed: map[store.Key]bool{}}
				s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
				b := s.browse()
				b.login("ada")
				id := publicID(b)
				backend.setFails(true)
				test.end(s, b, id)
				require.Empty(t, sessionsOf(t, backend, "ada"))
				before := backend.callCounts()[test.method]
				advance(time.Minute)
				during := backend.callCounts()[test.method]
				require.Greater(t, during, before)
				backend.setFails(false)
				advance(time.Minute)
				require.Equal(t, during+1, backend.callCounts()[test.method])
			})
		})
	}
}

// L5: EndSession names a session as it was then. Whoever logs in again in it has not been ended.
func TestALoginAfterAnIncompleteEndSessionStays(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		id := publicID(b)
		backend.failOn("DeleteByID")
		require.ErrorIs(t, s.guard.EndSession(t.Context(), "ada", id), sessionguard.ErrUnavailable)
		advance(time.Second / 2)
		b.login("ada")
		require.Equal(t, id, publicID(b))
		backend.failOn()
		advance(time.Minute)
		require.True(t, b.loggedIn())
		calls := backend.callCounts()
		advance(outage)
		require.Equal(t, calls, backend.callCounts(), "nothing is left to do")
	})
}
