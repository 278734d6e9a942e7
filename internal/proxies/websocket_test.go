package proxies

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

// startEcho starts an application with a WebSocket at /ws that sends back what it gets.
func startEcho(t *testing.T, trusted ...string) string {
	t.Helper()
	crossOrigin := http.NewCrossOriginProtection()
	for _, o := range trusted {
		require.NoError(t, crossOrigin.AddTrustedOrigin(o))
	}
	guard := newGuard(t, crossOrigin)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", logInAs(guard))
	mux.Handle("POST /logout", guard.Logout("/"))
	mux.Handle("GET /ws", guard.RequireLogin(guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // the guard has checked the origin
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			kind, message, err := conn.Read(context.WithoutCancel(r.Context()))
			if err != nil || conn.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	}))))
	return serve(t, guard.Handler(mux))
}

// dial opens the WebSocket as Chromium 156 does, with Origin and without Sec-Fetch-Site.
func dial(ctx context.Context, b *testbrowser.Browser) (*websocket.Conn, *http.Response, error) {
	return websocket.Dial(ctx, origin+"/ws", &websocket.DialOptions{HTTPClient: b.Client, HTTPHeader: http.Header{"Origin": {origin}}})
}

func TestAWebSocketThroughEachProxyEndsWithItsSession(t *testing.T) {
	app, trusting := startEcho(t), startEcho(t, origin)
	for _, s := range sites {
		for _, test := range []struct {
			name, app string
			changes   []string
			opens     bool
		}{
			{"Host kept", app, nil, true},
			{"Host changed", app, s.changedHost, false},
			{"Host changed, and the origin trusted", trusting, s.changedHost, true},
		} {
			t.Run(s.name+", "+test.name, func(t *testing.T) {
				t.Parallel() // most of it is the second until the connection is closed
				b := browseTLS(t, s.serve(t, []string{test.app}, test.changes...), "HTTP/1.1")
				require.Equal(t, http.StatusOK, b.Post("/login?user=ada", "Sec-Fetch-Site", "same-origin").StatusCode)
				// A read that nothing ends would last until the end of the tests.
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				conn, resp, err := dial(ctx, b)
				if !test.opens {
					require.Error(t, err)
					require.Equal(t, http.StatusForbidden, resp.StatusCode)
					return
				}
				require.NoError(t, err)
				defer conn.CloseNow()
				require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte("hello")))
				_, message, err := conn.Read(ctx)
				require.NoError(t, err)
				require.Equal(t, "hello", string(message))

				b.Post("/logout", "Sec-Fetch-Site", "same-origin").Expect(http.StatusSeeOther, "/")
				_, _, err = conn.Read(ctx)
				require.Error(t, err)
				require.NoError(t, ctx.Err())
			})
		}
	}
}

// nginx removes Upgrade if its configuration says nothing of it. What arrives must not be a GET
// that any page may send: Chromium sends no Sec-Fetch-Site with a handshake.
func TestAHandshakeWithoutUpgradeIsChecked(t *testing.T) {
	address := siteOf(t, "nginx").serve(t, []string{startEcho(t)},
		"proxy_set_header Upgrade $http_upgrade;", "", "proxy_set_header Connection $connection_upgrade;", "")
	b := browseTLS(t, address, "HTTP/1.1")
	require.Equal(t, http.StatusOK, b.Post("/login?user=ada", "Sec-Fetch-Site", "same-origin").StatusCode)
	for from, status := range map[string]int{"https://evil.example": http.StatusForbidden, origin: http.StatusUpgradeRequired} {
		_, resp, err := websocket.Dial(t.Context(), origin+"/ws", &websocket.DialOptions{HTTPClient: b.Client, HTTPHeader: http.Header{"Origin": {from}}})
		require.Error(t, err)
		require.Equal(t, status, resp.StatusCode, from)
	}
}
