package acceptance

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A slowBody is a request's body that takes time: a piece every minute.
type slowBody struct {
	minutes int
	each    func(minute int) // nil: nothing
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.minutes == 0 {
		return 0, io.EOF
	}
	b.minutes--
	advance(time.Minute)
	if b.each != nil {
		b.each(b.minutes)
	}
	return copy(p, "a piece"), nil
}

// upload sends a POST to /upload whose body takes this long.
func (b *browser) upload(minutes int, each func(minute int)) response {
	b.t.Helper()
	r := b.Request("POST", "/upload")
	r.Body, r.ContentLength = io.NopCloser(&slowBody{minutes, each}), -1
	return b.Do(r)
}

// addUpload adds POST /upload behind wrap. It reads the whole body, and saves a value.
func (s *site) addUpload(wrap func(http.Handler) http.Handler) {
	s.mux.Handle("POST /upload", wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := s.guard.Get(r, "app")
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		session.Values["size"] = n
		io.WriteString(w, "received")
	})))
}

// L1: an upload that takes longer than the idle timeout keeps its session, gets its response
// and saves its values, however its body is read, and whoever asks for the session meanwhile.
func TestUploadKeepsItsSession(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"as it is": func(next http.Handler) http.Handler { return next },
		"MaxBytesReader": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
				next.ServeHTTP(w, r)
			})
		},
		"another goroutine": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				pr, pw := io.Pipe()
				body := r.Body
				go func() { _, err := io.Copy(pw, body); pw.CloseWithError(err) }()
				r.Body = pr
				next.ServeHTTP(w, r)
			})
		},
		"a copy of the request": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, r.Clone(r.Context())) })
		},
		"the response has begun": func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).EnableFullDuplex()
				_ = http.NewResponseController(w).Flush()
				next.ServeHTTP(w, r)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, backend *failingBackend) {
				s.addUpload(func(next http.Handler) http.Handler { return s.guard.RequireLogin(wrap(next)) })
				b := s.browse()
				b.login("ada")
				page := s.copyOf(b)
				advance(time.Minute)
				resp := b.upload(35, func(int) { assert.True(s.T, page.loggedIn(), "the guard script's page stays") })
				require.Equal(s.T, "received", resp.Body)
				require.Equal(s.T, "245 <nil>", b.Get("/value?k=size").Body)
				if backend != nil {
					require.Equal(s.T, 36, backend.callCounts()["Touch"], "once a minute")
				}
			})
		})
	}
}

// L1: also over HTTP/2, and in a form that ParseMultipartForm reads.
func TestUploadKeepsItsSessionOverBothProtocols(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s := newSite(t, nil)
		s.mux.Handle("POST /upload", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := r.ParseMultipartForm(1 << 20); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			io.WriteString(w, "received "+r.FormValue("a"))
		})))
		b := browseOver(t, proto, s.guard.Handler(s.mux))
		b.login("ada")
		page := &browser{b.Copy(), t}
		r := b.Request("POST", "/upload", "Content-Type", "multipart/form-data; boundary=x")
		head := strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n")
		check := &slowBody{35, func(int) { assert.True(t, page.loggedIn()) }}
		r.Body, r.ContentLength = io.NopCloser(io.MultiReader(head, check, strings.NewReader("\r\n--x--\r\n"))), -1
		require.Equal(t, "received "+strings.Repeat("a piece", 35), b.Do(r).Body)
	})
}

// L1, L2: what must not keep a session alive, although a body is being read.
func TestReadingABodyIsNoActivity(t *testing.T) {
	for name, test := range map[string]struct {
		wrap    func(*site) func(http.Handler) http.Handler
		options []sessionguard.LoginOption
		header  []string
	}{
		"of a passive request": {wrap: func(s *site) func(http.Handler) http.Handler {
			return func(next http.Handler) http.Handler { return s.guard.Passive(s.guard.RequireLogin(next)) }
		}},
		"of a prefetch":               {wrap: requireLogin, header: []string{"Sec-Purpose", "prefetch"}},
		"after the absolute timeout":  {wrap: requireLogin, options: []sessionguard.LoginOption{sessionguard.AbsoluteTimeout(idle)}},
		"that is refused by the role": {wrap: refusedByRole},
		"without the session":         {wrap: func(*site) func(http.Handler) http.Handler { return readAll }},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				s.addUpload(test.wrap(s))
				s.loginOptions = func(string) []sessionguard.LoginOption { return test.options }
				b := s.browse()
				b.login("ada")
				page := s.copyOf(b)
				b.Header = b.Header.Clone()
				for i := 0; i < len(test.header); i += 2 {
					b.Header.Set(test.header[i], test.header[i+1])
				}
				b.upload(35, func(left int) { assert.Equal(s.T, left >= 6, page.loggedIn(), left) })
			})
		})
	}
}

// refusedByRole reads the body in a handler that a gate has refused.
func refusedByRole(s *site) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.guard.RequireRole("Admin")(http.NotFoundHandler()).ServeHTTP(w, r)
			_, _ = io.Copy(io.Discard, r.Body)
		})
	}
}

func readAll(http.Handler) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
}

// L3: a session that ends in the middle of an upload stays ended, and the upload is refused
// and saves nothing, also if it was accepted a moment after other activity.
func TestUploadWhoseSessionEndsIsRefused(t *testing.T) {
	for name, end := range sessionEnds {
		test := func(t *testing.T, wrap func(http.Handler) http.Handler) {
			onBoth(t, func(s *site, backend *failingBackend) {
				s.addUpload(func(next http.Handler) http.Handler { return s.guard.RequireLogin(wrap(next)) })
				b := s.browse()
				b.login("ada")
				slow := s.copyOf(b)
				slow.Header = http.Header{"Accept": {"application/json"}}
				resp := slow.upload(35, func(left int) {
					if left == 20 {
						end(s, b)
					}
				})
				require.Equal(s.T, http.StatusUnauthorized, resp.StatusCode, resp.Body)
				require.Empty(s.T, resp.Cookies())
				require.False(s.T, slow.loggedIn())
				if b.loggedIn() {
					require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=size").Body)
				}
			})
		}
		t.Run(name, func(t *testing.T) { test(t, func(next http.Handler) http.Handler { return next }) })
		t.Run(name+", no values", func(t *testing.T) { test(t, readAll) })
	}
}

// A login's new token stays unused until the browser has sent it, however long the request of
// the login takes: its response may be lost, and no older token is then taken for a thief's.
func TestLongRequestOfALoginLeavesTheTokenUnused(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.mux.HandleFunc("POST /slow-login", func(w http.ResponseWriter, r *http.Request) {
			s.guard.User(r)
			u, _ := s.users.Find(r.Context(), "ada")
			require.NoError(s.T, s.guard.Login(w, r, u))
			advance(5 * time.Minute)
		})
		b := s.browse()
		b.login("ada")
		old := s.copyOf(b)
		advance(idle)
		for range 2 { // a new token, which is then used
			require.Equal(s.T, "secret of ada", b.Get("/home").Body)
			advance(2 * time.Minute)
		}
		b.Post("/slow-login")
		old.Get("/home")
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
		require.True(s.T, b.loggedIn())
	})
}

// L1: an upload that revives a remembered session keeps it once the browser has got the new
// token with another response.
func TestUploadKeepsTheSessionThatItRevives(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.addUpload(s.guard.RequireLogin)
		b := s.browse()
		b.login("ada")
		page := s.copyOf(b)
		advance(idle)
		resp := b.upload(70, func(left int) { assert.True(s.T, page.loggedIn(), left) })
		require.Equal(s.T, "received", resp.Body)
		require.Equal(s.T, "490 <nil>", b.Get("/value?k=size").Body)
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
	})
}

// L1: a session that has idled out while its client sent nothing is not brought back by what it
// sends then, also if it is remembered.
func TestStalledUploadBringsNoSessionBack(t *testing.T) {
	onBothRemembered(t, func(s *site, backend *failingBackend) {
		s.addUpload(s.guard.RequireLogin)
		b := s.browse()
		b.login("ada")
		page := s.copyOf(b)
		b.upload(3, func(left int) {
			if left == 1 {
				advance(idle)
			}
			if left <= 1 {
				assert.False(s.T, page.loggedIn())
			}
		})
		assert.False(s.T, page.loggedIn())
	})
}

// A backend that fails meanwhile fails no Read, is asked once per 1/30 of the idle timeout,
// and what it has missed is recorded later.
func TestUploadWhileTheBackendFails(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.addUpload(s.guard.RequireLogin)
		b := s.browse()
		b.login("ada")
		s.events.take()
		var before map[string]int
		resp := b.upload(45, func(left int) {
			switch left {
			case 40:
				backend.failOn("Touch")
				before = backend.callCounts()
			case 20:
				assert.Equal(t, map[string]int{"Touch": 20}, callsSince(backend, before))
				backend.failOn()
			}
		})
		require.Equal(t, "received", resp.Body)
		require.Len(t, s.events.take(sessionguard.EventUnavailable), 20, "one for each call")
		require.Equal(t, int(idle.Seconds()), statusOf(b).Idle)

		backend.beforeCall("Touch", func() { panic("a backend's panic") })
		require.Equal(t, "received", b.upload(5, func(left int) {
			if left == 0 {
				backend.beforeCall("Touch", nil)
			}
		}).Body)
	})
}

// L1: activity that another node has recorded counts, and what this node records counts there.
func TestUploadKeepsItsSessionOnEveryNode(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		share := func(c *sessionguard.Config[*user]) { c.Backend = backend }
		here, there := newSite(t, share), newSite(t, share)
		here.addUpload(here.guard.RequireLogin)
		b := here.browse()
		b.login("ada")
		other := there.copyOf(b)
		b.upload(70, func(left int) {
			if left == 40 { // nothing was sent for 25 minutes, but another page was requested
				advance(25 * time.Minute)
				assert.Equal(t, "secret of ada", other.Get("/home").Body)
				advance(25 * time.Minute)
			}
			assert.True(t, other.loggedIn(), left)
		})
		require.Equal(t, int(idle.Seconds()), statusOf(other).Idle)
	})
}

// A callback that reads the body, or another goroutine that holds the request's lock, does not
// make a Read wait for the lock.
func TestReadDoesNotWaitForTheGuard(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		var r *http.Request
		first, second := make(chan struct{}), make(chan error, 1)
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			find := c.FindUser
			c.FindUser = func(ctx context.Context, id string) (*user, error) {
				if r != nil {
					_, _ = io.ReadFull(r.Body, make([]byte, 7))
					close(first)
					second <- <-second
				}
				return find(ctx, id)
			}
		})
		s.mux.HandleFunc("POST /upload", func(w http.ResponseWriter, request *http.Request) {
			r = request
			go func() {
				<-first
				_, err := io.ReadFull(request.Body, make([]byte, 7))
				second <- err
			}()
			s.guard.User(request)
			r = nil
			io.WriteString(w, "received")
		})
		b := s.browse()
		b.login("ada")
		require.Equal(t, "received", b.upload(2, nil).Body)
		require.NoError(t, <-second)
	})
}

// L1, I1: a login at the end of an upload begins a session then.
func TestLoginAfterALongUploadBeginsASessionThen(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.mux.HandleFunc("POST /upload", func(w http.ResponseWriter, r *http.Request) {
			_, before := s.guard.User(r)
			_, _ = io.Copy(io.Discard, r.Body)
			u, _ := s.users.Find(r.Context(), "ada")
			if err := s.guard.Login(w, r, u); err != nil || before {
				http.Error(w, "no", http.StatusForbidden)
			}
		})
		b := s.browse()
		require.Equal(s.T, http.StatusOK, b.upload(35, nil).StatusCode)
		require.Equal(s.T, int(idle.Seconds()), statusOf(b).Idle)
		require.Equal(s.T, int(absolute.Seconds()), statusOf(b).Absolute)
	})
}

// An upgraded connection of HTTP/2 has a body that is no upload.
func TestReadingFromAConnectionIsNoActivity(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		b := s.browse()
		b.login("ada")
		h := s.guard.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			assert.Equal(t, 1200, statusOf(b).Idle)
		}))
		r := b.Request(http.MethodConnect, "/upload", "Sec-Fetch-Site", "same-origin")
		for name, value := range b.Cookies() {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		r.Body, r.ContentLength = io.NopCloser(&slowBody{10, nil}), -1
		h.ServeHTTP(discard{}, r)
	})
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
