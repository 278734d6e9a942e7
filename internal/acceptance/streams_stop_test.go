package acceptance

import (
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// A handler that ignores the end of its context is stopped a second later.
func TestHandlerThatIgnoresContextIsStopped(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s := newSite(t, nil)
		b := browseOver(t, proto, s.guard.Handler(s.mux))
		var mu sync.Mutex
		var failed error
		var lasted time.Duration
		s.mux.Handle("GET /ignoring", s.passiveCancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "hello\n")
			control := http.NewResponseController(w)
			control.Flush()
			start := time.Now()
			for {
				time.Sleep(100 * time.Millisecond)
				_ = control.SetWriteDeadline(time.Now().Add(time.Hour))
				_, err := io.WriteString(w, "secret\n")
				if err == nil {
					err = control.Flush()
				}
				if err != nil {
					mu.Lock()
					failed, lasted = err, time.Since(start)
					mu.Unlock()
					return
				}
			}
		})))
		b.login("ada")
		resp, err := b.Client.Do(b.Request("GET", "/ignoring"))
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

// A handler that is blocked in a write, because the client does not read, is released.
func TestHandlerBlockedInWriteIsStopped(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		done := make(chan time.Time, 1)
		s.mux.Handle("GET /stuck", s.passiveCancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		start := time.Now()
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		// net/http closes the connection before the handler's Write fails, and crypto/tls
		// waits five seconds for the client to read its close_notify alert.
		require.Equal(t, 6*time.Second, (<-done).Sub(start))
	})
}

// The connection of a WebSocket is closed, since the end of a context does not interrupt
// a read.
func TestHijackedConnectionIsClosed(t *testing.T) {
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
			rw.ReadByte() // returns only when the connection is closed
			woken <- time.Now()
		}))))
		b := s.browse()
		b.login("ada")
		resp, err := b.Client.Do(b.Request("GET", "/ws", "Connection", "Upgrade", "Upgrade", "test", "Sec-Fetch-Site", "same-origin"))
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
		advance(time.Minute)
		start := time.Now()
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		require.Equal(t, time.Second, (<-woken).Sub(start), "the handler has a second to send a last message")
	})
}

// Handlers of WebSockets often start goroutines and return.
func TestHijackedConnectionIsClosedAfterHandlerReturned(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &manualWatcher{failingBackend: newFailingBackend()}
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
		kept, closed := dial(), dial()
		defer kept.Close()
		_, err := closed.Write([]byte(".")) // the handler closes this one
		require.NoError(t, err)
		_, _ = io.ReadAll(closed)
		closed.Close()
		advance(time.Minute)
		start := time.Now()
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		require.Equal(t, time.Second, (<-ends).Sub(start))
		_, _ = io.ReadAll(kept)
		advance(2 * time.Minute)
		require.Error(t, backend.ctx.Err(), "no stream is left to watch for")
	})
}

// opaqueWriter is the ResponseWriter of a logging middleware that has no Unwrap method.
type opaqueWriter struct{ http.ResponseWriter }

// browseBehindOpaqueWriter serves the site behind such a middleware.
func browseBehindOpaqueWriter(t *testing.T, s *site, proto string) *browser {
	t.Helper()
	guarded := s.guard.Handler(s.mux)
	return browseOver(t, proto, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guarded.ServeHTTP(opaqueWriter{w}, r)
	}))
}

// A handler that runs on after http.TimeoutHandler has given up on it no longer has a
// response that could be stopped: its connection may serve another request by then, and
// over HTTP/2 net/http would panic.
func TestAbandonedStreamDoesNotStopNextRequest(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s := newSite(t, nil)
		ignoring := s.guard.RequireLogin(s.guard.CancelOnEnd(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			time.Sleep(30 * time.Second)
		})))
		s.mux.Handle("GET /slow", http.TimeoutHandler(ignoring, 5*time.Second, "too slow"))
		s.mux.HandleFunc("POST /other", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			io.WriteString(w, "fine")
		})
		b := browseOver(t, proto, s.guard.Handler(s.mux))
		b.login("ada")
		require.Equal(t, http.StatusServiceUnavailable, b.Get("/slow").StatusCode)
		b.Post("/logout")
		require.Equal(t, "fine", b.Post("/other").Body)
		advance(time.Minute)
	})
}

// endlessReader never ends, and extends the write deadline at each read, as the events of
// the example do.
type endlessReader struct{ control *http.ResponseController }

func (e endlessReader) Read(p []byte) (int, error) {
	time.Sleep(100 * time.Millisecond)
	_ = e.control.SetWriteDeadline(time.Now().Add(10 * time.Second))
	return copy(p, strings.Repeat("secret", 1000)), nil
}

func TestEndlessCopyIsStopped(t *testing.T) {
	for _, opaque := range []bool{false, true} {
		overBoth(t, func(t *testing.T, proto string) {
			s := newSite(t, nil)
			stopped := make(chan error, 1)
			s.mux.Handle("GET /copy", s.passiveCancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(w, endlessReader{http.NewResponseController(w)})
				stopped <- err
			})))
			b := browseOver(t, proto, s.guard.Handler(s.mux))
			if opaque {
				b = browseBehindOpaqueWriter(t, s, proto)
			}
			b.login("ada")
			resp, err := b.Client.Do(b.Request("GET", "/copy"))
			require.NoError(t, err)
			go io.Copy(io.Discard, resp.Body)
			advance(time.Second)
			require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
			start := time.Now()
			require.Error(t, <-stopped)
			require.LessOrEqual(t, time.Since(start), 1100*time.Millisecond)
		})
	}
}

// A stopped response must not look complete, neither to the client nor to outer
// middleware that buffers it.
func TestStoppedResponseIsAborted(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"wrote nothing": func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			http.Error(w, "no", http.StatusInternalServerError)
		},
		"wrote something": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "secret")
			time.Sleep(5 * time.Second)
		},
		"writes an informational response": func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			w.Header().Set("Link", "</secret>")
			w.WriteHeader(http.StatusEarlyHints)
		},
	}
	for name, handler := range handlers {
		for outer, browse := range map[string]func(*testing.T, *site, string) *browser{
			"an opaque writer": browseBehindOpaqueWriter,
			"a buffer": func(t *testing.T, s *site, proto string) *browser {
				return browseOver(t, proto, http.TimeoutHandler(s.guard.Handler(s.mux), time.Minute, ""))
			},
		} {
			t.Run(name+" behind "+outer, func(t *testing.T) {
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
					if err == nil { // net/http has repeated the request by itself
						require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
					}
				})
			})
		}
	}
}

// An abandoned handler may call CancelOnEnd only after its request has ended: the
// connection serves another request by then.
func TestStreamBegunAfterRequestDoesNotStopNextRequest(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = newFailingBackend() })
		ignoring := s.guard.CancelOnEnd(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(30 * time.Second) }))
		late := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(6 * time.Second)
			ignoring.ServeHTTP(w, r)
		})
		s.mux.Handle("GET /slow", s.guard.RequireLogin(http.TimeoutHandler(late, 5*time.Second, "too slow")))
		s.mux.HandleFunc("POST /other", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			io.WriteString(w, "fine")
		})
		b := browseOver(t, proto, s.guard.Handler(s.mux))
		b.login("ada")
		require.Equal(t, http.StatusServiceUnavailable, b.Get("/slow").StatusCode)
		advance(2 * time.Second)
		b.Post("/logout")
		require.Equal(t, "fine", b.Post("/other").Body)
		advance(time.Minute)
	})
}

// A recoverer inside the guard must not turn a stopped response into a complete one.
func TestStoppedResponseIsAbortedBehindRecoverer(t *testing.T) {
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
		b := browseOver(t, proto, s.guard.Handler(s.mux))
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
		advance(10 * time.Second) // until the handler has returned
	})
}
