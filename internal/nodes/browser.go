package nodes

import (
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
)

// A browser keeps one jar of cookies for all nodes: a cookie's host has no port.
type browser struct{ *testbrowser.Browser }

type response = testbrowser.Response

func browse(t T, n *node) *browser {
	t.Helper()
	// Every test server has the same certificate, so the transport of one reaches all.
	return &browser{testbrowser.New(t, n.server.URL, n.server.Client().Transport)}
}

// copied returns another browser with the same cookies.
func (b *browser) copied() *browser { return &browser{b.Copy()} }

// at returns the browser at a node.
func (b *browser) at(n *node) *testbrowser.Browser { return b.At(n.server.URL) }

// token returns the session cookie of a browser, or "".
func (b *browser) token() string { return b.Cookies()[sessionCookie] }

// letIn reports whether the response is a page for a logged-in user.
func letIn(a response) bool { return strings.Contains(a.Body, "secret") }

// begin sends a request to /hold, and returns when the handler is about to respond.
func (b *browser) begin(n *node, query string) (finish func() response) {
	b.T.Helper()
	at := b.at(n)
	responses := make(chan response, 1)
	go func() {
		a, _ := at.Send(at.Request("POST", "/hold?"+query))
		if a.Response == nil {
			a = noResponse()
		}
		responses <- a
	}()
	select {
	case <-n.hold.arrived:
	case a := <-responses:
		require.Fail(b.T, "the response came without a wait", a.Body+a.Header.Get("Location"))
	}
	return func() response {
		select {
		case <-n.hold.released:
			return <-responses
		case a := <-responses: // the request has been given up meanwhile
			return a
		}
	}
}

// noResponse stands for a response that has not come: its status is 0.
func noResponse() response { return response{Response: &http.Response{}} }

func (b *browser) login(n *node, user string) {
	b.T.Helper()
	a := b.at(n).Post("/login?user=" + user)
	require.Equal(b.T, http.StatusSeeOther, a.StatusCode, a.Body)
}

// requireIn checks that the user is logged in on all these nodes.
func (b *browser) requireIn(user string, all ...*node) {
	b.T.Helper()
	for _, n := range all {
		require.Equal(b.T, "secret of "+user, b.at(n).Get("/home").Body)
	}
}

// requireOut checks that nobody is logged in on any of these nodes.
func (b *browser) requireOut(all ...*node) {
	b.T.Helper()
	for _, n := range all {
		require.False(b.T, letIn(b.at(n).Get("/home")), "a session that has ended is let in")
		require.False(b.T, letIn(b.at(n).Post("/value?k=k&v=v")), "a session that has ended is let in")
	}
}

// requireEnded also checks the reason that the login page gets.
func (b *browser) requireEnded(reason store.Reason, all ...*node) {
	b.T.Helper()
	b.requireOut(all...)
	for _, n := range all {
		require.Equal(b.T, "/login?next=%2Fhome&reason="+string(reason), b.at(n).Get("/home").Header.Get("Location"))
	}
}
