package acceptance

import (
	"encoding/gob"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// RFC 9110, section 15.5.2: a 401 has a challenge. For a login that is too old it names the
// greatest age (RFC 9470).
func TestEvery401HasAChallenge(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.LoginPath = "/in?x=1" })
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "page") })
	s.mux.Handle("/recent", s.guard.RequireFresh(-5*time.Minute)(page))
	s.mux.Handle("/both", s.guard.RequireLogin(s.guard.RequireFresh(-time.Second)(page)))
	const login = `Cookie form-action="/in?x=1"`
	b := s.browse()
	challenge := func(path string) []string {
		resp := b.Get(path, "Accept", "application/json")
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode, path)
		return resp.Header["Www-Authenticate"]
	}
	require.Equal(t, []string{login}, challenge("/home"))
	require.Equal(t, []string{login}, challenge("/recent"), "who is not logged in is not told to log in again")
	b.login("ada")
	require.Equal(t, []string{login + `, error="insufficient_user_authentication", max_age="-300"`}, challenge("/recent"))
	require.Equal(t, []string{login + `, error="insufficient_user_authentication", max_age="-1"`}, challenge("/both"))
	require.Empty(t, b.Get("/recent", "Sec-Fetch-Mode", "navigate").Header["Www-Authenticate"], "a redirect is no challenge")
	require.Empty(t, b.Get("/home").Header["Www-Authenticate"])
}

// The challenge is there for a handler of the application's own, which may replace it.
func TestACustomRefusalHasTheChallengeToo(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.Refusals.Login = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Bearer") != "" {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			w.WriteHeader(http.StatusUnauthorized)
		})
	})
	b := s.browse()
	require.Equal(t, []string{`Cookie form-action="/login"`}, b.Get("/home").Header["Www-Authenticate"])
	require.Equal(t, []string{"Bearer"}, b.Get("/home", "Bearer", "yes").Header["Www-Authenticate"])
}

// Browsers keep no cookie for longer than 400 days (RFC 6265bis section 5.5), and a limit
// that no session reaches must not overflow.
func TestTheLongestLimitsAreNoOverflow(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	for _, limits := range []struct{ idle, absolute, remember time.Duration }{
		{time.Hour, longest, time.Hour}, {time.Hour, 12 * time.Hour, longest}, {longest, longest, longest}, {time.Hour, 401 * 24 * time.Hour, time.Second},
	} {
		t.Run(fmt.Sprint(limits), func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s := rememberingSite(t, nil, func(c *sessionguard.Config[*user]) {
					c.IdleTimeout, c.AbsoluteTimeout, c.RememberFor = limits.idle, limits.absolute, limits.remember
				})
				b := s.browse()
				require.Equal(t, 400*24*60*60, b.login("ada").Cookie(sessionCookie).MaxAge)
				require.Equal(t, "secret of ada", b.Get("/home").Body)
				advance(59 * time.Minute)
				require.Equal(t, "secret of ada", b.Get("/home").Body)
				advance(59 * time.Minute)
				require.Equal(t, "secret of ada", b.Get("/home").Body)
			})
		})
	}
}

// Some clients quote the values of cookies, and net/http takes the quotes away.
func TestAQuotedSessionCookieIsTheCookie(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	value := b.Cookies()[sessionCookie]
	b.SetCookies(map[string]string{})
	req := b.Request("GET", "/home")
	req.Header.Set("Cookie", sessionCookie+`="`+value+`"`)
	require.Equal(t, "secret of ada", b.Do(req).Body)
}

// The server removes uploaded files by way of its own request.
func TestAnUploadBehindCancelOnEndReachesTheServersRequest(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	const body = "--b\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\nfile\r\n--b--\r\n"
	for name, upload := range map[string]http.Handler{
		"nobody": s.guard.CancelOnEnd(s.mux), "logged in": s.guard.CancelOnEnd(s.mux), "twice": s.guard.CancelOnEnd(s.guard.CancelOnEnd(s.mux)),
	} {
		s.mux.HandleFunc("POST /upload/"+name[:2], func(w http.ResponseWriter, r *http.Request) {
			if err := r.ParseMultipartForm(0); err != nil {
				t.Error(err)
			}
		})
		r := httptest.NewRequest("POST", "https://app.example/upload/"+name[:2], strings.NewReader(body))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		if name != "nobody" {
			r.Header.Set("Cookie", sessionCookie+"="+b.Cookies()[sessionCookie])
		}
		upload.ServeHTTP(httptest.NewRecorder(), r)
		require.NotNil(t, r.MultipartForm, name)
		require.NoError(t, r.MultipartForm.RemoveAll())
		require.Equal(t, "POST /upload/"+name[:2], r.Pattern, name)
	}
}

// nginx holds a response back until it ends, unless this header forbids it.
func TestAnEventStreamIsNotBuffered(t *testing.T) {
	s := newSite(t, nil)
	stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Content-Type", "X-Accel-Buffering"} {
			if value := r.URL.Query().Get(name); value != "" {
				w.Header().Set(name, value)
			}
		}
		io.WriteString(w, "data: hello\n\n")
	})
	watched := s.guard.Handler(s.guard.CancelOnEnd(stream))
	plain := s.guard.Handler(stream)
	b := s.browse()
	b.login("ada")
	buffering := func(h http.Handler, query string, cookies map[string]string) string {
		r := httptest.NewRequest("GET", "https://app.example/events?"+query, nil)
		for name, value := range cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Header().Get("X-Accel-Buffering")
	}
	ada := b.Cookies()
	require.Equal(t, "no", buffering(watched, "Content-Type=text/event-stream", ada))
	require.Equal(t, "no", buffering(watched, "Content-Type=text/event-stream%3B+charset=utf-8", ada))
	require.Equal(t, "yes", buffering(watched, "Content-Type=text/event-stream&X-Accel-Buffering=yes", ada))
	require.Empty(t, buffering(watched, "Content-Type=text/html", ada))
	require.Equal(t, "no", buffering(watched, "Content-Type=text/event-stream", nil), "nobody is logged in")
	require.Empty(t, buffering(plain, "Content-Type=text/event-stream", ada))
}

// Honest browsers send such cookies after the keys have changed, or if two programs on one
// host use the same name.
func TestACookieThatTheKeysDidNotSignIsExplainedOnce(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.CookieName = "__Host-other" })
	for range 3 {
		s.browse().Get("/", "Cookie", "__Host-other="+strings.Repeat("A", 64))
	}
	require.Equal(t, 1, strings.Count(s.log.String(), "\n"))
	for _, part := range []string{"Config.Keys", "Config.CookieName", "cookie=__Host-other"} {
		require.Contains(t, s.log.String(), part)
	}
}

func TestTheLogOfACrossOriginRequestNamesTheRemedy(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.OnEvent = nil })
	b := s.browse()
	require.Equal(t, http.StatusForbidden, b.Post("/value?k=a&v=1", "Sec-Fetch-Site", "same-site").StatusCode)
	require.Contains(t, s.log.String(), "Config.CrossOrigin")
}

// A proxy serves the application under /app and removes that from the paths it passes on.
// With BasePath the guard knows the pages as the browser does.
func TestBehindAProxyThatRemovesAPrefix(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := rememberingSite(t, nil, func(c *sessionguard.Config[*user]) { c.BasePath, c.WelcomePath = "/app", "/app/admin" })
		s.mux.Handle("GET /login", s.guard.RequireLogin(http.NotFoundHandler())) // by mistake
		s.mux.Handle("/sessionguard/", s.guard.Script())
		for name, proxy := range map[string]http.Handler{
			"a proxy removes it": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.URL.Path = strings.TrimPrefix(r.URL.Path, "/app")
				r.RequestURI = r.URL.RequestURI()
				s.guard.Handler(s.mux).ServeHTTP(w, r)
			}),
			"a router outside of the guard removes it": http.StripPrefix("/app", s.guard.Handler(s.mux)),
			"a router inside of the guard removes it":  s.guard.Handler(http.StripPrefix("/app", s.mux)),
		} {
			b := browse(t, serve(t, proxy))
			redirect := func(path string) string {
				resp := b.Get(path)
				return fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Location"))
			}
			require.Equal(t, "303 /app/login?next=%2Fapp%2Fhome%3Fa%3Db", redirect("/app/home?a=b"))
			require.Equal(t, "401 ", redirect("/app/login"), "no redirect to itself: %s", name)
			b.Post("/app/login?user=ada")
			require.Equal(t, "303 /app/sessionguard/x", redirect("/app/sessionguard/resume?next=/app/sessionguard/x"))
			require.Equal(t, "303 /app/admin", redirect("/app/sessionguard/resume"))
			require.Equal(t, "403 ", redirect("/app/admin"), "no redirect to itself: %s", name)

			advance(idle)
			require.Equal(t, "401 ", redirect("/app/login"), "the login page revives nothing: %s", name)
			require.Equal(t, "200 ", redirect("/app/home"), name)
		}
	})
}

// A browser drops the Secure cookie of a login over http, but on localhost.
func TestALoginOverHTTPIsWarnedOfOnce(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.CrossOrigin = http.NewCrossOriginProtection()
		c.CrossOrigin.AddInsecureBypassPattern("/")
	})
	for _, origin := range []string{"", "null", "https://nas.lan", "http://localhost", "http://localhost:8080", "http://127.0.0.1:80", "http://[::1]:8080", "http://app.localhost"} {
		require.Equal(t, http.StatusSeeOther, s.browse().Post("/login?user=ada", "Origin", origin).StatusCode)
		require.Empty(t, s.log.String(), origin)
	}
	for range 2 {
		s.browse().Post("/login?user=ada", "Origin", "http://nas.lan:8080")
	}
	require.Equal(t, 1, strings.Count(s.log.String(), "\n"), s.log)
	require.Contains(t, s.log.String(), "InsecureHTTP")
	require.Contains(t, s.log.String(), "host=nas.lan:8080")

	insecure := newSite(t, func(c *sessionguard.Config[*user]) { c.InsecureHTTP = true })
	insecure.browse().Post("/login?user=ada", "Origin", "http://nas.lan:8080", "Sec-Fetch-Site", "same-origin")
	require.Empty(t, insecure.log.String())
}

// Forms of a page with Referrer-Policy: no-referrer have no origin, so they are refused
// where the browser sends no Sec-Fetch-Site, which is the case over http.
func TestARefusedFormWithoutAnOriginIsExplainedOnce(t *testing.T) {
	s := newSite(t, nil)
	s.browse().Post("/login?user=ada", "Origin", "null", "Sec-Fetch-Site", "same-origin")
	require.Empty(t, s.log.String(), "not refused")
	for range 2 {
		require.Equal(t, http.StatusForbidden, s.browse().Post("/login?user=ada", "Origin", "null", "Sec-Fetch-Site", "").StatusCode)
	}
	require.Equal(t, 1, strings.Count(s.log.String(), "\n"), s.log)
	require.Contains(t, s.log.String(), "no-referrer")
}

// A browser that fetches a page ahead of time shows nobody's activity.
func TestAPrefetchDoesNotKeepASessionAlive(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		for name, value := range map[string]string{"Sec-Purpose": "prefetch;prerender", "Purpose": "prefetch", "X-Moz": "prefetch", "X-Purpose": "preview", "X-Sec-Purpose": "prefetch", "HX-Preloaded": "true"} {
			b := s.browse()
			b.login("ada")
			advance(idle - time.Minute)
			require.Equal(s.T, "secret of ada", b.Get("/home", name, value).Body)
			advance(time.Minute)
			require.False(s.T, b.loggedIn(), name)
		}
	})
}

// A notice without Links is decoded with nil in place of an empty slice.
type notice struct {
	Text  string
	Links []string
}

func init() { gob.Register(notice{}) }

// Whoever lacks a role is told so on the page they are sent to.
func TestAMissingRoleLeavesAFlash(t *testing.T) {
	for name, test := range map[string]struct {
		flash any
		want  string
	}{
		"by default":                  {nil, "welcome ada [You may not see that page.]"},
		"the application's own":       {"No.", "welcome ada [No.]"},
		"of a type that gob shortens": {notice{"No.", []string{}}, "welcome ada [{No. []}]"},
		"none":                        {"", "welcome ada []"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(c *sessionguard.Config[*user]) { c.ForbiddenFlash = test.flash })
			b := s.browse()
			b.login("ada")
			require.Equal(t, "/?reason=forbidden", b.Get("/admin").Header.Get("Location"))
			require.Equal(t, "/?reason=forbidden", b.Get("/admin").Header.Get("Location"))
			require.Equal(t, test.want, b.Get("/").Body, "once, however often it was refused")
			require.Equal(t, "welcome ada []", b.Get("/").Body, "by one page")
			require.Equal(t, http.StatusForbidden, b.Get("/admin", "Accept", "application/json").StatusCode)
			require.Equal(t, "welcome ada []", b.Get("/").Body, "a program has been told")
		})
	}
}

func TestAnEmptyLogoutFlashLeavesNone(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.LogoutFlash = "" })
	b := s.browse()
	b.login("ada")
	b.Post("/logout")
	require.Equal(t, "welcome nobody []", b.Get("/").Body)
}

// Without a page for it, RequireFresh redirects nowhere: the login page may send on whoever
// is logged in, back to the page that is too fresh.
func TestWithoutAReauthPathThereIsAPage(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.ReauthPath = "" })
	s.mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.guard.Next(r, "/"), http.StatusSeeOther)
	})
	s.mux.Handle("GET /safe", s.guard.RequireFresh(0)(s.mux))
	b := s.browse()
	b.login("ada")
	for range 2 {
		resp, path, redirects := followRedirects(b, "/safe")
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		require.Equal(t, "/safe", path)
		require.Zero(t, redirects)
		require.Contains(t, resp.Body, "Log in again to continue.")
	}
	require.Equal(t, 1, strings.Count(s.log.String(), "ReauthPath"), s.log)
}
