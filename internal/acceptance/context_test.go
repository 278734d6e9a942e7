package acceptance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// derive makes a request to path with these cookies from another request.
type derive func(r *http.Request, path string, cookies []string) *http.Request

// derivations are the ways in which a handler makes a request with its own context.
var derivations = map[string]derive{
	"NewRequestWithContext": func(r *http.Request, path string, cookies []string) *http.Request {
		sub, _ := http.NewRequestWithContext(r.Context(), "GET", path, nil)
		sub.Header["Cookie"] = cookies
		return sub
	},
	"Clone": func(r *http.Request, path string, cookies []string) *http.Request {
		sub := r.Clone(r.Context())
		sub.Method, sub.URL.Path, sub.Header["Cookie"] = "GET", path, cookies
		return sub
	},
	"WithContext, in the same header": func(r *http.Request, path string, cookies []string) *http.Request {
		sub := r.WithContext(context.WithoutCancel(r.Context()))
		url := *r.URL
		url.Path = path
		sub.Method, sub.URL, sub.Header["Cookie"] = "GET", &url, cookies
		return sub
	},
	"the request itself": func(r *http.Request, path string, cookies []string) *http.Request {
		r.Method, r.URL.Path, r.Header["Cookie"] = "GET", path, cookies
		return r
	},
}

// cookieOf returns the Cookie header of a browser, or nil if it has none.
func cookieOf(b *browser) []string {
	if value := b.Cookies()[sessionCookie]; value != "" {
		return []string{sessionCookie + "=" + value}
	}
	return nil
}

// I2: who asks is decided by a request's own cookies, never by the context that it was
// made with, whether the first request has used the session by then or not.
func TestARequestMadeWithAnothersContextHasItsOwnIdentity(t *testing.T) {
	for name, derived := range derivations {
		for _, resolved := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", resolved: ", resolved), func(t *testing.T) {
				onBoth(t, func(s *site, _ *failingBackend) {
					ada, grace, visitor := s.browse(), s.browse(), s.browse()
					ada.login("ada")
					grace.login("grace")
					own := cookieOf(ada)
					for cookies, want := range map[*browser]string{ada: "secret of ada", grace: "secret of grace", visitor: "login_required"} {
						var alone *httptest.ResponseRecorder
						var user, after string
						var unwrapped []error
						s.mux.HandleFunc("GET /include/"+want, func(w http.ResponseWriter, r *http.Request) {
							if resolved {
								s.guard.User(r)
							}
							r.Header.Set("Accept", "*/*")
							sub := derived(r, "/poll", cookieOf(cookies))
							if u, ok := s.guard.User(sub); ok {
								user = u.ID
							}
							if cookies != ada {
								_, err := s.guard.Get(sub, "app")
								unwrapped = []error{err, s.guard.End(w, sub), s.guard.Login(w, sub, &user0), s.guard.EndOthers(sub)}
							}
							alone = httptest.NewRecorder()
							s.mux.ServeHTTP(alone, sub)
							r.Header["Cookie"] = own
							if u, ok := s.guard.User(r); ok {
								after = u.ID
							}
							s.mux.ServeHTTP(w, derived(r, "/poll", cookieOf(cookies)))
						})
						resp := ada.Get("/include/" + want)
						require.Contains(s.T, alone.Body.String(), want)
						require.Contains(s.T, resp.Body, want)
						require.Equal(s.T, "ada", after, "the first request's identity stays")
						requireNoStore(s.T, resp.Header)
						if cookies == ada {
							require.Equal(s.T, "ada", user)
							continue
						}
						requireNoStore(s.T, alone.Result().Header)
						require.Empty(s.T, user, "%s did not pass a wrapper", want)
						for _, err := range unwrapped {
							require.ErrorIs(s.T, err, sessionguard.ErrNotWrapped)
						}
					}
					require.True(s.T, ada.loggedIn())
					require.True(s.T, grace.loggedIn())
				})
			})
		}
	}
}

var user0 = user{ID: "ada"}

// R1: such a request is checked as if it had come from outside.
func TestARequestWithOtherCookiesIsCheckedForItsOrigin(t *testing.T) {
	s := newSite(t, nil)
	grace := s.browse()
	grace.login("grace")
	recorder := httptest.NewRecorder()
	s.mux.HandleFunc("GET /include", func(w http.ResponseWriter, r *http.Request) {
		sub, _ := http.NewRequestWithContext(r.Context(), "POST", "/logout", nil)
		sub.Header = http.Header{"Cookie": cookieOf(grace), "Sec-Fetch-Site": {"cross-site"}}
		s.mux.ServeHTTP(recorder, sub)
	})
	s.browse().Get("/include")
	require.Contains(t, recorder.Body.String(), "cross_origin")
	require.True(t, grace.loggedIn())
}

// What middleware usually does to a request leaves it the same request: nothing is loaded
// twice, and nobody is logged out.
func TestACopyOfARequestIsTheSameRequest(t *testing.T) {
	type change func(http.ResponseWriter, *http.Request) *http.Request
	for name, copied := range map[string]change{
		"Clone": func(_ http.ResponseWriter, r *http.Request) *http.Request { return r.Clone(r.Context()) },
		"WithContext": func(_ http.ResponseWriter, r *http.Request) *http.Request {
			return r.WithContext(context.WithoutCancel(r.Context()))
		},
		"shallow copy": func(_ http.ResponseWriter, r *http.Request) *http.Request {
			c := *r
			return &c
		},
		"another cookie is added": func(_ http.ResponseWriter, r *http.Request) *http.Request {
			r.AddCookie(&http.Cookie{Name: "theme", Value: "dark"})
			return r
		},
		"another cookie is added to a clone": func(_ http.ResponseWriter, r *http.Request) *http.Request {
			r = r.Clone(r.Context())
			r.Header["Cookie"] = append([]string{"theme=dark"}, r.Header["Cookie"]...)
			return r
		},
		"another cookie is removed": func(_ http.ResponseWriter, r *http.Request) *http.Request {
			r = r.Clone(r.Context())
			session, _ := r.Cookie(sessionCookie)
			r.Header.Set("Cookie", session.Name+"="+session.Value)
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := remoteSite(t)
				var user string
				page := s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					done := make(chan struct{})
					go func() { // a goroutine, as handlers start them
						defer close(done)
						if u, ok := s.guard.User(r); ok {
							user = u.ID
						}
					}()
					<-done
					session, err := s.guard.Get(r, "app")
					session.Values["k"] = "v"
					fmt.Fprint(w, err)
				}))
				s.mux.Handle("GET /app/page", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					page.ServeHTTP(w, copied(w, r))
				})))
				s.mux.Handle("GET /stripped/page", http.StripPrefix("/stripped", page))
				b := s.browse()
				b.SetCookies(map[string]string{"other": "1"})
				b.login("ada")
				advance(idle / 2)
				before := backend.callCounts()
				require.Equal(t, "<nil>", b.Get("/app/page").Body)
				require.Equal(t, map[string]int{"Load": 1, "Touch": 1, "Save": 1}, callsSince(backend, before))
				require.Equal(t, "ada", user)
				require.Equal(t, "<nil>", b.Get("/stripped/page").Body)
			})
		})
	}
}

// A context that outlives its request does not keep the user logged in.
func TestTheContextOfAnEarlierRequestKeepsNobodyLoggedIn(t *testing.T) {
	s := newSite(t, nil)
	var earlier *http.Request
	s.mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		s.guard.User(r)
		earlier = r
	})
	b := s.browse()
	b.login("ada")
	b.Get("/page")
	serve := func() string {
		recorder := httptest.NewRecorder()
		sub := derivations["Clone"](earlier, "/poll", cookieOf(b))
		s.mux.ServeHTTP(recorder, sub.WithContext(context.WithoutCancel(sub.Context())))
		return recorder.Body.String()
	}
	require.Equal(t, "secret of ada", serve())
	require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
	require.NotContains(t, serve(), "secret")
}

// unwritten is a ResponseWriter for a response whose body and status are not wanted.
type unwritten struct{ http.ResponseWriter }

func (unwritten) WriteHeader(int)             {}
func (unwritten) Write(b []byte) (int, error) { return len(b), nil }

// A request with other cookies that writes to the response of the first one may log in.
// But the response has one session cookie, and no session lives whose cookie is not sent.
func TestTwoRequestsWithOneResponseSetOneCookie(t *testing.T) {
	login := func(s *site, w http.ResponseWriter, r *http.Request, id string) error {
		return s.guard.Login(w, r, &user{ID: id})
	}
	include := func(s *site, w http.ResponseWriter, r *http.Request) {
		sub, _ := http.NewRequestWithContext(r.Context(), "POST", "/inner", nil)
		s.mux.ServeHTTP(w, sub)
	}
	for name, test := range map[string]struct {
		outer  func(s *site, w http.ResponseWriter, r *http.Request)
		eve    int // sessions afterwards
		grace  int
		panics bool // the included page, after its login
	}{
		"the included page logs in": {include, 1, 0, false},
		"both log in": {func(s *site, w http.ResponseWriter, r *http.Request) {
			include(s, w, r)
			_ = login(s, w, r, "grace")
		}, 0, 1, false},
		"both log in, the page first": {func(s *site, w http.ResponseWriter, r *http.Request) {
			_ = login(s, w, r, "grace")
			include(s, w, r)
		}, 0, 1, false},
		"the page logs out": {func(s *site, w http.ResponseWriter, r *http.Request) {
			include(s, w, r)
			_ = s.guard.End(w, r)
		}, 0, 0, false},
		"both log out": {func(s *site, w http.ResponseWriter, r *http.Request) {
			_ = s.guard.End(w, r)
			sub, _ := http.NewRequestWithContext(r.Context(), "POST", "/logout", nil)
			sub.Header["Cookie"] = []string{"changed"}
			sub.AddCookie(&http.Cookie{Name: visitorCookie, Value: "other"})
			s.mux.ServeHTTP(unwritten{w}, sub)
		}, 0, 0, false},
		"the page is replaced": {func(s *site, w http.ResponseWriter, r *http.Request) {
			s.guard.EndOthers(r)
			include(s, w, r)
			_ = s.guard.EndUser(r.Context(), "ada")
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = "v"
		}, 0, 0, false},
		"the page panics": {func(s *site, w http.ResponseWriter, r *http.Request) {
			include(s, w, r)
			panic(http.ErrAbortHandler)
		}, 0, 0, false},
		"the page has begun": {func(s *site, w http.ResponseWriter, r *http.Request) {
			_ = login(s, w, r, "grace")
			io.WriteString(w, "page")
			include(s, w, r)
		}, 0, 1, false},
		"the page has begun, and the included one panics": {func(s *site, w http.ResponseWriter, r *http.Request) {
			_ = login(s, w, r, "grace")
			io.WriteString(w, "page")
			defer func() { _ = recover() }()
			include(s, w, r)
		}, 0, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := remoteSite(t)
				s.mux.Handle("POST /inner", s.guard.Passive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					err := login(s, w, r, "eve")
					if test.panics {
						panic(err)
					}
				})))
				s.mux.HandleFunc("POST /outer", func(w http.ResponseWriter, r *http.Request) { test.outer(s, w, r) })
				b := s.browse()
				b.login("ada")
				set := map[string]int{}
				if resp, err := b.Send(b.Request("POST", "/outer")); err == nil {
					for _, c := range resp.Cookies() {
						set[c.Name]++
					}
				}
				require.Len(t, sessionsOf(t, backend, "eve"), test.eve)
				require.Len(t, sessionsOf(t, backend, "grace"), test.grace)
				require.LessOrEqual(t, set[visitorCookie], 1)
				if test.eve+test.grace > 0 {
					require.Equal(t, 1, set[sessionCookie])
				} else {
					require.LessOrEqual(t, set[sessionCookie], 1)
				}
			})
		})
	}
}

// C1: a page that may be cached and has begun includes nothing that needs a session.
func TestACacheablePageThatHasBegunIncludesNoGatedOne(t *testing.T) {
	s := newSite(t, nil)
	grace := s.browse()
	grace.login("grace")
	s.mux.HandleFunc("GET /include", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public")
		io.WriteString(w, "page ")
		s.mux.ServeHTTP(w, derivations["Clone"](r, "/poll", cookieOf(grace)))
	})
	resp := s.browse().Get("/include", "Accept", "*/*")
	require.Equal(t, []string{"public"}, resp.Header["Cache-Control"])
	require.NotContains(t, resp.Body, "secret")
}

// The ID of the user who acts, and which session is current, are not taken from a context
// whose request has other cookies by now.
func TestAContextWhoseCookiesWereReplacedNamesNobody(t *testing.T) {
	s := newSite(t, nil)
	ada, grace := s.browse(), s.browse()
	ada.login("ada")
	grace.login("grace")
	var listed []sessionguard.Session
	var user string
	s.mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		own := r.Header["Cookie"]
		r.Header["Cookie"] = cookieOf(grace)
		listed, _ = s.guard.Sessions(r.Context(), "grace")
		_ = s.guard.EndUser(r.Context(), "grace")
		r.Header["Cookie"] = own
		if u, ok := s.guard.User(r); ok {
			user = u.ID
		}
	})
	ada.Get("/page")
	require.Len(t, listed, 1)
	require.False(t, listed[0].Current)
	require.Equal(t, "ada", user)
	require.Equal(t, string(store.ReasonEnded), string(lastEnd(s).Reason))
}

// lastEnd returns the last event about the end of a session.
func lastEnd(s *site) (last sessionguard.Event) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	for _, e := range s.events.all {
		if e.Name == sessionguard.EventEnded {
			last = e
		}
	}
	return last
}

// A framework's adapter may copy the request that a wrapper hands on into the one that it has
// itself. The wrapper's context must not become its own parent then.
func TestTheCallersRequestMayBecomeACopyOfTheHandlers(t *testing.T) {
	s := newSite(t, nil)
	page := s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := s.guard.User(r)
		fmt.Fprintf(w, "%s, %v", u.ID, r.Context().Err())
	}))
	s.mux.HandleFunc("GET /adapted", page.ServeHTTP)
	adapted := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, own *http.Request) {
		s.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			*own = *r.WithContext(context.WithValue(r.Context(), t, "value"))
			s.mux.ServeHTTP(w, own)
		})).ServeHTTP(w, own)
	}))
	defer adapted.Close()
	ada := s.browse()
	ada.login("ada")
	r, err := http.NewRequest("GET", adapted.URL+"/adapted", nil)
	require.NoError(t, err)
	r.Header["Cookie"] = cookieOf(ada)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "ada, <nil>", string(body))
}
