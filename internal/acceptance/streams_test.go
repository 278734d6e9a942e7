package acceptance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// onEveryBackend is like onBoth, with a third backend: a remote one that reports endings.
// watched reports whether the backend does.
func onEveryBackend(t *testing.T, test func(s *site, backend *failingBackend, watched bool)) {
	t.Helper()
	t.Run("in process", func(t *testing.T) {
		withFakeClock(t, func(t *testing.T) { test(newSite(t, nil), nil, true) })
	})
	t.Run("remote", func(t *testing.T) {
		withFakeClock(t, func(t *testing.T) {
			s, backend := remoteSite(t)
			test(s, backend, false)
		})
	})
	t.Run("remote with Watch", func(t *testing.T) {
		withFakeClock(t, func(t *testing.T) {
			backend := newFailingBackend()
			test(newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = watchedBackend{backend} }), backend, true)
		})
	})
}

// watchedBackend is a failingBackend that is a store.Watcher.
type watchedBackend struct{ *failingBackend }

func (w watchedBackend) Watch(ctx context.Context, ended func(store.Ending)) error {
	if err := w.enter("Watch"); err != nil {
		return err
	}
	return w.Backend.(store.Watcher).Watch(ctx, ended)
}

// addStream adds GET /events behind wrap. It writes "hello" and, when its context ends,
// the cause.
func (s *site) addStream(wrap func(http.Handler) http.Handler) { s.addStreamAt("/events", wrap) }

func (s *site) addStreamAt(path string, wrap func(http.Handler) http.Handler) {
	s.mux.Handle("GET "+path, wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		cause := context.Cause(r.Context())
		var ended *sessionguard.SessionEndedError
		if errors.As(cause, &ended) && errors.Is(cause, sessionguard.ErrSessionEnded) {
			fmt.Fprintln(w, "ended:", ended.Reason)
		} else {
			fmt.Fprintln(w, "cancelled:", cause)
		}
	})))
}

// passiveCancelOnEnd wraps a stream as the documentation of CancelOnEnd recommends.
func (s *site) passiveCancelOnEnd(next http.Handler) http.Handler {
	return s.guard.Passive(s.guard.RequireLogin(s.guard.CancelOnEnd(next)))
}

// streamingSite returns a site with a stream at /events, and a browser that is logged in
// as ada.
func streamingSite(t *testing.T, backend store.Backend) (*site, *browser) {
	t.Helper()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	s.addStream(s.passiveCancelOnEnd)
	b := s.browse()
	b.login("ada")
	return s, b
}

// A stream is the response to a request that a test has opened.
type stream struct {
	t     *testing.T
	lines chan string
}

// openStream requests path and waits for the first line, "hello".
func (b *browser) openStream(path string) *stream {
	b.t.Helper()
	resp, err := b.Open(b.Request("GET", path))
	require.NoError(b.t, err)
	b.t.Cleanup(func() { resp.Body.Close() })
	require.Equal(b.t, http.StatusOK, resp.StatusCode)
	s := &stream{b.t, make(chan string, 10)}
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	require.Equal(b.t, "hello", <-s.lines)
	return s
}

// stillOpen reports whether nothing more has arrived, once all goroutines are idle.
func (s *stream) stillOpen() bool {
	synctest.Wait()
	select {
	case line, ok := <-s.lines:
		s.t.Logf("got %q %v", line, ok)
		return false
	default:
		return true
	}
}

// requireEnds checks that the stream ends with line, after exactly d.
func (s *stream) requireEnds(line string, d time.Duration) {
	s.t.Helper()
	start := time.Now()
	require.Equal(s.t, line, <-s.lines)
	require.Equal(s.t, d, time.Since(start))
	_, more := <-s.lines
	require.False(s.t, more, "the connection is closed")
}

func TestStreamEndsWithItsSession(t *testing.T) {
	for name, test := range map[string]struct {
		end    func(s *site, b *browser)
		reason store.Reason
	}{
		"logout":        {func(s *site, b *browser) { b.Post("/logout") }, store.ReasonLoggedOut},
		"another login": {func(s *site, b *browser) { b.login("grace") }, store.ReasonReplaced},
		"EndUser":       {func(s *site, _ *browser) { require.NoError(s.T, s.guard.EndUser(s.T.Context(), "ada")) }, store.ReasonEnded},
		"EndSession": {func(s *site, b *browser) {
			require.NoError(s.T, s.guard.EndSession(s.T.Context(), "ada", statusOf(b).Session))
		}, store.ReasonEnded},
		"deactivated user": {func(s *site, b *browser) {
			s.users.change("ada", func(u *user) { u.Inactive = true })
			b.Get("/home")
		}, store.ReasonDeactivated},
	} {
		t.Run(name, func(t *testing.T) {
			onEveryBackend(t, func(s *site, _ *failingBackend, _ bool) {
				s.addStream(s.passiveCancelOnEnd)
				b := s.browse()
				b.login("ada")
				other := s.browse()
				other.login("grace")
				one, two, third := b.openStream("/events"), b.openStream("/events"), other.openStream("/events")
				advance(time.Minute)
				require.True(s.T, one.stillOpen())
				test.end(s, b)
				one.requireEnds("ended: "+string(test.reason), 0)
				two.requireEnds("ended: "+string(test.reason), 0)
				require.True(s.T, third.stillOpen(), "the stream of another session stays open")
			})
		})
	}
}

// L1, L2: a stream ends with its session, to the millisecond
func TestStreamEndsAtTimeouts(t *testing.T) {
	onEveryBackend(t, func(s *site, backend *failingBackend, _ bool) {
		s.addStream(s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		advance(10 * time.Minute)
		b.openStream("/events").requireEnds("ended: idle", 20*time.Minute)
		require.Equal(s.T, "/login?next=%2Fhome&reason=idle", b.Get("/home").Header.Get("Location"))
		require.Len(s.T, s.events.take(sessionguard.EventExpired), 1)

		b.login("ada")
		live := b.openStream("/events")
		for range 4 { // requests of the page keep its streams open
			advance(20 * time.Minute)
			require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		}
		live.requireEnds("ended: idle", idle)

		s.loginOptions = func(string) []sessionguard.LoginOption {
			return []sessionguard.LoginOption{sessionguard.AbsoluteTimeout(time.Hour)}
		}
		b.login("ada")
		live = b.openStream("/events")
		for range 5 {
			advance(11 * time.Minute)
			require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		}
		live.requireEnds("ended: absolute", 5*time.Minute)
	})
}

func TestStreamOfRememberedSessionEndsAtIdleTimeout(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.addStream(s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		b.openStream("/events").requireEnds("ended: remembered", idle)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body, "a request by a person revives the session")
		b.openStream("/events").requireEnds("ended: remembered", idle)
	})
}

// If another node ends the session, the stream ends at once if the backend reports
// endings, and within half a minute otherwise.
func TestStreamEndsIfAnotherNodeEndsSession(t *testing.T) {
	for _, name := range []string{"memory", "with Watch", "without Watch"} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				var backend store.Backend
				within := time.Duration(0)
				switch name {
				case "memory":
					backend = store.NewMemory()
				case "with Watch":
					backend = watchedBackend{newFailingBackend()}
				case "without Watch":
					backend, within = newFailingBackend(), 30*time.Second
				}
				share := func(c *sessionguard.Config[*user]) {
					c.Backend = backend
					c.MaxSessions = func(*user) store.Limit { return store.Limit{Max: 2} }
				}
				here, there := newSite(t, share), newSite(t, share)
				here.addStream(here.passiveCancelOnEnd)
				b, c := here.browse(), there.browse()
				b.login("ada")
				live := b.openStream("/events")
				require.NoError(t, there.guard.EndUser(t.Context(), "ada"))
				live.requireEnds("ended: ended", within)

				b.login("ada")
				live = b.openStream("/events")
				advance(time.Second)
				c.login("ada")
				require.True(t, live.stillOpen())
				there.browse().login("ada")
				live.requireEnds("ended: too_many_sessions", max(0, within-time.Second))
			})
		})
	}
}

// In the process that ends the session, streams end at once, also if the backend does not
// report endings.
func TestStreamEndsIfLoginExceedsLimit(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := limited(t, newFailingBackend(), store.Limit{Max: 1})
		s.addStream(s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		live := b.openStream("/events")
		s.browse().login("ada")
		live.requireEnds("ended: too_many_sessions", 0)
	})
}

// A session moves to a new key when its user logs in again. Its streams stay open,
// whether or not the backend reports endings.
func TestStreamOutlivesReauthentication(t *testing.T) {
	onEveryBackend(t, func(s *site, backend *failingBackend, watched bool) {
		s.addStream(s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		live := b.openStream("/events")
		for range 3 {
			advance(29 * time.Minute)
			b.login("ada")
			require.True(s.T, live.stillOpen())
		}
		advance(29 * time.Minute)
		require.True(s.T, live.stillOpen())
		b.Post("/logout")
		live.requireEnds("ended: logged_out", 0)
	})
}

// A handler that ends the session of its own stream does not wait for itself.
func TestStreamMayEndItsOwnSession(t *testing.T) {
	onEveryBackend(t, func(s *site, _ *failingBackend, _ bool) {
		s.mux.Handle("GET /last", s.guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "hello\n")
			http.NewResponseController(w).Flush()
			err := s.guard.End(w, r)
			time.Sleep(5 * time.Second) // longer than the second of grace
			if !errors.Is(err, sessionguard.ErrHeadersSent) || !errors.Is(context.Cause(r.Context()), sessionguard.ErrSessionEnded) {
				s.T.Error(err, context.Cause(r.Context()))
			}
		})))
		b := s.browse()
		b.login("ada")
		b.openStream("/last")
		synctest.Wait() // until the stream has ended the session
		require.False(s.T, b.loggedIn())
	})
}

// If nobody is logged in, there is no session that could end.
func TestStreamOfVisitorRunsOn(t *testing.T) {
	onEveryBackend(t, func(s *site, backend *failingBackend, _ bool) {
		s.addStream(s.guard.CancelOnEnd)
		live := s.browse().openStream("/events")
		advance(24 * time.Hour)
		require.True(s.T, live.stillOpen())
		if backend != nil {
			require.Empty(s.T, backend.callCounts())
		}
	})
}

// A move marker does not last long. After that, the session is still found by its owner.
func TestStreamFindsMovedSessionByOwner(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		memory := store.NewMemory()
		_, b := streamingSite(t, memory)
		old := sessionsOf(t, memory, "ada")[0].Key
		live := b.openStream("/events")
		advance(time.Minute)
		b.login("ada")
		advance(20 * time.Minute)
		b.Get("/home")
		purge(t, memory)
		_, err := memory.Load(t.Context(), old)
		require.Equal(t, store.ErrNotFound, err)
		advance(20 * time.Minute)
		require.True(t, live.stillOpen())
		live.requireEnds("ended: idle", 10*time.Minute)
	})
}

// L5: a logout ends the streams even if the backend could not end the session
func TestIncompleteLogoutEndsStreams(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.addStream(s.passiveCancelOnEnd)
		b, other := s.browse(), s.browse()
		b.login("ada")
		other.login("ada")
		live, otherLive := b.openStream("/events"), other.openStream("/events")
		backend.failOn("Delete")
		require.Equal(t, http.StatusServiceUnavailable, b.Post("/logout").StatusCode)
		live.requireEnds("ended: logged_out", 0)
		require.True(t, otherLive.stillOpen())
	})
}

// L5: also if the session has moved to a new key since the stream began
func TestIncompleteLogoutAfterReauthenticationEndsStreams(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		_, b := streamingSite(t, watchedBackend{backend})
		live := b.openStream("/events")
		advance(time.Minute)
		b.login("ada")
		advance(10 * time.Minute)
		backend.failOn("Delete")
		require.Equal(t, http.StatusServiceUnavailable, b.Post("/logout").StatusCode)
		live.requireEnds("ended: logged_out", 0)
	})
}

// L1: a request that was accepted in time counts as activity, even if a stream ends while
// it runs
func TestRequestAcceptedInTimeCountsAlthoughStreamEnds(t *testing.T) {
	onEveryBackend(t, func(s *site, _ *failingBackend, _ bool) {
		s.addStream(s.passiveCancelOnEnd)
		s.addSlowRoute(3 * time.Second)
		b := s.browse()
		b.login("ada")
		live := b.openStream("/events")
		advance(idle - time.Second)
		require.Equal(s.T, "secret", b.Get("/slow").Body)
		require.Equal(s.T, "ended: idle", <-live.lines)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
	})
}

// L1: a login with a shorter timeout applies to the open streams of the session
func TestLoginWithShorterTimeoutShortensStreams(t *testing.T) {
	onEveryBackend(t, func(s *site, _ *failingBackend, _ bool) {
		s.addStream(s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		live := b.openStream("/events")
		s.loginOptions = func(string) []sessionguard.LoginOption {
			return []sessionguard.LoginOption{sessionguard.IdleTimeout(time.Minute)}
		}
		b.login("ada")
		live.requireEnds("ended: idle", time.Minute)
	})
}
