package acceptance

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/gorilla/securecookie"
	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// FuzzCookie sends any two Cookie headers (K2). Whatever they hold: no panic, no
// error page, no deletion, someone logged in exactly if the real cookie is there
// exactly once, and no question to a remote backend about what we did not sign.
// REAL and VISITOR stand for the values of real cookies.
func FuzzCookie(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""},
		{"__Host-session=REAL", ""},
		{"a=b; __Host-session=REAL; c=d", "e=f"},
		{"__Host-session=REAL", "__Host-session=REAL"},
		{"__Host-session=REAL; __Host-session=", ""},
		{"__Host-session=x", "__Host-session=REAL"},
		{" \t__Host-session \t=\t REAL\t;;", ";"},
		{"__Host-session=\"REAL\"", ""},
		{"__host-session=REAL", ""},
		{"\u00a0__Host-session=REAL", ""},
		{"__Host-session=REAL\u2003", ""},
		{"__Host-session=REAL\n", "__Host-session=RE\r\nAL"},
		{"__Host-session=VISITOR", "__Host-session-anonymous=REAL"},
		{"__Host-session-anonymous=VISITOR", "__Host-session=REAL"},
		{"__Host-session-anonymous=VISITOR; __Host-session-anonymous=VISITOR", ""},
		{"__Host-session", "=__Host-session=REAL"},
		{"__Host-session=" + strings.Repeat("A", 144), "__Host-session-anonymous=" + strings.Repeat("A", 4000)},
		{"__Host-session=" + strings.Repeat("REAL", 60), strings.Repeat("; ", 1000)},
	} {
		f.Add(seed[0], seed[1])
	}

	backend := newFailingBackend()
	users := &userDatabase{users: map[string]user{"ada": testUsers["ada"]}}
	guard, err := sessionguard.New(sessionguard.Config[*user]{
		FindUser: users.Find, Keys: testKeys, Backend: backend, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(f, err)
	value := func(name string, h http.HandlerFunc) string {
		rec := httptest.NewRecorder()
		guard.Handler(h).ServeHTTP(rec, httptest.NewRequest("POST", "/", nil))
		for _, c := range rec.Result().Cookies() {
			if c.Name == name {
				return c.Value
			}
		}
		f.Fatalf("no cookie %s", name)
		return ""
	}
	real := value(sessionCookie, func(w http.ResponseWriter, r *http.Request) {
		_ = guard.Login(w, r, &user{ID: "ada", Roles: []string{"Engineer"}})
	})
	visitor := value(visitorCookie, func(w http.ResponseWriter, r *http.Request) {
		session, _ := guard.Get(r, "app")
		session.Values["k"] = "v"
	})
	page := guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "inside") }))
	open := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := guard.Get(r, "app")
		if err != nil {
			w.WriteHeader(http.StatusTeapot)
		}
		_, found := session.Values["k"]
		if len(session.Values) > 0 && !found {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	// named is a second opinion on which of a header's cookies are called so.
	named := regexp.MustCompile(`(?s)(?:^|;)[ \t]*__Host-session[ \t]*=([^;]*)`)
	codecs := securecookie.CodecsFromPairs(testKeys...)
	for _, codec := range codecs {
		codec.(*securecookie.SecureCookie).MaxAge(0).SetSerializer(securecookie.NopEncoder{})
	}

	f.Fuzz(func(t *testing.T, first, second string) {
		lines := []string{first, second}
		var values []string
		for i, line := range lines {
			line = strings.NewReplacer("REAL", real, "VISITOR", visitor).Replace(line)
			lines[i] = line
			for _, m := range named.FindAllStringSubmatch(line, -1) {
				values = append(values, strings.Trim(m[1], " \t"))
			}
		}
		once := len(values) == 1 && values[0] == real
		var token []byte
		signed := len(values) == 1 && securecookie.DecodeMulti(sessionCookie, values[0], &token, codecs...) == nil

		for name, h := range map[string]http.Handler{"page": page, "open": open} {
			before := backend.callCounts()
			r := httptest.NewRequest("GET", "https://app.example/", nil)
			r.Header["Cookie"] = lines
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			since := writerSince(backend, before)

			want := http.StatusUnauthorized
			if once || name == "open" {
				want = http.StatusOK
			}
			require.Equal(t, want, rec.Code, "%s: %q", name, lines)
			require.Empty(t, rec.Header()["Set-Cookie"], "%s: %q", name, lines)
			delete(since, "Touch") // of a session that is older than a minute
			switch {
			case once:
				require.Equal(t, map[string]int{"Load": 1}, since, "%s: %q", name, lines)
			case signed: // another spelling of the real cookie
				require.LessOrEqual(t, since["Load"], 1, "%s: %q", name, lines)
			default:
				require.Empty(t, since, "%s: %q", name, lines)
			}
		}
	})
}
