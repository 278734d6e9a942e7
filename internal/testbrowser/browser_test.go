package testbrowser_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

// app sets a cookie at /set?name=value, redirects at /away, and describes any other request.
var app = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/set":
		for name, values := range r.URL.Query() {
			http.SetCookie(w, &http.Cookie{Name: name, Value: values[0], Path: "/", Secure: r.TLS != nil})
		}
	case "/away":
		http.Redirect(w, r, "/elsewhere", http.StatusSeeOther)
	default:
		fmt.Fprintf(w, "%s %s %v %v", r.Method, r.URL.RequestURI(), r.Header["Accept"], r.Cookies())
	}
})

func browse(t testbrowser.T, url string) *testbrowser.Browser {
	return testbrowser.New(t, url, testbrowser.HandlerTransport{Handler: app})
}

func TestBrowserKeepsCookiesPerHost(t *testing.T) {
	for _, url := range []string{"http://app.example", "https://app.example"} {
		b := browse(t, url)
		b.Get("/set?session=a")
		require.Equal(t, map[string]string{"session": "a"}, b.Cookies())
		b.Get("/").Contains("session=a")
		b.At(url + ":8080").Get("/").Contains("session=a")
		b.At("https://other.example").Get("/").Lacks("session")
	}
}

func TestCopyHasItsOwnCookies(t *testing.T) {
	b := browse(t, "https://app.example")
	b.Header.Set("Accept", "application/json")
	b.Get("/set?session=a")
	other := b.Copy()
	b.Get("/set?session=b")
	other.Get("/").Contains("session=a", "application/json")
	require.Empty(t, other.Received())

	other.SetCookies(map[string]string{"lang": "en"})
	require.Equal(t, map[string]string{"lang": "en"}, other.Cookies())
	require.Equal(t, map[string]string{"session": "b"}, b.Cookies())
}

func TestReceivedIsEveryCookieOfEveryNode(t *testing.T) {
	b := browse(t, "https://app.example")
	b.Get("/set?session=a")
	b.At("https://app.example:8080").Get("/set?session=b")
	var all []string
	for _, c := range b.Received() {
		all = append(all, c.Value)
	}
	require.Equal(t, []string{"a", "b"}, all)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	browse(t, "https://app.example").Get("/away").Expect(http.StatusSeeOther, "/elsewhere")
}

func TestHeaderOfARequestReplacesTheBrowsers(t *testing.T) {
	b := browse(t, "https://app.example")
	b.Get("/page?a=b").Contains("GET /page?a=b [text/html]")
	b.Post("/", "Accept", "text/plain", "Accept", "*/*").Contains("POST / [text/plain */*]")
	require.Equal(t, []string{"text/html"}, b.Header["Accept"])
}

func TestPostFormSendsFields(t *testing.T) {
	form := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.PostFormValue("name"), " ", r.ContentLength)
	})
	b := testbrowser.New(t, "https://app.example", testbrowser.HandlerTransport{Handler: form})
	require.Equal(t, "ada & eve 16", b.PostForm("/", "name", "ada & eve").Body)
}

func TestSeveralGoroutinesUseOneBrowser(t *testing.T) {
	b := browse(t, "https://app.example")
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() { b.Get(fmt.Sprintf("/set?c%d=v", i)) })
	}
	group.Wait()
	require.Len(t, b.Cookies(), 8)
	require.Len(t, b.Received(), 8)
}

// failing records a failure. FailNow ends the goroutine, like that of testing.T.
type failing struct {
	message string
}

func (f *failing) Helper()                           {}
func (f *failing) Errorf(format string, args ...any) { f.message = fmt.Sprintf(format, args...) }
func (f *failing) FailNow()                          { runtime.Goexit() }
func (f *failing) Context() context.Context          { return context.Background() }

func failureOf(check func(*testbrowser.Browser)) string {
	f, done := &failing{}, make(chan struct{})
	go func() {
		defer close(done)
		check(browse(f, "https://app.example"))
	}()
	<-done
	return f.message
}

func TestFailedChecksNameRequestAndDifference(t *testing.T) {
	for want, check := range map[string]func(*testbrowser.Browser){
		`GET /away: got 303 to "/elsewhere", want 200 to ""`: func(b *testbrowser.Browser) { b.Get("/away").Expect(http.StatusOK, "") },
		`POST /: "lost" is not in`:                           func(b *testbrowser.Browser) { b.Post("/").Contains("POST", "lost") },
		`POST /: "POST" is in`:                               func(b *testbrowser.Browser) { b.Post("/").Lacks("POST") },
		`GET /: X-Header is "", want "v"`:                    func(b *testbrowser.Browser) { b.Get("/").Has("X-Header", "v") },
		`GET /: Cache-Control is "", want "no-store`:         func(b *testbrowser.Browser) { b.Get("/").NoStore() },
		`GET /: no list item contains "x"`:                   func(b *testbrowser.Browser) { b.Get("/").Row("x") },
		`GET https://app.example/: Get "https://app.example/": the transport failed`: func(b *testbrowser.Browser) {
			b.Client.Transport = failingTransport{}
			b.Get("/")
		},
	} {
		require.Contains(t, failureOf(check), want)
	}
}

type failingTransport struct{}

func (failingTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("the transport failed")
}

func TestRowAndCookieSelectPartsOfAResponse(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "lang", Value: "en"})
		io.WriteString(w, "<ul><li>one</li><li>two, too</li></ul>")
	})
	a := testbrowser.New(t, "https://app.example", testbrowser.HandlerTransport{Handler: page}).Get("/")
	require.Equal(t, "two, too", a.Row("two").Body)
	require.Equal(t, "en", a.Cookie("lang").Value)
	require.Nil(t, a.Cookie("session"))
}

func TestClockAdvancesWhileAServerOnAPipeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := testbrowser.Listen("example.com:443")
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Hour)
			io.WriteString(w, r.Host)
		}))
		server.Listener.Close()
		server.Listener = listener
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		server.StartTLS()
		defer server.Close()
		require.Equal(t, "https://example.com:443", server.URL)
		transport := server.Client().Transport.(*http.Transport)
		transport.DialContext = listener.DialContext

		began := time.Now()
		require.Equal(t, "example.com:443", testbrowser.New(t, server.URL, transport).Get("/").Body)
		require.Equal(t, time.Hour, time.Since(began))
	})
	listener := testbrowser.Listen("example.com:443")
	listener.Close()
	_, err := listener.DialContext(t.Context(), "", "")
	require.Error(t, err)
	_, err = listener.Accept()
	require.Error(t, err)
}
