// Package apptest has the helpers that the tests of the examples share: a browser's actions
// in the application, and running the example as a program.
package apptest

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
)

// Passwords has the password of each demo account.
var Passwords = map[string]string{
	"ada":   "analytical-engine",
	"grace": "nanoseconds-matter",
	"eve":   "deactivated-demo",
}

// Login submits the login form for a demo account.
func Login(b *testbrowser.Browser, name string) testbrowser.Response {
	b.T.Helper()
	return b.PostForm("/login", "username", name, "password", Passwords[name])
}

// Session returns the public ID of the browser's session.
func Session(b *testbrowser.Browser) string {
	b.T.Helper()
	var status struct{ Session string }
	if err := json.Unmarshal([]byte(b.Get("/session").Body), &status); err != nil || status.Session == "" {
		b.T.Errorf("no session: %v", err)
		b.T.FailNow()
	}
	return status.Session
}

// Stream opens /events. The body of the response closes at the end of the test, if not
// earlier. The returned function waits for the next event and returns its data, or "" at the
// end of the stream.
func Stream(b *testbrowser.Browser) (*http.Response, func() string) {
	b.T.Helper()
	resp, err := b.Client.Do(b.Request("GET", "/events", "Accept", "text/event-stream"))
	if err != nil {
		b.T.Errorf("%v", err)
		b.T.FailNow()
	}
	lines := bufio.NewScanner(resp.Body)
	return resp, func() string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		return ""
	}
}
