package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A server behind a gate learns no token, and cannot replace the user's.
func TestHideCookiesKeepsTheGuardsCookiesFromAProxysServer(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, line := range r.URL.Query()["set"] {
			w.Header().Add("Set-Cookie", line)
		}
		if r.URL.Query().Has("hint") {
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Set("Clear-Site-Data", `"cookies"`)
		fmt.Fprintf(w, "%q", r.Header["Cookie"])
	}))
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	require.NoError(t, err)
	s := newSite(t, nil)
	proxy := httputil.NewSingleHostReverseProxy(target)
	s.mux.Handle("/open/", proxy)
	s.mux.Handle("/gated/", s.guard.RequireLogin(s.guard.HideCookies(proxy)))
	s.mux.Handle("/who/", s.guard.RequireLogin(s.guard.HideCookies(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, ok := s.guard.User(r)
		fmt.Fprint(w, ok)
	}))))
	b := s.browse()
	b.Post("/value?k=a&v=1")
	b.login("ada")
	all := b.Cookies()
	all["theme"], all[visitorCookie] = "dark", "planted"
	b.SetCookies(all)
	token := b.Cookies()[sessionCookie]

	require.Contains(t, b.Get("/open/").Body, token, "what the protection is for")
	require.Equal(t, `["theme=dark"]`, b.Get("/gated/").Body)
	require.Equal(t, "false", b.Get("/who/").Body)
	req := b.Request("GET", "/gated/")
	req.Header["Cookie"] = []string{"a=b;" + sessionCookie + "=" + token + ";c=d", visitorCookie + "=x", " \t" + visitorCookie + "\t= y; e=f"}
	b.Client.Jar = nil
	require.Equal(t, `["a=b;c=d" "e=f"]`, b.Do(req).Body)

	for name, value := range map[string]string{"name": sessionCookie + "=evil; Path=/; Secure", "space": " " + sessionCookie + " =evil", "visitor": visitorCookie + "=evil; Path=/", "deletion": sessionCookie + "=; Max-Age=0", "no name": "=" + sessionCookie + "=evil", "spaces": " = " + sessionCookie + "=evil"} {
		for _, more := range []string{"", "&hint"} {
			req := b.Request("GET", "/gated/?set="+url.QueryEscape(value)+"&set=theme%3Dlight"+more)
			req.Header.Set("Cookie", sessionCookie+"="+token)
			resp := b.Do(req)
			require.Equal(t, []string{"theme=light"}, resp.Header["Set-Cookie"], "%s%s", name, more)
			require.Empty(t, resp.Header.Get("Clear-Site-Data"))
		}
	}
}

// The guard's own cookies are set all the same.
func TestHideCookiesLeavesTheGuardsOwnSetCookie(t *testing.T) {
	s := newSite(t, nil)
	hidden := s.guard.HideCookies(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: "evil"})
		io.WriteString(w, "hidden")
	}))
	s.mux.HandleFunc("POST /in", func(w http.ResponseWriter, r *http.Request) {
		if err := s.guard.Login(w, r, &user{ID: "ada"}); err != nil {
			t.Error(err)
		}
		hidden.ServeHTTP(w, r)
	})
	b := s.browse()
	resp := b.Post("/in")
	require.Equal(t, "hidden", resp.Body)
	require.Len(t, resp.Cookies(), 1)
	require.False(t, slices.ContainsFunc(resp.Cookies(), func(c *http.Cookie) bool { return c.Value == "evil" }))
	require.True(t, b.loggedIn())
}
