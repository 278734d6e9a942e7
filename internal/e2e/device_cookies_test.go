package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/sessionguard-go/sessionguard/store"
)

// A browserCookie is one that the browser has for the site.
type browserCookie struct {
	Name, Value string
	Expires     float64
}

func (c browserCookie) isBound() bool { return strings.Contains(c.Name, "-bound-") }

func isSession(c browserCookie) bool { return c.Name == "__Host-Http-session" }

// cookies returns all cookies, those that no script can read too.
func (s *deviceSite) cookies() []browserCookie {
	s.Helper()
	var got struct{ Cookies []browserCookie }
	must(s.T, s.DevTools("Network.getCookies", object{"urls": []string{s.origin + "/"}}, &got))
	return got.Cookies
}

func (s *deviceSite) boundCookies() []browserCookie {
	s.Helper()
	return slices.DeleteFunc(s.cookies(), func(c browserCookie) bool { return !c.isBound() })
}

func (s *deviceSite) setCookie(c browserCookie) {
	s.Helper()
	must(s.T, s.DevTools("Network.setCookie", object{
		"name": c.Name, "value": c.Value, "expires": c.Expires,
		"url": s.origin + "/", "path": "/", "secure": true, "httpOnly": true, "sameSite": "Lax",
	}, nil))
}

func (s *deviceSite) deleteCookies(which func(browserCookie) bool) {
	s.Helper()
	for _, c := range s.cookies() {
		if which(c) {
			must(s.T, s.DevTools("Network.deleteCookies", object{"name": c.Name, "url": s.origin + "/"}, nil))
		}
	}
}

// expire lets the proof run out, as its time does.
func (s *deviceSite) expire() {
	s.Helper()
	if len(s.boundCookies()) == 0 {
		s.Error("there is no bound cookie that could run out")
	}
	s.deleteCookies(browserCookie.isBound)
}

// A thief is another client, with cookies of the browser.
type thief struct {
	site    *deviceSite
	cookies []browserCookie
}

// steal copies the cookies, without those that are not wanted.
func (s *deviceSite) steal(without func(browserCookie) bool) *thief {
	s.Helper()
	return &thief{s, slices.DeleteFunc(s.cookies(), without)}
}

// stealAll copies all cookies, while the proof that is among them counts.
func (s *deviceSite) stealAll() (th *thief) {
	s.Helper()
	s.waitFor("a proof that a thief can use", func() bool {
		s.fetch("/echo") // on a slow machine, one that lasts seconds may have run out
		th = s.steal(nothing)
		return len(th.cookies) == 2 && th.isIn()
	})
	return th
}

func nothing(browserCookie) bool { return false }

// try requests a path with the stolen cookies, and returns the response and its body.
func (th *thief) try(path string) (*http.Response, string) {
	th.site.Helper()
	response, body, err := th.request(path)
	must(th.site.T, err)
	return response, body
}

func (th *thief) request(path string) (*http.Response, string, error) {
	request, err := http.NewRequestWithContext(th.site.Context(), "GET", th.site.origin+path, nil)
	if err != nil {
		return nil, "", err
	}
	for _, c := range th.cookies {
		request.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	response, err := trustingClient.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, string(body), err
}

// isIn reports whether the site shows a thief what is the user's.
func (th *thief) isIn() bool {
	th.site.Helper()
	response, body := th.try("/echo")
	return response.StatusCode == http.StatusOK && strings.Contains(body, "the secret")
}

// gets reports whether a response sets a cookie, and does not only delete one.
func gets(response *http.Response) bool {
	return slices.ContainsFunc(response.Cookies(), func(c *http.Cookie) bool { return c.MaxAge >= 0 })
}

// refused fails the test unless the thief is told that the device is not proven, and gets no
// cookie. With a proof that has run out, the same request is asked for once more, without it.
func (th *thief) refused() {
	th.site.Helper()
	response, body := th.try("/echo")
	if response.StatusCode == http.StatusTemporaryRedirect && !gets(response) {
		again := &thief{th.site, slices.DeleteFunc(slices.Clone(th.cookies), browserCookie.isBound)}
		response, body = again.try("/echo")
	}
	var problem struct{ Code, Reason string }
	_ = json.Unmarshal([]byte(body), &problem)
	if response.StatusCode != http.StatusUnauthorized || problem.Reason != string(store.ReasonDeviceUnproven) || len(response.Cookies()) > 0 {
		th.site.Errorf("the thief got %s, %s and the cookies %v", response.Status, body, response.Cookies())
	}
}
