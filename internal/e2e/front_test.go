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

// served is a front before an application that answers with handler, and a
// client that keeps no connection and follows no redirect.
func served(t *testing.T, p protection, handler http.HandlerFunc) (*front, *http.Client) {
	t.Helper()
	application := httptest.NewServer(handler)
	t.Cleanup(application.Close)
	backend, err := url.Parse(application.URL)
	must(t, err)
	f, err := newFront(backend, p, false)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
}

func TestEachProtectionTakesOutWhatItSays(t *testing.T) {
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
		f, client := served(t, test.protection, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Set-Cookie", "session-anonymous=a")
			_, _ = io.WriteString(w, `<html><head><script src="/sessionguard/guard.0a1b.js" data-to="/"></script></head>`+r.Host)
		})
		request, err := http.NewRequest("GET", f.URL+"/home?a=b", nil)
		must(t, err)
		request.AddCookie(&http.Cookie{Name: "session", Value: "s"})
		answer, err := client.Do(request)
		must(t, err)
		body, err := io.ReadAll(answer.Body)
		must(t, err)
		answer.Body.Close()
		page := string(body)
		if !strings.HasPrefix(page, "<html><head>"+samplerTag) || !strings.HasSuffix(page, strings.TrimPrefix(f.URL, "http://")) ||
			answer.ContentLength != int64(len(page)) {
			t.Errorf("%s: %d bytes, %s", test.protection, answer.ContentLength, page)
		}
		if strings.Contains(page, "/sessionguard/") != test.script || (answer.Header.Get("Cache-Control") != "") != test.headers ||
			!slices.Equal(answer.Header["Set-Cookie"], test.cookies) {
			t.Errorf("%s: %v %s", test.protection, answer.Header, page)
		}
		if all := f.Seen(); len(all) != 1 || all[0] != (seen{"GET", "/home?a=b", true, 200}) {
			t.Errorf("%s: seen %+v", test.protection, all)
		}
	}
}

func TestAnOutageCutsWhatIsGoingOn(t *testing.T) {
	f, client := served(t, whole, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: first\n\n")
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/events" {
			<-r.Context().Done()
		}
	})
	stream, err := client.Get(f.URL + "/events")
	must(t, err)
	defer stream.Body.Close()
	f.Outage(true)
	if _, err := io.ReadAll(stream.Body); err == nil {
		t.Error("the stream ended as if it were over")
	}
	if answer, err := client.Get(f.URL + "/"); err == nil {
		t.Errorf("%s in an outage", answer.Status)
	}
	answer, err := client.Get(f.URL + "/e2e/blank")
	must(t, err)
	answer.Body.Close()
	f.Outage(false)
	answer, err = client.Get(f.URL + "/")
	must(t, err)
	answer.Body.Close()
	if all := f.Seen(); len(all) != 2 || all[1].Path != "/" {
		t.Errorf("seen %+v", all)
	}
}
