package frameworks

import (
	"bufio"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

func TestTheRulesHoldInEachFramework(t *testing.T) {
	onEach(t, func(t *testing.T, s *site, b *testbrowser.Browser, proto int) {
		require.Equal(t, proto, b.Get("/public").Has("Cache-Control", "public, max-age=60").ProtoMajor)
		b.Get("/missing").Has("Cache-Control", "").Expect(http.StatusNotFound, "")
		b.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome").NoStore()
		b.Get("/home", "Sec-Fetch-Mode", "cors").Expect(http.StatusUnauthorized, "").NoStore()
		require.Equal(t, http.StatusForbidden, b.Post("/login", "Sec-Fetch-Site", "cross-site").StatusCode)
		b.Post("/cart").Contains("1 in the cart").NoStore()
		b.PostForm("/login", "name", "ada", "password", "wrong").Expect(http.StatusUnauthorized, "")
		login(b, "ada").Expect(http.StatusSeeOther, "/home").NoStore()
		b.Get("/home").Expect(http.StatusOK, "").Contains("Hello, ada.").NoStore().Has("Vary", "Cookie")
		b.Post("/cart").Contains("2 in the cart").NoStore()
		b.Get("/admin/users").Expect(http.StatusSeeOther, "/?reason=forbidden").NoStore()
		b.Get("/sessionguard/guard.js").Expect(http.StatusOK, "").Contains("sessionguard")
		b.Get("/files/style.css").Expect(http.StatusOK, "").NoStore()

		root := b.Copy()
		root.SetCookies(nil)
		login(root, "root")
		root.Get("/admin/users").Expect(http.StatusOK, "").Contains("users").NoStore()

		copied := b.Copy()
		b.Post("/logout").Expect(http.StatusSeeOther, "/").NoStore()
		b.Get("/").Contains("You have been logged out.").NoStore()
		copied.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome&reason=expired").NoStore()
		require.Empty(t, s.log.String())
	})
}

func TestStreamsEndWithTheirSessionInEachFramework(t *testing.T) {
	onEach(t, func(t *testing.T, s *site, b *testbrowser.Browser, _ int) {
		for _, path := range []string{"/events", "/stream"} {
			login(b, "ada")
			resp, err := b.Client.Do(b.Request("GET", path, "Accept-Encoding", "gzip"))
			require.NoError(t, err)
			defer resp.Body.Close()
			require.Equal(t, "text/event-stream", strings.SplitN(resp.Header.Get("Content-Type"), ";", 2)[0])
			require.Equal(t, "no", resp.Header.Get("X-Accel-Buffering"))
			require.Contains(t, resp.Header.Get("Cache-Control"), "no-store")
			lines := bufio.NewScanner(resp.Body)
			require.True(t, lines.Scan(), "the first event does not wait for the second")
			b.Copy().Post("/logout")
			var rest []string
			for lines.Scan() {
				rest = append(rest, strings.ReplaceAll(lines.Text(), ": ", ":"))
			}
			require.NoError(t, lines.Err())
			require.Contains(t, rest, "event:ended")
			require.Contains(t, rest, "data:logged_out")
		}
		require.Empty(t, s.log.String())
	})
}

func TestWebSocketsEndWithTheirSessionInEachFramework(t *testing.T) {
	for name, build := range wirings {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			b := serve(t, 1, build(s.guard))
			_, resp, err := websocket.Dial(t.Context(), b.URL+"/socket", &websocket.DialOptions{HTTPClient: b.Client})
			require.Error(t, err)
			require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			login(b, "ada")
			conn, resp, err := websocket.Dial(t.Context(), b.URL+"/socket", &websocket.DialOptions{HTTPClient: b.Client})
			require.NoError(t, err)
			defer conn.CloseNow()
			require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
			require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte("hello")))
			_, message, err := conn.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, "hello", string(message))
			b.Post("/logout")
			_, _, err = conn.Read(t.Context())
			closed, ok := errors.AsType[websocket.CloseError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, websocket.CloseError{Code: websocket.StatusPolicyViolation, Reason: "logged_out"}, closed)
		})
	}
}

func TestAPanicIsA500InEachFramework(t *testing.T) {
	onEach(t, func(t *testing.T, s *site, b *testbrowser.Browser, _ int) {
		login(b, "ada")
		resp := b.Get("/panic").Expect(http.StatusInternalServerError, "").NoStore()
		require.Empty(t, resp.Cookies())
		b.Get("/home").Expect(http.StatusOK, "")
		require.Empty(t, s.log.String())
	})
}
