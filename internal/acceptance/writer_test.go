package acceptance

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// writerSite returns a site whose backend counts its calls, and a browser that uses this
// version of HTTP.
func writerSite(t *testing.T, proto string, configure func(*sessionguard.Config[*user])) (*site, *failingBackend, *browser) {
	t.Helper()
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.Backend = backend
		if configure != nil {
			configure(c)
		}
	})
	return s, backend, browseOver(t, proto, s.guard.Handler(s.mux))
}

// browseOver serves h and returns a browser on it that uses this version of HTTP.
func browseOver(t *testing.T, proto string, h http.Handler) *browser {
	t.Helper()
	h2 := proto == "HTTP/2.0"
	b := browse(t, serve(t, h, func(server *httptest.Server) { server.EnableHTTP2 = h2 }))
	transport := b.Client.Transport.(*http.Transport)
	transport.ForceAttemptHTTP2 = h2
	if h2 {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}
	}
	require.Equal(t, proto, b.Get("/none").Proto)
	return b
}

// overBoth runs a test over HTTP/1.1 and HTTP/2, each on a fake clock.
func overBoth(t *testing.T, test func(t *testing.T, proto string)) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) { withFakeClock(t, func(t *testing.T) { test(t, proto) }) })
	}
}

// callsSince returns the calls of the backend since before.
func callsSince(backend *failingBackend, before map[string]int) map[string]int {
	since := backend.callCounts()
	for method, n := range before {
		if since[method] -= n; since[method] == 0 {
			delete(since, method)
		}
	}
	return since
}

// onlyReader hides io.WriterTo, which io.Copy prefers to our ReadFrom.
type onlyReader struct{ io.Reader }

// waysToBegin are the ways in which a handler may begin its response, some with what may
// follow.
var waysToBegin = map[string]func(w http.ResponseWriter) error{
	"nothing":     func(http.ResponseWriter) error { return nil },
	"WriteHeader": func(w http.ResponseWriter) error { w.WriteHeader(http.StatusOK); return nil },
	"WriteHeader, three times": func(w http.ResponseWriter) error {
		for range 3 {
			w.WriteHeader(http.StatusOK)
		}
		return nil
	},
	"Write":        func(w http.ResponseWriter) error { _, err := w.Write([]byte("body")); return err },
	"Write of nil": func(w http.ResponseWriter) error { _, err := w.Write(nil); return err },
	"WriteString":  func(w http.ResponseWriter) error { _, err := w.(io.StringWriter).WriteString("body"); return err },
	"io.Copy": func(w http.ResponseWriter) error {
		_, err := io.Copy(w, onlyReader{strings.NewReader("body")})
		return err
	},
	"io.Copy of nothing": func(w http.ResponseWriter) error {
		_, err := io.Copy(w, onlyReader{strings.NewReader("")})
		return err
	},
	"ReadFrom": func(w http.ResponseWriter) error {
		_, err := w.(io.ReaderFrom).ReadFrom(onlyReader{strings.NewReader("body")})
		return err
	},
	"Flush by assertion":  func(w http.ResponseWriter) error { w.(http.Flusher).Flush(); return nil },
	"Flush by controller": func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() },
	"FlushError": func(w http.ResponseWriter) error {
		return w.(interface{ FlushError() error }).FlushError()
	},
	"103": func(w http.ResponseWriter) error { w.WriteHeader(http.StatusEarlyHints); return nil },
	"103 and more": func(w http.ResponseWriter) error {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusProcessing)
		_, err := w.Write([]byte("body"))
		return errors.Join(err, http.NewResponseController(w).Flush())
	},
	"everything": func(w http.ResponseWriter) error {
		w.WriteHeader(http.StatusOK)
		_, err := w.Write([]byte("body"))
		_, err2 := io.WriteString(w, "body")
		_, err3 := io.Copy(w, onlyReader{strings.NewReader("body")})
		return errors.Join(err, err2, err3, http.NewResponseController(w).Flush())
	},
	"http.ServeContent": func(w http.ResponseWriter) error {
		http.ServeContent(w, &http.Request{Method: "GET"}, "a.txt", time.Time{}, strings.NewReader("body"))
		return nil
	},
}

// W1, C1, K1
func TestEveryWayToBeginResponseCommitsOnce(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s, backend, b := writerSite(t, proto, nil)
		var begin func(http.ResponseWriter) error
		errs := make(chan error, 1)
		s.mux.HandleFunc("POST /in", func(w http.ResponseWriter, r *http.Request) {
			err := s.guard.Login(w, r, &user{ID: "ada", Roles: []string{"Engineer"}})
			errs <- errors.Join(err, begin(w))
		})
		s.mux.Handle("POST /note", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, err := s.guard.Get(r, "app")
			session.Values["n"], _ = time.Now().MarshalText()
			errs <- errors.Join(err, session.Save(r, w), begin(w))
		})))
		s.mux.HandleFunc("POST /visit", func(w http.ResponseWriter, r *http.Request) {
			session, err := s.guard.Get(r, "app")
			session.Values["n"] = "visited"
			errs <- errors.Join(err, begin(w))
		})
		for name, way := range waysToBegin {
			begin = way
			b.SetCookies(nil)
			resp := b.Post("/visit")
			require.NoError(t, <-errs, name)
			require.Len(t, resp.Header["Set-Cookie"], 1, name)
			requireNoStore(t, resp.Header)

			b.SetCookies(nil)
			before := backend.callCounts()
			resp = b.Post("/in")
			require.NoError(t, <-errs, name)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Len(t, resp.Header["Set-Cookie"], 1, name)
			requireNoStore(t, resp.Header)
			require.Equal(t, map[string]int{"Create": 1}, callsSince(backend, before), name)
			require.True(t, b.loggedIn(), name)

			advance(2 * time.Minute) // a touch is due
			before = backend.callCounts()
			resp = b.Post("/note")
			require.NoError(t, <-errs, name)
			require.Empty(t, resp.Header["Set-Cookie"], name)
			requireNoStore(t, resp.Header)
			require.Equal(t, map[string]int{"Load": 1, "Touch": 1, "Save": 1}, callsSince(backend, before), name)
		}
		require.Empty(t, s.log.String())
	})
}

// W1, C1, RFC 8297: the cookie belongs to the final response.
func TestEarlyHintsPassAndCommitNothing(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s, backend, b := writerSite(t, proto, nil)
		calls := make(chan map[string]int, 1)
		s.mux.HandleFunc("POST /in", func(w http.ResponseWriter, r *http.Request) {
			s.guard.User(r)
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			clear(w.Header()) // as httputil.ReverseProxy does
			if err := s.guard.Login(w, r, &user{ID: "ada"}); err != nil {
				panic(err)
			}
			w.WriteHeader(http.StatusEarlyHints)
			calls <- backend.callCounts()
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, "in")
		})
		var mu sync.Mutex
		var hints []http.Header
		req := b.Request("POST", "/in")
		req = req.WithContext(httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				mu.Lock()
				defer mu.Unlock()
				if code == http.StatusEarlyHints {
					hints = append(hints, http.Header(h))
				}
				return nil
			},
		}))
		resp := b.Do(req)
		require.Equal(t, map[string]int{"Create": 1}, <-calls)
		mu.Lock()
		defer mu.Unlock()
		require.Len(t, hints, 2)
		require.Equal(t, "</style.css>; rel=preload", hints[0].Get("Link"))
		for _, h := range hints {
			require.Empty(t, h["Set-Cookie"])
			requireNoStore(t, h)
		}
		require.Equal(t, http.StatusCreated, resp.StatusCode)
		require.Len(t, resp.Header["Set-Cookie"], 1)
		requireNoStore(t, resp.Header)
	})
}

// W1: a streamed response has its cookie and its headers before the handler returns.
func TestStreamedResponseHasItsCookieFromTheFirstByte(t *testing.T) {
	for name, flush := range map[string]func(http.ResponseWriter){
		"assertion":  func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"controller": func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, proto string) {
				s, _, b := writerSite(t, proto, nil)
				goOn := make(chan struct{})
				s.mux.HandleFunc("POST /stream", func(w http.ResponseWriter, r *http.Request) {
					_ = s.guard.Login(w, r, &user{ID: "ada"})
					flush(w)
					<-goOn
					io.WriteString(w, "event")
				})
				resp, err := b.Client.Do(b.Request("POST", "/stream"))
				require.NoError(t, err)
				defer resp.Body.Close()
				require.Len(t, resp.Header["Set-Cookie"], 1)
				requireNoStore(t, resp.Header)
				close(goOn)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.Equal(t, "event", string(body))
			})
		})
	}
}

// W1: setting deadlines begins no response, so a login may still follow.
func TestControllingTheConnectionCommitsNothing(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s, _, b := writerSite(t, proto, nil)
		errs := make(chan error, 1)
		s.mux.HandleFunc("POST /in", func(w http.ResponseWriter, r *http.Request) {
			s.guard.User(r)
			c := http.NewResponseController(w)
			errs <- errors.Join(
				c.SetReadDeadline(time.Now().Add(time.Hour)),
				c.SetWriteDeadline(time.Now().Add(time.Hour)),
				c.EnableFullDuplex(),
				s.guard.Login(w, r, &user{ID: "ada"}),
			)
		})
		resp := b.Post("/in")
		if err := <-errs; proto == "HTTP/2.0" {
			// EnableFullDuplex is not supported: HTTP/2 always is full duplex
			require.NotErrorIs(t, err, sessionguard.ErrHeadersSent)
		} else {
			require.NoError(t, err)
		}
		require.Len(t, resp.Header["Set-Cookie"], 1)
	})
}

// pushWriter is a ResponseWriter that supports server push.
type pushWriter struct {
	*httptest.ResponseRecorder
	pushed []string
}

func (p *pushWriter) Push(target string, _ *http.PushOptions) error {
	p.pushed = append(p.pushed, target)
	return nil
}

// W1
func TestPushReachesWriterThatSupportsIt(t *testing.T) {
	push := sessionguard.NoCache(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := w.(http.Pusher).Push("/style.css", nil); err != nil {
			http.Error(w, err.Error(), http.StatusNotImplemented)
		}
	}))
	p := &pushWriter{ResponseRecorder: httptest.NewRecorder()}
	push.ServeHTTP(p, httptest.NewRequest("GET", "/", nil))
	require.Equal(t, []string{"/style.css"}, p.pushed)
	require.Equal(t, http.StatusOK, p.Code)

	rec := httptest.NewRecorder()
	push.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	require.Equal(t, http.StatusNotImplemented, rec.Code)
	require.Equal(t, http.ErrNotSupported.Error()+"\n", rec.Body.String())
}
