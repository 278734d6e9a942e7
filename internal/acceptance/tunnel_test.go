package acceptance

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

// tunnel hijacks the connection and serves h on it, with the context of the request, as
// golang.org/x/net/http2/h2c does.
func tunnel(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tunnel\r\n\r\n")
		rw.Flush()
		listener := &tunnelListener{conns: make(chan net.Conn, 1)}
		closed := make(chan struct{})
		listener.conns <- struct{ net.Conn }{conn} // not a tls.Conn, for which the server would ask what it speaks
		var protocols http.Protocols
		protocols.SetHTTP1(true)
		protocols.SetUnencryptedHTTP2(true)
		server := &http.Server{
			Handler: h, Protocols: &protocols,
			BaseContext: func(net.Listener) context.Context { return r.Context() },
			ConnState: func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					close(closed)
				}
			},
		}
		go server.Serve(listener)
		<-closed
		server.Close()
	})
}

type tunnelListener struct{ conns chan net.Conn }

func (l *tunnelListener) Accept() (net.Conn, error) {
	conn, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (l *tunnelListener) Close() error   { close(l.conns); return nil }
func (l *tunnelListener) Addr() net.Addr { return &net.UnixAddr{} }

// through opens a tunnel at path with b's cookies, and returns a browser without cookies
// whose requests go through it over this protocol.
func through(t *testing.T, s *site, b *browser, proto, path string) *browser {
	t.Helper()
	raw, err := s.server.network.DialContext(t.Context(), "", "")
	require.NoError(t, err)
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	req := b.Request("GET", path, "Connection", "Upgrade", "Upgrade", "tunnel")
	if cookies := cookieOf(b); cookies != nil {
		req.Header["Cookie"] = cookies
	}
	require.NoError(t, req.Write(conn))
	read := bufio.NewReader(conn)
	resp, err := http.ReadResponse(read, req)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	t.Cleanup(func() { raw.Close() })
	if proto == "HTTP/1.1" {
		return &browser{testbrowser.New(t, "http://app.example", line{conn, read}), t}
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols:   &protocols,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}
	single, err := transport.NewClientConn(t.Context(), "http", "app.example:80")
	require.NoError(t, err)
	return &browser{testbrowser.New(t, "http://app.example", single), t}
}

// A line sends requests on its connection over HTTP/1.1, one after the other. A transport
// dials again, and there is only one tunnel: over HTTP/1.1 if its goroutine that has written a
// request says so 50 ms late, over HTTP/2 if a request ends before the transport has noted the
// connection. (A ClientConn never dials; over HTTP/1.1 it ends in the first case.)
type line struct {
	net.Conn
	read *bufio.Reader
}

func (l line) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Write(l); err != nil {
		return nil, err
	}
	return http.ReadResponse(l.read, r)
}

// overTunnels runs a test over both protocols, on the real clock.
func overTunnels(t *testing.T, test func(t *testing.T, proto string)) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) { test(t, proto) })
	}
}

// send sends a request with the cookies of another browser, or with none.
func (b *browser) send(cookies *browser, method, path string, header ...string) response {
	b.t.Helper()
	req := b.Request(method, path, header...)
	if cookies != nil {
		req.Header["Cookie"] = cookieOf(cookies)
	}
	return b.Do(req)
}

// I2, R1, C1: the requests on a connection that was hijacked inside the guard are requests
// of their own, whose it may be. Nothing of the first one's identity is left to them.
func TestRequestsOnAHijackedConnectionHaveTheirOwnIdentity(t *testing.T) {
	overTunnels(t, func(t *testing.T, proto string) {
		s := newSite(t, nil)
		s.mux.Handle("GET /gated", s.guard.RequireLogin(tunnel(s.mux)))
		s.mux.Handle("GET /open", tunnel(s.mux))
		s.mux.Handle("POST /in", s.guard.Passive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, s.guard.Login(w, r, &user{ID: "grace"}))
		})))
		s.mux.HandleFunc("GET /used", func(w http.ResponseWriter, r *http.Request) {
			s.guard.User(r)
			tunnel(s.mux).ServeHTTP(w, r)
		})
		for _, path := range []string{"/gated", "/open", "/used"} {
			ada, grace := s.browse(), s.browse()
			ada.login("ada")
			grace.login("grace")
			b := through(t, s, ada, proto, path)
			for range 2 {
				resp := b.send(ada, "GET", "/poll")
				require.Equal(t, proto, resp.Proto)
				require.Equal(t, "secret of ada", resp.Body)
				requireNoStore(t, resp.Header)
				require.Equal(t, "secret of grace", b.send(grace, "GET", "/poll").Body)
				require.Equal(t, http.StatusSeeOther, b.send(nil, "GET", "/poll").StatusCode)
			}
			require.Equal(t, http.StatusForbidden, b.send(ada, "POST", "/logout", "Sec-Fetch-Site", "cross-site").StatusCode)
			require.True(t, ada.loggedIn())
			require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
			require.Equal(t, http.StatusSeeOther, b.send(ada, "GET", "/poll").StatusCode, "the session has ended")
			resp := b.send(nil, "POST", "/in")
			require.NotEmpty(t, resp.Cookies(), resp.Body)
		}
	})
}

// Without a wrapper of their own they have no identity at all, not even that of a request
// with the same cookies.
func TestRequestsOnAHijackedConnectionPassedNoWrapper(t *testing.T) {
	overTunnels(t, func(t *testing.T, proto string) {
		s := newSite(t, nil)
		ada, grace := s.browse(), s.browse()
		page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, ok := s.guard.User(r)
			_, err := s.guard.Get(r, "app")
			listed, _ := s.guard.Sessions(r.Context(), "ada")
			current := slices.ContainsFunc(listed, func(l sessionguard.Session) bool { return l.Current })
			_ = s.guard.EndUser(r.Context(), "grace")
			fmt.Fprint(w, ok, current, err)
		})
		s.mux.Handle("GET /gated", s.guard.RequireLogin(tunnel(page)))
		ada.login("ada")
		b := through(t, s, ada, proto, "/gated")
		for _, cookies := range []*browser{ada, grace, nil} {
			grace.login("grace")
			require.Equal(t, "false false "+sessionguard.ErrNotWrapped.Error(), b.send(cookies, "GET", "/").Body)
			require.False(t, grace.loggedIn())
			require.Empty(t, lastEnd(s).Actor, "nobody knows who has sent this request")
		}
	})
}

// An h2c upgrade serves the first request again, over HTTP/2: its response is not the
// hijacked one's, whose headers were set.
func TestTheRequestOfAnH2CUpgradeIsServedAnew(t *testing.T) {
	s := newSite(t, nil)
	served := make(chan *httptest.ResponseRecorder, 2)
	s.mux.Handle("GET /upgraded", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		unwrapped, wrapped := httptest.NewRecorder(), httptest.NewRecorder()
		_, ok := s.guard.User(r)
		fmt.Fprint(unwrapped, ok)
		s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u, _ := s.guard.User(r)
			fmt.Fprint(w, u.ID)
		})).ServeHTTP(wrapped, r)
		served <- unwrapped
		served <- wrapped
		io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		rw.Flush()
	})))
	b := s.browse()
	b.login("ada")
	resp, err := b.Client.Do(b.Request("GET", "/upgraded", "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAAQAAP__"))
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, resp.Body) // until the server has closed the connection
	resp.Body.Close()
	require.Equal(t, "false", (<-served).Body.String())
	wrapped := <-served
	require.Equal(t, "ada", wrapped.Body.String())
	requireNoStore(t, wrapped.Result().Header)
}

// The handler that has taken the connection, such as a WebSocket's, goes on with its
// request, also in a shallow copy.
func TestTheHandlerOfAHijackedConnectionKeepsItsUser(t *testing.T) {
	s := newSite(t, nil)
	var user string
	var saved error
	s.mux.Handle("GET /ws", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		u, _ := s.guard.User(r.WithContext(context.WithoutCancel(r.Context())))
		session, _ := s.guard.Get(r, "app")
		session.Values["k"] = "v"
		user, saved = u.ID, session.Save(r, w)
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	})))
	b := s.browse()
	b.login("ada")
	resp, err := b.Client.Do(b.Request("GET", "/ws", "Connection", "Upgrade", "Upgrade", "echo"))
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, resp.Body) // until the server has closed the connection
	resp.Body.Close()
	require.Equal(t, "ada", user)
	require.NoError(t, saved)
	require.Equal(t, "v <nil>", b.Get("/value?k=k").Body)
}
