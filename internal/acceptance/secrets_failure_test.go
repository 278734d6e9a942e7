package acceptance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// hasSecret reports whether a response sets or deletes a cookie of a secret.
func hasSecret(resp response) bool {
	return strings.Contains(strings.Join(resp.Header["Set-Cookie"], "\n"), "-secret-")
}

// A backend that fails loses no secret: the same request succeeds later.
func TestABackendFailureTakesNoSecret(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.secretRoutes()
		for _, loggedIn := range []bool{false, true} {
			b := s.browse()
			if loggedIn {
				b.login("ada")
			}
			backend.failOn("*")
			if resp := b.PostForm("/put", "name", "n", "value", "v"); loggedIn {
				requireUnavailable(t, resp)
				require.False(t, hasSecret(resp))
			} else {
				require.Equal(t, http.StatusOK, resp.StatusCode, "a visitor's costs no call")
			}
			backend.failOn()
			b.put("n", "v")
			for _, method := range []string{"*", "Create"} {
				backend.failOn(method)
				resp := b.Get("/take?name=n")
				requireUnavailable(t, resp)
				require.False(t, hasSecret(resp))
			}
			backend.failOn()
			require.Equal(t, "took v", b.take("n"))
			require.Equal(t, noSecret, b.take("n"))
		}
	})
}

// A visitor costs the backend nothing, whatever they put and ask for.
func TestSecretsOfVisitorsCostNoBackendCall(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.secretRoutes()
		b := s.browse()
		b.put("n", "v")
		require.Equal(t, noSecret, b.take("m"))
		require.Equal(t, noSecret, s.browse().take("n"))
		require.Empty(t, backend.callCounts())
		require.Equal(t, "took v", b.take("n"))
		require.Equal(t, map[string]int{"Create": 1}, backend.callCounts())
	})
}

// A response that is replaced, or whose handler panics, sets no secret. What it took is gone.
func TestAReplacedResponseSetsNoSecret(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.secretRoutes()
		after := map[string]func(http.ResponseWriter, *http.Request){
			"panic": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"unavailable": func(_ http.ResponseWriter, r *http.Request) {
				backend.failOn("*")
				s.guard.Get(r, "app")
				s.guard.User(r)
			},
			"unsaveable":   func(_ http.ResponseWriter, r *http.Request) { v, _ := s.guard.Get(r, "app"); v.Values["f"] = func() {} },
			"ended":        func(_ http.ResponseWriter, r *http.Request) { _ = s.guard.EndUser(context.Background(), "ada") },
			"panic, later": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(200); panic(http.ErrAbortHandler) },
		}
		s.mux.Handle("POST /after", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := s.guard.TakeSecret(w, r, "taken")
			require.NoError(t, err)
			require.NoError(t, s.guard.PutSecret(w, r, "put", []byte("v"), time.Minute))
			after[r.FormValue("what")](w, r)
		})))
		for what := range after {
			handler := s.guard.Handler(s.mux)
			b := s.browse()
			b.login("ada")
			b.put("taken", "v")
			advance(time.Minute) // so that a touch is due
			w := httptest.NewRecorder()
			r := httptest.NewRequest("POST", "https://app.example/after?what="+strings.ReplaceAll(what, " ", "%20"), nil)
			for name, value := range b.Cookies() {
				r.AddCookie(&http.Cookie{Name: name, Value: value})
			}
			func() {
				defer func() { _ = recover() }()
				handler.ServeHTTP(w, r)
			}()
			backend.failOn()
			if what != "panic, later" { // which has been sent
				require.NotContains(t, strings.Join(w.Header()["Set-Cookie"], "\n"), "-secret-", what)
			}
			if what != "panic" && what != "panic, later" {
				require.Greater(t, w.Code, 299, what)
			}
			require.Equal(t, noSecret, b.take("put"), what)
			require.Equal(t, noSecret, b.take("taken"), what)
		}
	})
}

// The response with what was taken may be lost: then the user starts anew.
func TestASecretOfALostResponseIsGone(t *testing.T) {
	s := newSite(t, nil).secretRoutes()
	s.mux.HandleFunc("POST /lost", func(w http.ResponseWriter, r *http.Request) {
		_, err := s.guard.TakeSecret(w, r, "n")
		require.NoError(t, err)
		panic(http.ErrAbortHandler)
	})
	b := s.browse()
	b.put("n", "v")
	_, err := b.Send(b.Request("POST", "/lost"))
	require.Error(t, err)
	require.Len(t, b.secrets(), 1)
	require.Equal(t, noSecret, b.take("n"))
	require.Empty(t, b.secrets())
	b.put("n", "again")
	require.Equal(t, "took again", b.take("n"))
}

// Before the response, within the guard, and not in a callback.
func TestWhenSecretsCannotBePutOrTaken(t *testing.T) {
	var s *site
	check := func(w http.ResponseWriter, r *http.Request, want error) {
		t.Helper()
		require.ErrorIs(t, s.guard.PutSecret(w, r, "n", nil, time.Minute), want)
		_, err := s.guard.TakeSecret(w, r, "n")
		require.ErrorIs(t, err, want)
	}
	var asking *http.Request
	asked := false
	s = newSite(t, func(c *sessionguard.Config[*user]) {
		find := c.FindUser
		c.FindUser = func(ctx context.Context, id string) (*user, error) {
			if asking != nil {
				check(httptest.NewRecorder(), asking, sessionguard.ErrInCallback)
				asked = true
			}
			return find(ctx, id)
		}
	}).secretRoutes()
	s.mux.HandleFunc("GET /public", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("x"))
		check(w, r, sessionguard.ErrHeadersSent)
	})
	s.mux.HandleFunc("GET /personal", func(w http.ResponseWriter, r *http.Request) {
		s.guard.User(r)
		_, _ = w.Write([]byte("x"))
		check(w, r, sessionguard.ErrHeadersSent)
	})
	s.mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		asking = r
		s.guard.User(r)
		asking = nil
	})
	s.mux.HandleFunc("GET /hijack", func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, s.guard.PutSecret(w, r, "n", nil, time.Minute))
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close() // the client would wait for a response
		}
		require.ErrorContains(t, err, "has to set a cookie")
	})
	b := s.browse()
	b.put("n", "v")
	require.False(t, hasSecret(b.Get("/public")))
	require.False(t, hasSecret(b.Get("/personal")))
	require.Equal(t, "took v", b.take("n"), "nothing was taken")
	require.True(t, hasSecret(b.Get("/hijack")))
	b.login("ada")
	b.Get("/callback")
	require.True(t, asked)
	check(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), sessionguard.ErrNotWrapped)
}

// The cookies have the attributes of the others.
func TestTheAttributesOfASecretsCookie(t *testing.T) {
	for name, c := range map[string]struct {
		configure func(*sessionguard.Config[*user])
		prefix    string
		want      string
	}{
		"default":     {nil, "__Host-Http-session-secret-", "; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax"},
		"insecure":    {func(c *sessionguard.Config[*user]) { c.InsecureHTTP = true }, "session-secret-", "; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"},
		"domain":      {func(c *sessionguard.Config[*user]) { c.CookieDomain = "app.example" }, "__Secure-session-secret-", "; Path=/; Domain=app.example; Max-Age=600; HttpOnly; Secure; SameSite=Lax"},
		"strict":      {func(c *sessionguard.Config[*user]) { c.SameSite = http.SameSiteStrictMode }, "__Host-Http-session-secret-", "; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Strict"},
		"partitioned": {func(c *sessionguard.Config[*user]) { c.SameSite, c.Partitioned = http.SameSiteNoneMode, true }, "__Host-Http-session-secret-", "; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=None; Partitioned"},
	} {
		s := newSite(t, c.configure).secretRoutes()
		b := s.browse()
		lines := b.put("n", "v").Header["Set-Cookie"]
		require.Len(t, lines, 1, name)
		require.True(t, strings.HasPrefix(lines[0], c.prefix), lines[0])
		require.True(t, strings.HasSuffix(lines[0], c.want), lines[0])
		deleted := s.copyOf(b).Get("/take?name=n").Header["Set-Cookie"]
		last := deleted[len(deleted)-1]
		require.True(t, strings.HasSuffix(last, strings.Replace(c.want, "Max-Age=600", "Max-Age=0", 1)), last)
	}
	for _, bad := range []string{"app-secret-x", "__Host-secret-secret-", "app-secret-abcdefghijklmnopqrstuvwxyz"} {
		_, err := sessionguard.New(sessionguard.Config[*user]{FindUser: (&userDatabase{}).Find, Keys: testKeys, CookieName: bad})
		require.ErrorContains(t, err, "reserved")
	}
}

// Putting and taking revives no remembered session, as a login does not.
func TestSecretsLeaveARememberedSessionAsleep(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.RememberFor = 14 * 24 * time.Hour }).secretRoutes()
		s.loginOptions = func(string) []sessionguard.LoginOption {
			return []sessionguard.LoginOption{sessionguard.Remember()}
		}
		b := s.browse()
		b.login("ada")
		advance(idle)
		b.put("n", "v")
		require.Equal(t, "took v", b.take("n"))
		require.Empty(t, s.events.take(sessionguard.EventRevived))
		b.put("n", "v")
		require.Equal(t, http.StatusOK, b.Get("/home").StatusCode)
		require.Equal(t, noSecret, b.take("n"), "put by a visitor")
	})
}
