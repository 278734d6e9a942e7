package acceptance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// onEveryBackend is onBoth, and a remote backend that tells of endings.
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
	t.Run("remote that tells", func(t *testing.T) {
		withFakeClock(t, func(t *testing.T) {
			backend := newFailingBackend()
			test(newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = telling{backend} }), backend, true)
		})
	})
}

// telling is a failingBackend that is a store.Watcher.
type telling struct{ *failingBackend }

func (f telling) Watch(ctx context.Context, ended func(store.Ending)) error {
	if err := f.enter("Watch"); err != nil {
		return err
	}
	return f.Backend.(store.Watcher).Watch(ctx, ended)
}

// streams adds GET /events, which says "hello", and at the end of its context why.
func (s *site) streams(wrap func(http.Handler) http.Handler) {
	s.mux.Handle("GET /events", wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		cause := context.Cause(r.Context())
		var ended *sessionguard.SessionEndedError
		if errors.As(cause, &ended) && errors.Is(cause, sessionguard.ErrSessionEnded) {
			fmt.Fprintln(w, "ended:", ended.Reason)
		} else {
			fmt.Fprintln(w, "gone:", cause)
		}
	})))
}

func (s *site) cutPassive(next http.Handler) http.Handler {
	return s.guard.Passive(s.guard.RequireLogin(s.guard.CancelOnEnd(next)))
}

// streamingSite has a stream at /events, and someone who is logged in.
func streamingSite(t *testing.T, backend store.Backend) (*site, *browser) {
	t.Helper()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	s.streams(s.cutPassive)
	b := s.browse()
	b.login("ada")
	return s, b
}

// A stream that a test has opened.
type stream struct {
	t     *testing.T
	lines chan string
	begun time.Time
}

// stream opens a path and waits for its first line, "hello".
func (b *browser) stream(path string) *stream {
	b.t.Helper()
	resp, err := b.Client.Do(b.Request("GET", path))
	require.NoError(b.t, err)
	b.t.Cleanup(func() { resp.Body.Close() })
	require.Equal(b.t, http.StatusOK, resp.StatusCode)
	s := &stream{b.t, make(chan string, 10), time.Now()}
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	require.Equal(b.t, "hello", <-s.lines)
	return s
}

// open says that nothing more has come, once everything is at rest.
func (s *stream) open() bool {
	synctest.Wait()
	select {
	case line, ok := <-s.lines:
		s.t.Logf("got %q %v", line, ok)
		return false
	default:
		return true
	}
}

// requireEnds checks that the stream ends with this line now, or after d.
func (s *stream) requireEnds(line string, d time.Duration) {
	s.t.Helper()
	began := time.Now()
	require.Equal(s.t, line, <-s.lines)
	require.Equal(s.t, d, time.Since(began))
	_, more := <-s.lines
	require.False(s.t, more, "the connection is closed")
}

func TestAStreamIsCutWhenItsSessionEnds(t *testing.T) {
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
		"a user who is gone": {func(s *site, b *browser) {
			s.users.change("ada", func(u *user) { u.Inactive = true })
			b.Get("/home")
		}, store.ReasonDeactivated},
	} {
		t.Run(name, func(t *testing.T) {
			onEveryBackend(t, func(s *site, _ *failingBackend, _ bool) {
				s.streams(s.cutPassive)
				b := s.browse()
				b.login("ada")
				other := s.browse()
				other.login("grace")
				one, two, others := b.stream("/events"), b.stream("/events"), other.stream("/events")
				advance(time.Minute)
				require.True(s.T, one.open())
				test.end(s, b)
				one.requireEnds("ended: "+string(test.reason), 0)
				two.requireEnds("ended: "+string(test.reason), 0)
				require.True(s.T, others.open(), "another's goes on")
			})
		})
	}
}

// L1, L2: a stream ends with its session to the millisecond
func TestAStreamIsCutByTheTimeouts(t *testing.T) {
	onEveryBackend(t, func(s *site, backend *failingBackend, _ bool) {
		s.streams(s.cutPassive)
		b := s.browse()
		b.login("ada")
		advance(10 * time.Minute)
		b.stream("/events").requireEnds("ended: idle", 20*time.Minute)
		require.Equal(s.T, "/login?next=%2Fhome&reason=idle", b.Get("/home").Header.Get("Location"))
		require.Len(s.T, s.events.take(sessionguard.EventExpired), 1)

		b.login("ada")
		live := b.stream("/events")
		for range 4 { // what a page asks for keeps its streams
			advance(20 * time.Minute)
			require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		}
		live.requireEnds("ended: idle", idle)

		s.loginOptions = func(string) []sessionguard.LoginOption {
			return []sessionguard.LoginOption{sessionguard.AbsoluteTimeout(time.Hour)}
		}
		b.login("ada")
		live = b.stream("/events")
		for range 5 {
			advance(11 * time.Minute)
			require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		}
		live.requireEnds("ended: absolute", 5*time.Minute)
	})
}

func TestAStreamOfARememberedSessionIsCutWhenItIdles(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.streams(s.cutPassive)
		b := s.browse()
		b.login("ada")
		b.stream("/events").requireEnds("ended: remembered", idle)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body, "a person brings it back")
		b.stream("/events").requireEnds("ended: remembered", idle)
	})
}

// On another node: at once if the backend tells, else within half a minute.
func TestAStreamIsCutFromAnotherNode(t *testing.T) {
	for _, name := range []string{"memory", "telling", "silent"} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				var backend store.Backend
				within := time.Duration(0)
				switch name {
				case "memory":
					backend = store.NewMemory()
				case "telling":
					backend = telling{newFailingBackend()}
				case "silent":
					backend, within = newFailingBackend(), 30*time.Second
				}
				share := func(c *sessionguard.Config[*user]) {
					c.Backend = backend
					c.MaxSessions = func(*user) store.Limit { return store.Limit{Max: 2} }
				}
				here, there := newSite(t, share), newSite(t, share)
				here.streams(here.cutPassive)
				b, c := here.browse(), there.browse()
				b.login("ada")
				live := b.stream("/events")
				require.NoError(t, there.guard.EndUser(t.Context(), "ada"))
				live.requireEnds("ended: ended", within)

				b.login("ada")
				live = b.stream("/events")
				advance(time.Second)
				c.login("ada")
				require.True(t, live.open())
				there.browse().login("ada")
				live.requireEnds("ended: too_many_sessions", max(0, within-time.Second))
			})
		})
	}
}

// In this process at once, also if the backend tells nobody.
func TestAStreamIsCutByALoginTooMany(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := limited(t, newFailingBackend(), store.Limit{Max: 1})
		s.streams(s.cutPassive)
		b := s.browse()
		b.login("ada")
		live := b.stream("/events")
		s.browse().login("ada")
		live.requireEnds("ended: too_many_sessions", 0)
	})
}

// A session goes on under a new key when its person logs in again, and so do its
// streams, whoever knows of the new key.
func TestAStreamOutlivesReauthentication(t *testing.T) {
	onEveryBackend(t, func(s *site, backend *failingBackend, watched bool) {
		s.streams(s.cutPassive)
		b := s.browse()
		b.login("ada")
		live := b.stream("/events")
		for range 3 {
			advance(29 * time.Minute)
			b.login("ada")
			require.True(s.T, live.open())
		}
		advance(29 * time.Minute)
		require.True(s.T, live.open())
		b.Post("/logout")
		live.requireEnds("ended: logged_out", 0)
	})
}

// L5: a backend that is down cuts nothing before its time, and then does.
func TestAStreamWhoseSessionNobodyCanAskForIsCutAtItsEnd(t *testing.T) {
	onEveryBackend(t, func(s *site, backend *failingBackend, _ bool) {
		if backend == nil {
			return // this process is not down
		}
		s.streams(s.cutPassive)
		b := s.browse()
		b.login("ada")
		live := b.stream("/events")
		backend.failOn("*")
		advance(idle - time.Millisecond)
		require.True(s.T, live.open())
		require.Contains(s.T, <-live.lines, "gone: "+sessionguard.ErrUnavailable.Error())
		backend.failOn()

		b.login("ada")
		live = b.stream("/events")
		backend.failOn("*")
		advance(20 * time.Minute)
		backend.failOn()
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		advance(idle - time.Minute)
		require.True(s.T, live.open())
	})
}

// L5
func TestAStreamIsNotBegunIfNobodyCouldEndIt(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		_, b := streamingSite(t, telling{backend})
		backend.failOn("Watch")
		require.Equal(t, http.StatusServiceUnavailable, b.Get("/events").StatusCode)
		backend.failOn()
		b.stream("/events")
	})
}

// A session that ends while its stream is being begun.
func TestAStreamHearsOfAnEndThatCameBeforeIt(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		_, b := streamingSite(t, telling{backend})
		backend.beforeCall("Watch", func() {
			records := sessionsOf(t, backend, "ada")
			_, err := backend.Backend.Delete(t.Context(), records[0].Key, store.ReasonEnded)
			require.NoError(t, err)
		})
		begun := time.Now()
		require.Contains(t, b.Get("/events").Body, "ended: ended")
		require.Zero(t, time.Since(begun))
	})
}

// Handlers that do not listen are stopped a second later.
func TestAStreamThatDoesNotHearIsStopped(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s := newSite(t, nil)
		b := writerBrowse(t, proto, s.guard.Handler(s.mux))
		var mu sync.Mutex
		var failed error
		var lasted time.Duration
		s.mux.Handle("GET /deaf", s.cutPassive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "hello\n")
			control := http.NewResponseController(w)
			control.Flush()
			begun := time.Now()
			for {
				time.Sleep(100 * time.Millisecond)
				_ = control.SetWriteDeadline(time.Now().Add(time.Hour))
				_, err := io.WriteString(w, "secret\n")
				if err == nil {
					err = control.Flush()
				}
				if err != nil {
					mu.Lock()
					failed, lasted = err, time.Since(begun)
					mu.Unlock()
					return
				}
			}
		})))
		b.login("ada")
		resp, err := b.Client.Do(b.Request("GET", "/deaf"))
		require.NoError(t, err)
		go io.Copy(io.Discard, resp.Body)
		advance(10*time.Second + 50*time.Millisecond)
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		advance(2 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		require.ErrorIs(t, failed, sessionguard.ErrSessionEnded)
		require.Equal(t, 11100*time.Millisecond, lasted)
	})
}

// One that is stuck in a write to a client that does not read is set free.
func TestAStreamThatIsStuckIsStopped(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		done := make(chan time.Time, 1)
		s.mux.Handle("GET /stuck", s.cutPassive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := io.WriteString(w, strings.Repeat("secret", 1000)); err != nil {
					done <- time.Now()
					return
				}
			}
		})))
		b := s.browse()
		b.login("ada")
		resp, err := b.Client.Do(b.Request("GET", "/stuck"))
		require.NoError(t, err)
		defer resp.Body.Close()
		synctest.Wait()
		begun := time.Now()
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		// net/http closes the connection before the handler hears of it, and
		// crypto/tls waits five seconds for the client to take its goodbye.
		require.Equal(t, 6*time.Second, (<-done).Sub(begun))
	})
}

// A WebSocket's connection is closed, since a context does not wake up who reads.
func TestAHijackedConnectionIsClosed(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		woken := make(chan time.Time, 1)
		s.mux.Handle("GET /ws", s.guard.RequireLogin(s.guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
			rw.Flush()
			rw.ReadByte() // which ends only with the connection
			woken <- time.Now()
		}))))
		b := s.browse()
		b.login("ada")
		resp, err := b.Client.Do(b.Request("GET", "/ws", "Connection", "Upgrade", "Upgrade", "test", "Sec-Fetch-Site", "same-origin"))
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
		advance(time.Minute)
		begun := time.Now()
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		require.Equal(t, time.Second, (<-woken).Sub(begun), "it had a moment to say goodbye")
	})
}

// Handlers of WebSockets often start goroutines and return.
func TestAHijackedConnectionIsClosedAlsoWithoutItsHandler(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &forgetful{failingBackend: newFailingBackend()}
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		ends := make(chan time.Time, 1)
		s.mux.Handle("GET /ws", s.guard.RequireLogin(s.guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
			rw.Flush()
			go func() {
				defer conn.Close()
				if b, _ := rw.ReadByte(); b != '.' {
					ends <- time.Now()
				}
			}()
		}))))
		b := s.browse()
		b.login("ada")
		dial := func() io.ReadWriteCloser {
			resp, err := b.Client.Do(b.Request("GET", "/ws", "Connection", "Upgrade", "Upgrade", "test", "Sec-Fetch-Site", "same-origin"))
			require.NoError(t, err)
			require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
			return resp.Body.(io.ReadWriteCloser)
		}
		stays, goes := dial(), dial()
		defer stays.Close()
		_, err := goes.Write([]byte(".")) // this one is closed by its owner
		require.NoError(t, err)
		_, _ = io.ReadAll(goes)
		goes.Close()
		advance(time.Minute)
		begun := time.Now()
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		require.Equal(t, time.Second, (<-ends).Sub(begun))
		_, _ = io.ReadAll(stays)
		advance(2 * time.Minute)
		require.Error(t, backend.ctx.Err(), "nothing stays of either")
	})
}

// Ending the session from within its own stream must not wait for itself.
func TestAStreamMayEndItsOwnSession(t *testing.T) {
	onEveryBackend(t, func(s *site, _ *failingBackend, _ bool) {
		s.mux.Handle("GET /last", s.guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "hello\n")
			http.NewResponseController(w).Flush()
			err := s.guard.End(w, r)
			time.Sleep(5 * time.Second) // past its grace
			if !errors.Is(err, sessionguard.ErrHeadersSent) || !errors.Is(context.Cause(r.Context()), sessionguard.ErrSessionEnded) {
				s.T.Error(err, context.Cause(r.Context()))
			}
		})))
		b := s.browse()
		b.login("ada")
		b.stream("/last")
		synctest.Wait() // it has ended it
		require.False(s.T, b.loggedIn())
	})
}

// Who is not logged in has nothing that could end.
func TestAStreamForAnybodyRunsOn(t *testing.T) {
	onEveryBackend(t, func(s *site, backend *failingBackend, _ bool) {
		s.streams(s.guard.CancelOnEnd)
		live := s.browse().stream("/events")
		advance(24 * time.Hour)
		require.True(s.T, live.open())
		if backend != nil {
			require.Empty(s.T, backend.callCounts())
		}
	})
}

// What a stream costs: a question at its start and one in five minutes, or in half a
// minute where the backend does not tell; and nothing stays of it.
func TestAStreamAsksLittleAndLeavesNothing(t *testing.T) {
	onEveryBackend(t, func(s *site, backend *failingBackend, watched bool) {
		if backend == nil {
			return
		}
		s.streams(s.cutPassive)
		b := s.browse()
		b.login("ada")
		ctx, hangUp := context.WithCancel(s.T.Context())
		resp, err := b.Client.Do(b.Request("GET", "/events").WithContext(ctx))
		require.NoError(s.T, err)
		before := backend.callCounts()["Load"]
		advance(29*time.Minute - time.Second)
		asked := backend.callCounts()["Load"] - before
		if watched {
			require.Equal(s.T, 29/5, asked)
		} else {
			require.Equal(s.T, 2*29-1, asked)
		}
		hangUp()
		resp.Body.Close()
		synctest.Wait()
		before = backend.callCounts()["Load"]
		advance(time.Hour)
		require.Equal(s.T, before, backend.callCounts()["Load"])
	})
}

// After a lost connection to the backend's server, every stream is asked for.
func TestEndingsThatMayHaveBeenMissedAreAskedFor(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &forgetful{failingBackend: newFailingBackend()}
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		s.streams(s.cutPassive)
		b, c := s.browse(), s.browse()
		b.login("ada")
		c.login("grace")
		live, others := b.stream("/events"), c.stream("/events")
		_, err := backend.Backend.Delete(t.Context(), sessionsOf(t, backend, "ada")[0].Key, store.ReasonEnded)
		require.NoError(t, err)
		require.True(t, live.open(), "nobody has told")
		backend.ended(store.Ending{})
		live.requireEnds("ended: ended", 0)
		require.True(t, others.open())
	})
}

// What empties a database tells nobody, nor does what breaks without a word.
func TestAnEndingThatNobodyTellsIsFoundInTime(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &forgetful{failingBackend: newFailingBackend()}
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		s.streams(s.cutPassive)
		b := s.browse()
		b.login("ada")
		live := b.stream("/events")
		advance(time.Minute)
		_, err := backend.Backend.Delete(t.Context(), sessionsOf(t, backend, "ada")[0].Key, store.ReasonLoggedOut)
		require.NoError(t, err)
		live.requireEnds("ended: expired", 4*time.Minute)
	})
}

// forgetful is a store.Watcher that loses what it should tell.
type forgetful struct {
	*failingBackend
	ctx   context.Context
	ended func(store.Ending)
}

func (f *forgetful) Watch(ctx context.Context, ended func(store.Ending)) error {
	f.ctx, f.ended = ctx, ended
	return nil
}

// A guard has no Close: it watches while there are streams, and no longer.
func TestTheBackendIsWatchedWhileThereAreStreams(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &forgetful{failingBackend: newFailingBackend()}
		_, b := streamingSite(t, backend)
		for range 2 {
			first, second := b.stream("/events"), b.stream("/events")
			watch := backend.ctx
			backend.ended(store.Ending{ID: statusOf(b).Session, Reason: store.ReasonIdle})
			require.Equal(t, "ended: idle", <-first.lines)
			require.Equal(t, "ended: idle", <-second.lines)
			advance(time.Minute - time.Millisecond)
			require.NoError(t, watch.Err(), "they come and go")
			advance(time.Millisecond)
			synctest.Wait()
			require.Error(t, watch.Err())
			third := b.stream("/events")
			require.NoError(t, backend.ctx.Err())
			backend.ended(store.Ending{ID: statusOf(b).Session, Reason: store.ReasonIdle})
			require.Equal(t, "ended: idle", <-third.lines)
			advance(2 * time.Minute)
		}
	})
}

// Nobody remembers for long where a session has moved, but it is still its owner's.
func TestAStreamFindsItsSessionByItsOwner(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		memory := store.NewMemory()
		_, b := streamingSite(t, memory)
		old := sessionsOf(t, memory, "ada")[0].Key
		live := b.stream("/events")
		advance(time.Minute)
		b.login("ada")
		advance(20 * time.Minute)
		b.Get("/home")
		forget(t, memory)
		_, err := memory.Load(t.Context(), old)
		require.Equal(t, store.ErrNotFound, err)
		advance(20 * time.Minute)
		require.True(t, live.open())
		live.requireEnds("ended: idle", 10*time.Minute)
	})
}
