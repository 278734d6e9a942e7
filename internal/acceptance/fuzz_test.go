package acceptance

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/stretchr/testify/require"
)

// cookieSeeds are pairs of Cookie headers. REAL and VISITOR stand for the values of real
// cookies.
var cookieSeeds = [][2]string{
	{"", ""},
	{"__Host-Http-session=REAL", ""},
	{"a=b; __Host-Http-session=REAL; c=d", "e=f"},
	{"__Host-Http-session=REAL", "__Host-Http-session=REAL"},
	{"__Host-Http-session=REAL; __Host-Http-session=", ""},
	{"__Host-Http-session=x", "__Host-Http-session=REAL"},
	{"__Host-Http-session=REAL; __Host-Http-session=" + strings.Repeat("A", 64), "__Host-Http-session=VISITOR"},
	{"__Host-Http-session=" + strings.Repeat("A; __Host-Http-session=REAL", 9), ""},
	{" \t__Host-Http-session \t=\t REAL\t;;", ";"},
	{"__Host-Http-session=\"REAL\"", ""},
	{"__host-session=REAL", ""},
	{"\u00a0__Host-Http-session=REAL", ""},
	{"__Host-Http-session=REAL\u2003", ""},
	{"__Host-Http-session=REAL\n", "__Host-Http-session=RE\r\nAL"},
	{"__Host-Http-session=VISITOR", "__Host-Http-session-anonymous=REAL"},
	{"__Host-Http-session-anonymous=VISITOR", "__Host-Http-session=REAL"},
	{"__Host-Http-session-anonymous=VISITOR; __Host-Http-session-anonymous=VISITOR", ""},
	{"__Host-Http-session", "=__Host-Http-session=REAL"},
	{"__Host-Http-session=" + strings.Repeat("A", 64), "__Host-Http-session-anonymous=" + strings.Repeat("A", 4000)},
	{"__Host-Http-session=" + strings.Repeat("REAL", 60), strings.Repeat("; ", 1000)},
}

// cookieFuzzSite has two pages behind a guard, and the real cookies of a session and of a
// visitor.
type cookieFuzzSite struct {
	backend          *failingBackend
	gated, open      http.Handler
	session, visitor string // values of the cookies
	ours             cookie.Codec
}

func newCookieFuzzSite(tb testing.TB) *cookieFuzzSite {
	backend := newFailingBackend()
	users := &userDatabase{users: map[string]user{"ada": testUsers["ada"]}}
	guard, err := sessionguard.New(sessionguard.Config[*user]{
		FindUser: users.Find, Keys: testKeys, Backend: backend, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(tb, err)
	s := &cookieFuzzSite{backend: backend}
	s.ours, err = cookie.New(testKeys, idle, http.Cookie{Secure: true})
	require.NoError(tb, err)
	s.session = cookieSetBy(tb, sessionCookie, guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = guard.Login(w, r, &user{ID: "ada", Roles: []string{"Engineer"}})
	})))
	s.visitor = cookieSetBy(tb, visitorCookie, guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := guard.Get(r, "app")
		session.Values["k"] = "v"
	})))
	s.gated = guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "inside") }))
	s.open = guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := guard.Get(r, "app")
		if err != nil {
			w.WriteHeader(http.StatusTeapot)
		}
		_, found := session.Values["k"]
		if len(session.Values) > 0 && !found {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	return s
}

// cookieSetBy returns the value of a cookie that h sets.
func cookieSetBy(tb testing.TB, name string, h http.Handler) string {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("POST", "/", nil))
	for _, c := range rec.Result().Cookies() {
		if c.Name == name {
			return c.Value
		}
	}
	tb.Fatalf("no cookie %s", name)
	return ""
}

// sessionCookies finds the session cookies of a header independently of the guard.
var sessionCookies = regexp.MustCompile(`(?s)(?:^|;)[ \t]*__Host-Http-session[ \t]*=([^;]*)`)

// FuzzCookie sends any two Cookie headers (K2). Whatever they contain, there is no panic, no
// error page and no deletion. The user is logged in exactly if the real cookie is there, and
// not among more than eight that could be real. A remote backend is not called for a cookie
// that the guard did not sign.
func FuzzCookie(f *testing.F) {
	for _, seed := range cookieSeeds {
		f.Add(seed[0], seed[1])
	}
	s := newCookieFuzzSite(f)

	f.Fuzz(func(t *testing.T, first, second string) {
		headers := []string{first, second}
		var values []string
		for i, header := range headers {
			header = strings.NewReplacer("REAL", s.session, "VISITOR", s.visitor).Replace(header)
			headers[i] = header
			for _, m := range sessionCookies.FindAllStringSubmatch(header, -1) {
				value := strings.Trim(m[1], " \t")
				if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
					value = value[1 : n-1]
				}
				values = append(values, value)
			}
		}
		slices.Sort(values)
		values = slices.Compact(values)
		values = slices.DeleteFunc(values, func(value string) bool { return !cookie.Plausible(value) })
		few := len(values) <= cookie.MaxPresented
		loggedIn := few && slices.Contains(values, s.session)
		signed := slices.DeleteFunc(values, func(value string) bool { return !s.ours.Verify(value) })

		for name, h := range map[string]http.Handler{"gated": s.gated, "open": s.open} {
			before := s.backend.callCounts()
			r := httptest.NewRequest("GET", "https://app.example/", nil)
			r.Header["Cookie"] = headers
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			calls := callsSince(s.backend, before)

			want := http.StatusUnauthorized
			if loggedIn || name == "open" {
				want = http.StatusOK
			}
			require.Equal(t, want, rec.Code, "%s: %q", name, headers)
			require.Empty(t, rec.Header()["Set-Cookie"], "%s: %q", name, headers)
			delete(calls, "Touch") // once the session is older than a minute
			switch {
			case loggedIn && len(signed) == 1:
				require.Equal(t, map[string]int{"Load": 1}, calls, "%s: %q", name, headers)
			case few && len(signed) > 0: // other base64 spellings of the real cookie
				require.LessOrEqual(t, calls["Load"], len(signed)+1, "%s: %q", name, headers)
			default:
				require.Empty(t, calls, "%s: %q", name, headers)
			}
		}
	})
}
