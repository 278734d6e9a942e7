package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// serveThroughProxy starts an application that serves handler and a proxy in front of it.
// It also returns a client that does not reuse connections.
func serveThroughProxy(t *testing.T, p protection, handler http.HandlerFunc) (*testProxy, *http.Client) {
	t.Helper()
	application := httptest.NewServer(handler)
	t.Cleanup(application.Close)
	backend, err := url.Parse(application.URL)
	must(t, err)
	proxy, err := newTestProxy(backend, p, false)
	must(t, err)
	t.Cleanup(func() { _ = proxy.Close() })
	return proxy, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
}

func TestProtectionRemovesHeadersScriptAndCookies(t *testing.T) {
	for _, test := range []struct {
		protection protection
		headers    bool
		script     bool
		cookies    []string
	}{
		{none, false, false, nil},
		{recipe, true, false, nil},
		{recipeResent, true, false, []string{"session=s; Path=/; HttpOnly; SameSite=Lax"}},
		{withoutScript, true, false, []string{"session-anonymous=a"}},
		{scriptOnly, false, true, nil},
		{whole, true, true, []string{"session-anonymous=a"}},
	} {
		proxy, client := serveThroughProxy(t, test.protection, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Set-Cookie", "session-anonymous=a")
			_, _ = io.WriteString(w, `<html><head><script src="/sessionguard/guard.0a1b.js" data-to="/"></script></head>`+r.Host)
		})
		request, err := http.NewRequest("GET", proxy.URL+"/home?a=b", nil)
		must(t, err)
		request.AddCookie(&http.Cookie{Name: "session", Value: "s"})
		response, err := client.Do(request)
		must(t, err)
		body, err := io.ReadAll(response.Body)
		must(t, err)
		response.Body.Close()
		page := string(body)
		if !strings.HasPrefix(page, "<html><head>"+samplerTag) || !strings.HasSuffix(page, strings.TrimPrefix(proxy.URL, "http://")) ||
			response.ContentLength != int64(len(page)) {
			t.Errorf("%s: got a page of Content-Length %d: %s", test.protection, response.ContentLength, page)
		}
		if strings.Contains(page, "/sessionguard/") != test.script || (response.Header.Get("Cache-Control") != "") != test.headers ||
			!slices.Equal(response.Header["Set-Cookie"], test.cookies) {
			t.Errorf("%s: got headers %v and page %s", test.protection, response.Header, page)
		}
		if all := proxy.Requests(); len(all) != 1 || all[0] != (recordedRequest{"GET", "/home?a=b", true, 200}) {
			t.Errorf("%s: recorded %+v", test.protection, all)
		}
	}
}

func TestOutageCutsOpenConnections(t *testing.T) {
	proxy, client := serveThroughProxy(t, whole, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: first\n\n")
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/events" {
			<-r.Context().Done()
		}
	})
	stream, err := client.Get(proxy.URL + "/events")
	must(t, err)
	defer stream.Body.Close()
	proxy.SetOutage(true)
	if _, err := io.ReadAll(stream.Body); err == nil {
		t.Error("the stream ended without an error")
	}
	if response, err := client.Get(proxy.URL + "/"); err == nil {
		t.Errorf("got %s during an outage", response.Status)
	}
	response, err := client.Get(proxy.URL + "/e2e/blank")
	must(t, err)
	response.Body.Close()
	proxy.SetOutage(false)
	response, err = client.Get(proxy.URL + "/")
	must(t, err)
	response.Body.Close()
	if all := proxy.Requests(); len(all) != 2 || all[1].Path != "/" {
		t.Errorf("recorded %+v", all)
	}
}
