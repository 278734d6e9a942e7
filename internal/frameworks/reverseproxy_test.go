package frameworks

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// reports serves a part of the application from another server, at target.
func reports(mux *http.ServeMux, guard *sessionguard.Guard[*User], target *url.URL) {
	proxy := guard.HideCookies(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.SetXForwarded()
	}})
	mux.Handle("/reports/", guard.RequireRole("Admin")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r) // outside of HideCookies: inside, nobody is logged in
		r = r.Clone(r.Context())
		r.Header.Set("Remote-User", user.UserID()) // in place of one that the client sent
		proxy.ServeHTTP(w, r)
	})))
}

// The server learns who is logged in, but none of the guard's cookies.
func TestAServerBehindAReverseProxyLearnsTheUserButNoCookie(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "__Host-Http-session=planted; Path=/; Secure; HttpOnly")
		w.Header().Add("Set-Cookie", "theme=dark")
		fmt.Fprintf(w, "%q %v %s", r.Header["Remote-User"], len(r.CookiesNamed("__Host-Http-session")), r.Header.Get("X-Forwarded-Host"))
	}))
	t.Cleanup(server.Close)
	target, err := url.Parse(server.URL)
	require.NoError(t, err)
	s := newSite(t)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", plain{s.guard}.login)
	reports(mux, s.guard, target)
	b := serve(t, 1, s.guard.Handler(mux))

	b.Get("/reports/today").Expect(http.StatusSeeOther, "/login?next=%2Freports%2Ftoday")
	login(b, "root")
	resp := b.Get("/reports/today", "Remote-User", "somebody else").Expect(http.StatusOK, "").NoStore()
	resp.Contains(fmt.Sprintf(`["root"] 0 %s`, resp.Request.URL.Host))
	require.Equal(t, []string{"theme=dark"}, resp.Header["Set-Cookie"])
}
