package acceptance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// wrapped is the writer of a logging middleware that has no Unwrap.
type wrapped struct{ http.ResponseWriter }

// behindWrapper serves the site behind such a middleware.
func behindWrapper(t *testing.T, s *site, proto string) *browser {
	t.Helper()
	guarded := s.guard.Handler(s.mux)
	return writerBrowse(t, proto, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guarded.ServeHTTP(wrapped{w}, r)
	}))
}

// What runs on behind http.TimeoutHandler has no answer any more that could be
// stopped: its connection serves somebody else's request by then, and over HTTP/2
// net/http would crash.
func TestAStreamWhoseAnswerIsGivenUpStopsNobodyElses(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s := newSite(t, nil)
		deaf := s.guard.RequireLogin(s.guard.CancelOnEnd(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			time.Sleep(30 * time.Second)
		})))
		s.mux.Handle("GET /slow", http.TimeoutHandler(deaf, 5*time.Second, "too slow"))
		s.mux.HandleFunc("POST /other", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			io.WriteString(w, "fine")
		})
		b := writerBrowse(t, proto, s.guard.Handler(s.mux))
		b.login("ada")
		require.Equal(t, http.StatusServiceUnavailable, b.Get("/slow").StatusCode)
		b.Post("/logout")
		require.Equal(t, "fine", b.Post("/other").Body)
		advance(time.Minute)
	})
}

// endless is a source that moves its own deadline, as the example's events do.
type endless struct{ control *http.ResponseController }

func (e endless) Read(p []byte) (int, error) {
	time.Sleep(100 * time.Millisecond)
	_ = e.control.SetWriteDeadline(time.Now().Add(10 * time.Second))
	return copy(p, strings.Repeat("secret", 1000)), nil
}

func TestACopyThatNeverEndsIsStopped(t *testing.T) {
	for _, wrapping := range []bool{false, true} {
		overBoth(t, func(t *testing.T, proto string) {
			s := newSite(t, nil)
			stopped := make(chan error, 1)
			s.mux.Handle("GET /copy", s.cutPassive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(w, endless{http.NewResponseController(w)})
				stopped <- err
			})))
			b := writerBrowse(t, proto, s.guard.Handler(s.mux))
			if wrapping {
				b = behindWrapper(t, s, proto)
			}
			b.login("ada")
			resp, err := b.Client.Do(b.Request("GET", "/copy"))
			require.NoError(t, err)
			go io.Copy(io.Discard, resp.Body)
			advance(time.Second)
			require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
			begun := time.Now()
			require.Error(t, <-stopped)
			require.LessOrEqual(t, time.Since(begun), 1100*time.Millisecond)
		})
	}
}

// What was cut must not look complete, to a client or to a buffer further out.
func TestAStoppedAnswerIsAborted(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"said nothing yet": func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			http.Error(w, "no", http.StatusInternalServerError)
		},
		"said something": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "secret")
			time.Sleep(5 * time.Second)
		},
		"says something informational": func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			w.Header().Set("Link", "</secret>")
			w.WriteHeader(http.StatusEarlyHints)
		},
	}
	for name, handler := range handlers {
		for outside, browse := range map[string]func(*testing.T, *site, string) *browser{
			"a wrapper": behindWrapper,
			"a buffer": func(t *testing.T, s *site, proto string) *browser {
				return writerBrowse(t, proto, http.TimeoutHandler(s.guard.Handler(s.mux), time.Minute, ""))
			},
		} {
			t.Run(name+" behind "+outside, func(t *testing.T) {
				overBoth(t, func(t *testing.T, proto string) {
					s := newSite(t, nil)
					s.mux.Handle("GET /report", s.guard.RequireLogin(s.guard.CancelOnEnd(handler)))
					b := browse(t, s, proto)
					b.login("ada")
					go func() {
						advance(time.Second)
						_ = s.guard.EndUser(t.Context(), "ada")
					}()
					hinted := false
					ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
						Got1xxResponse: func(int, textproto.MIMEHeader) error { hinted = true; return nil },
					})
					resp, err := b.Client.Do(b.Request("GET", "/report").WithContext(ctx))
					require.False(t, hinted)
					if err == nil {
						var body []byte
						body, err = io.ReadAll(resp.Body)
						require.NotContains(t, string(body), "secret")
					}
					if err == nil { // net/http has asked again by itself
						require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
					}
				})
			})
		}
	}
}

// hanging is a store.Watcher that does not answer.
type hanging struct{ *failingBackend }

func (h hanging) Watch(ctx context.Context, _ func(store.Ending)) error {
	<-ctx.Done()
	return ctx.Err()
}

// L5: a backend that hangs holds up streams for a moment, and nothing else
func TestAWatchThatHangsIsGivenUp(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		_, b := streamingSite(t, hanging{newFailingBackend()})
		answers := make(chan response)
		begun := time.Now()
		for range 3 {
			go func() { answers <- b.Get("/events") }()
		}
		advance(time.Second)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		require.Equal(t, time.Second, time.Since(begun))
		for range 3 {
			require.Equal(t, http.StatusServiceUnavailable, (<-answers).StatusCode)
		}
		require.Equal(t, 5*time.Second, time.Since(begun))
	})
}

// L1: nor does the end of a stream wait for it
func TestAStreamEndsWhateverTheBackendDoes(t *testing.T) {
	for _, tells := range []bool{false, true} {
		withFakeClock(t, func(t *testing.T) {
			backend := newFailingBackend()
			remote := store.Backend(backend)
			if tells {
				remote = telling{backend}
			}
			_, b := streamingSite(t, remote)
			live := b.stream("/events")
			release := make(chan struct{})
			backend.beforeCall("Load", func() { <-release })
			begun := time.Now()
			require.Contains(t, <-live.lines, sessionguard.ErrUnavailable.Error())
			require.Equal(t, idle+5*time.Second, time.Since(begun))
			close(release)
		})
	}
}

// After a reconnect to the backend's server, many are asked for at a time.
func TestMissedEndingsAreAskedForTogether(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &forgetful{failingBackend: newFailingBackend()}
		_, b := streamingSite(t, backend)
		var all []*stream
		for range 50 {
			all = append(all, b.stream("/events"))
		}
		_, err := backend.Backend.Delete(t.Context(), sessionsOf(t, backend, "ada")[0].Key, store.ReasonEnded)
		require.NoError(t, err)
		backend.beforeCall("Load", func() { time.Sleep(time.Second) })
		begun := time.Now()
		backend.ended(store.Ending{})
		for _, live := range all {
			require.Equal(t, "ended: ended", <-live.lines)
		}
		require.LessOrEqual(t, time.Since(begun), 4*time.Second)
	})
}

// L5: who logs out sees nothing more, whatever becomes of the backend
func TestALogoutThatCouldNotPurgeCutsStreamsAllTheSame(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.streams(s.cutPassive)
		b, other := s.browse(), s.browse()
		b.login("ada")
		other.login("ada")
		live, others := b.stream("/events"), other.stream("/events")
		backend.failOn("Delete")
		require.Equal(t, http.StatusServiceUnavailable, b.Post("/logout").StatusCode)
		live.requireEnds("ended: logged_out", 0)
		require.True(t, others.open())
	})
}

// L1: a request that was accepted in time counts, also if a stream ends meanwhile
func TestAStreamTakesNoActivityAway(t *testing.T) {
	onEveryBackend(t, func(s *site, _ *failingBackend, _ bool) {
		s.streams(s.cutPassive)
		s.slow(3 * time.Second)
		b := s.browse()
		b.login("ada")
		live := b.stream("/events")
		advance(idle - time.Second)
		require.Equal(s.T, "secret", b.Get("/slow").Body)
		require.Equal(s.T, "ended: idle", <-live.lines)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
	})
}

// A callback that panics must not end the process, nor what is being done.
func TestACallbackThatPanicsStopsNothing(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.config.OnEvent = func(context.Context, sessionguard.Event) { panic("OnEvent") }
		guard, err := sessionguard.New(s.config)
		require.NoError(s.T, err)
		s.guard, s.mux = guard, http.NewServeMux()
		s.routes()
		s.streams(s.cutPassive)
		s.server = serve(s.T, guard.Handler(s.mux))
		b := s.browse()
		b.login("ada")
		live := b.stream("/events")
		require.NoError(s.T, guard.EndUser(s.T.Context(), "ada"))
		live.requireEnds("ended: ended", 0)
		require.Equal(s.T, http.StatusSeeOther, b.Get("/home").StatusCode)
		require.Contains(s.T, s.log.String(), "OnEvent")
	})
}

// ASVS 16.4: who may send anything must not fill the log
func TestAFloodOfRequestsIsNoFloodOfLog(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.OnEvent = nil })
		b := s.browse()
		for range 100 {
			b.Post("/static?"+strings.Repeat("x", 10_000), "Sec-Fetch-Site", "cross-site", "User-Agent", strings.Repeat("A", 100_000),
				"Cookie", sessionCookie+"="+strings.Repeat("x", 150))
			b.Get("/"+strings.Repeat("x", 10_000), "Cookie", sessionCookie+"="+strings.Repeat("x", 150))
		}
		require.Less(t, len(s.log.String()), 2000)
		require.Contains(t, s.log.String(), "cross_origin")
	})
}

// Streams come and go by the thousand and leave nothing behind.
func TestManyStreamsLeaveNothing(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		watched := &counting{failingBackend: newFailingBackend()}
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = watched })
		s.mux.Handle("GET /short", s.cutPassive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "short") })))
		s.mux.Handle("GET /panic", s.cutPassive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })))
		b := s.browse()
		b.login("ada")
		for range 500 {
			require.Equal(t, "short", b.Get("/short").Body)
			_, err := b.Client.Do(b.Request("GET", "/panic"))
			require.Error(t, err)
		}
		require.EqualValues(t, 1, watched.watches.Load(), "not one for each")
		advance(2 * time.Minute)
		synctest.Wait()
		require.Zero(t, watched.open.Load())
	})
}

// counting is a store.Watcher that knows how often it is watched.
type counting struct {
	*failingBackend
	watches, open atomic.Int64
}

func (c *counting) Watch(ctx context.Context, _ func(store.Ending)) error {
	c.watches.Add(1)
	c.open.Add(1)
	context.AfterFunc(ctx, func() { c.open.Add(-1) })
	return nil
}

// A handler that has been given up may come to CancelOnEnd only then: the connection
// serves somebody else by now.
func TestAStreamBegunAfterItsRequestStopsNobodyElses(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = newFailingBackend() })
		deaf := s.guard.CancelOnEnd(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(30 * time.Second) }))
		late := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(6 * time.Second)
			deaf.ServeHTTP(w, r)
		})
		s.mux.Handle("GET /slow", s.guard.RequireLogin(http.TimeoutHandler(late, 5*time.Second, "too slow")))
		s.mux.HandleFunc("POST /other", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			io.WriteString(w, "fine")
		})
		b := writerBrowse(t, proto, s.guard.Handler(s.mux))
		b.login("ada")
		require.Equal(t, http.StatusServiceUnavailable, b.Get("/slow").StatusCode)
		advance(2 * time.Second)
		b.Post("/logout")
		require.Equal(t, "fine", b.Post("/other").Body)
		advance(time.Minute)
	})
}

// L6: values behind CancelOnEnd are saved as anywhere else
func TestValuesBehindCancelOnEndAreSaved(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		cut := func(h http.HandlerFunc) http.Handler { return s.guard.RequireLogin(s.guard.CancelOnEnd(h)) }
		s.mux.Handle("POST /silent", cut(func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["silent"] = "v"
		}))
		s.mux.Handle("POST /late", cut(func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			io.WriteString(w, "hello")
			session.Values["late"] = "v"
		}))
		s.mux.Handle("POST /out", s.guard.CancelOnEnd(s.guard.CancelOnEnd(s.guard.Logout("/"))))
		b := s.browse()
		b.login("ada")
		b.Post("/silent")
		b.Post("/late")
		require.Equal(s.T, "v <nil>", b.Get("/value?k=silent").Body)
		require.Equal(s.T, "v <nil>", b.Get("/value?k=late").Body)
		b.Post("/out")
		require.Contains(s.T, b.Get("/").Body, "logged out")
	})
}

// W2: but not those of a handler that was given up
func TestValuesOfAGivenUpStreamAreLeftAlone(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		writing := s.guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			for i := range 1000 {
				session.Values["k"] = fmt.Sprint(i)
				time.Sleep(10 * time.Millisecond)
			}
		}))
		// As http.TimeoutHandler, but what it answers does not say so.
		s.mux.Handle("POST /slow", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			go writing.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
			<-ctx.Done()
			io.WriteString(w, "too slow")
		})))
		b := s.browse()
		b.login("ada")
		require.Equal(t, "too slow", b.Post("/slow").Body)
		advance(time.Minute)
		require.Equal(t, "<nil> <nil>", b.Get("/value?k=k").Body)
	})
}

// L1: a login with a shorter timeout is heard of by the streams there are
func TestAStreamHearsOfAShorterTimeout(t *testing.T) {
	onEveryBackend(t, func(s *site, _ *failingBackend, _ bool) {
		s.streams(s.cutPassive)
		b := s.browse()
		b.login("ada")
		live := b.stream("/events")
		s.loginOptions = func(string) []sessionguard.LoginOption {
			return []sessionguard.LoginOption{sessionguard.IdleTimeout(time.Minute)}
		}
		b.login("ada")
		live.requireEnds("ended: idle", time.Minute)
	})
}

// L5: and so does a logout that could not purge
func TestALogoutAfterALoginCutsStreamsAllTheSame(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		_, b := streamingSite(t, telling{backend})
		live := b.stream("/events")
		advance(time.Minute)
		b.login("ada")
		advance(10 * time.Minute)
		backend.failOn("Delete")
		require.Equal(t, http.StatusServiceUnavailable, b.Post("/logout").StatusCode)
		live.requireEnds("ended: logged_out", 0)
	})
}

// broken is a store.Watcher that panics, hangs for ever, or tells again and again.
type broken struct {
	*failingBackend
	watch func(ended func(store.Ending)) error
}

func (b broken) Watch(_ context.Context, ended func(store.Ending)) error { return b.watch(ended) }

func TestAWatchThatPanicsIsUnavailable(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = broken{newFailingBackend(), func(func(store.Ending)) error { panic("a nil client") }}
		})
		s.streams(s.cutPassive)
		b := s.browse()
		b.login("ada")
		require.Equal(t, http.StatusServiceUnavailable, b.Get("/events").StatusCode)
	})
}

func TestAWatchThatHangsIsTriedAgain(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		hang := make(chan struct{})
		var watches atomic.Int64
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = broken{newFailingBackend(), func(func(store.Ending)) error {
				if watches.Add(1) == 1 {
					<-hang
				}
				return nil
			}}
		})
		s.streams(s.cutPassive)
		b := s.browse()
		b.login("ada")
		require.Equal(t, http.StatusServiceUnavailable, b.Get("/events").StatusCode)
		b.stream("/events")
		require.EqualValues(t, 2, watches.Load())
		close(hang)
	})
}

// A connection to a backend's server that comes and goes is asked after once at a time.
func TestManyMissedEndingsAreAskedForOnce(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &forgetful{failingBackend: newFailingBackend()}
		_, b := streamingSite(t, backend)
		for range 10 {
			b.stream("/events")
		}
		backend.beforeCall("Load", func() { time.Sleep(time.Second) })
		before := backend.callCounts()["Load"]
		for range 100 {
			backend.ended(store.Ending{})
		}
		advance(time.Minute)
		require.LessOrEqual(t, backend.callCounts()["Load"]-before, 20)
	})
}

// A recoverer inside the guard must not make a whole answer of a stopped one.
func TestAStoppedAnswerIsAbortedBehindARecoverer(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s := newSite(t, nil)
		s.mux.HandleFunc("POST /report", func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if recover() != nil {
					http.Error(w, "oops", http.StatusInternalServerError)
				}
			}()
			s.guard.RequireLogin(s.guard.CancelOnEnd(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				time.Sleep(5 * time.Second)
			}))).ServeHTTP(w, r)
		})
		b := writerBrowse(t, proto, s.guard.Handler(s.mux))
		b.login("ada")
		go func() {
			advance(time.Second)
			_ = s.guard.EndUser(t.Context(), "ada")
		}()
		resp, err := b.Client.Do(b.Request("POST", "/report"))
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		require.Error(t, err)
		advance(10 * time.Second) // the handler
	})
}
