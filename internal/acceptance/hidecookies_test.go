package acceptance

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"testing"
	"time"

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
		w.Header().Set("Secure-Session-Registration", `(ES256);path="/own";challenge="x"`)
		w.Header().Set("Secure-Session-Challenge", `"x";id="own"`)
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
			for _, gone := range []string{"Clear-Site-Data", "Secure-Session-Registration", "Secure-Session-Challenge"} {
				require.Empty(t, resp.Header.Get(gone), gone)
			}
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

// Browsers obey the header of a WebSocket handshake too. It is written to the connection.
func TestHideCookiesKeepsAProxysServerFromSettingTheGuardsCookiesInAHandshake(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Cookie: %s\r\n"+
			"set-cookie: %s=evil; Path=/; Secure\r\nSet-Cookie: =%[2]s=evil\r\nSet-Cookie: theme=light\r\nSet-Cookie: %[3]s=; Max-Age=0\r\nClear-Site-Data: \"cookies\"\r\n\r\nSet-Cookie: ",
			r.Header.Get("Cookie"), sessionCookie, visitorCookie)
		rw.Flush()
		_, _ = io.Copy(conn, rw) // an echo
	}))
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	require.NoError(t, err)
	s := newSite(t, nil)
	hidden := s.guard.HideCookies(httputil.NewSingleHostReverseProxy(target))
	s.mux.Handle("GET /gated", s.guard.RequireLogin(hidden))
	s.mux.Handle("GET /stream", s.guard.RequireLogin(s.guard.CancelOnEnd(hidden)))
	s.mux.Handle("GET /inside", s.guard.HideCookies(hidden))
	b := s.browse()
	b.login("ada")
	for _, path := range []string{"/gated", "/stream", "/inside"} {
		raw, err := s.server.network.DialContext(t.Context(), "", "")
		require.NoError(t, err)
		conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
		req := b.Request("GET", path, "Connection", "Upgrade", "Upgrade", "websocket", "Cookie", "a=b; "+sessionCookie+"="+b.Cookies()[sessionCookie])
		require.NoError(t, req.Write(conn))
		r := bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, req)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
		require.Equal(t, "a=b", resp.Header.Get("X-Cookie"))
		require.Equal(t, []string{"theme=light"}, resp.Header["Set-Cookie"])
		require.Empty(t, resp.Header["Clear-Site-Data"])
		_, err = io.WriteString(conn, "hello\r\n")
		require.NoError(t, err)
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "Set-Cookie: hello\r\n", line, "what follows is not touched")
		raw.Close()
	}
}

// What buffers a response, or recovers from a panic in it, sends the header as it was left.
func TestHideCookiesWithAHeaderThatIsSentLater(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Set-Cookie, Clear-Site-Data, X-Sum")
		_, _ = io.WriteString(w, "page")
		w.Header().Set("Set-Cookie", sessionCookie+"=evil; Path=/; Secure")
		w.Header().Set("Clear-Site-Data", `"cookies"`)
		w.Header().Set("X-Sum", "1")
	}))
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	require.NoError(t, err)
	s := newSite(t, nil)
	hidden := s.guard.HideCookies(httputil.NewSingleHostReverseProxy(target))
	panicking := s.guard.HideCookies(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", sessionCookie+"=evil")
		panic("no page")
	}))
	login := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.guard.Login(w, r, &user{ID: "ada"}); err != nil {
			t.Error(err)
		}
		hidden.ServeHTTP(w, r)
	})
	b := browse(t, serve(t, http.TimeoutHandler(s.guard.Handler(login), time.Minute, "")))
	resp := b.Post("/")
	require.Equal(t, "page", resp.Body)
	require.Equal(t, "1", resp.Header.Get("X-Sum"))
	require.Empty(t, resp.Header["Clear-Site-Data"])
	require.Len(t, resp.Header["Set-Cookie"], 1, "the guard's own")
	require.NotContains(t, resp.Header.Get("Set-Cookie"), "evil")

	resp = browse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { _ = recover() }()
		panicking.ServeHTTP(w, r)
	}))).Get("/")
	require.Empty(t, resp.Header["Set-Cookie"])
}
