package nodes

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// A browser keeps one jar of cookies for all nodes: a cookie's host has no port.
type browser struct {
	client http.Client
	ctx    context.Context
}

func browse(t T, n *node) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	// Every test server has the same certificate, so the client of one knows all.
	return &browser{ctx: t.Context(), client: http.Client{
		Jar: jar, Transport: n.server.Client().Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// copied is another browser that has got hold of the cookies.
func (b *browser) copied(from *node) *browser {
	jar, _ := cookiejar.New(nil)
	for _, c := range b.client.Jar.Cookies(from.url()) {
		c.Path, c.Secure = "/", true
		jar.SetCookies(from.url(), []*http.Cookie{c})
	}
	other := *b
	other.client.Jar = jar
	return &other
}

func (n *node) url() *url.URL {
	u, _ := url.Parse(n.server.URL)
	return u
}

// token is the session cookie of a browser, or "".
func (b *browser) token(n *node) string {
	for _, c := range b.client.Jar.Cookies(n.url()) {
		if c.Name == sessionCookie {
			return c.Value
		}
	}
	return ""
}

type answer struct {
	status   int
	body     string
	location string
	cookie   *http.Cookie // the session's, if it is set
}

// letIn says that the page of someone who is logged in was shown.
func (a answer) letIn() bool { return strings.Contains(a.body, "secret") }

func (b *browser) do(n *node, method, path string) (answer, error) {
	r, err := http.NewRequestWithContext(b.ctx, method, n.server.URL+path, nil)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Accept", "text/html")
	resp, err := b.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, body: string(body), location: resp.Header.Get("Location")}
	for _, c := range resp.Cookies() {
		if c.Name == sessionCookie {
			a.cookie = c
		}
	}
	return a, err
}

func (b *browser) get(t T, n *node, path string) answer {
	t.Helper()
	a, err := b.do(n, "GET", path)
	require.NoError(t, err)
	return a
}

func (b *browser) post(t T, n *node, path string) answer {
	t.Helper()
	a, err := b.do(n, "POST", path)
	require.NoError(t, err)
	return a
}

// begin sends a request to /hold, and returns when it is about to be answered.
func (b *browser) begin(t T, n *node, query string) (finish func() answer) {
	t.Helper()
	answered := make(chan answer, 1)
	go func() {
		a, _ := b.do(n, "POST", "/hold?"+query)
		answered <- a
	}()
	select {
	case <-n.hold.arrived:
	case a := <-answered:
		require.Fail(t, "answered without a wait", a.body+a.location)
	}
	return func() answer {
		select {
		case <-n.hold.released:
			return <-answered
		case a := <-answered: // nobody waited so long
			return a
		}
	}
}

func (b *browser) login(t T, n *node, user string) {
	t.Helper()
	a := b.post(t, n, "/login?user="+user)
	require.Equal(t, http.StatusSeeOther, a.status, a.body)
}

// requireIn and requireOut ask all nodes.
func (b *browser) requireIn(t T, user string, all ...*node) {
	t.Helper()
	for _, n := range all {
		require.Equal(t, "secret of "+user, b.get(t, n, "/home").body)
	}
}

func (b *browser) requireOut(t T, all ...*node) {
	t.Helper()
	for _, n := range all {
		require.False(t, b.get(t, n, "/home").letIn(), "a session that has ended is let in")
		require.False(t, b.post(t, n, "/value?k=k&v=v").letIn(), "a session that has ended is let in")
	}
}

// requireEnded also checks what the login page is told.
func (b *browser) requireEnded(t T, reason store.Reason, all ...*node) {
	t.Helper()
	b.requireOut(t, all...)
	for _, n := range all {
		require.Equal(t, "/login?next=%2Fhome&reason="+string(reason), b.get(t, n, "/home").location)
	}
}
