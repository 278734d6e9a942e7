package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"image"
	"image/png"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/sessionguard-go/sessionguard"
)

type isolationUser string

func (u isolationUser) UserID() string      { return string(u) }
func (u isolationUser) IsActive() bool      { return true }
func (u isolationUser) HasRole(string) bool { return false }

// serveOrigin starts a server, which is an origin of one site with all others that this
// starts: they differ in their ports, and share cookies.
func serveOrigin(t *testing.T, h http.Handler) (origin string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate().tls}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// isolatedApplication returns an application with a guard that trusts an origin, and sends it
// CORS headers. Below /gate/ it serves an image, a script and a text behind a gate, which
// counts what passes but frames, and below /open/ the same as a handler without a gate may do.
func isolatedApplication(t *testing.T, trusted string) (h http.Handler, passed *atomic.Int64) {
	t.Helper()
	crossOrigin := http.NewCrossOriginProtection()
	must(t, crossOrigin.AddTrustedOrigin(trusted))
	guard, err := sessionguard.New(sessionguard.Config[isolationUser]{
		FindUser:    func(_ context.Context, id string) (isolationUser, error) { return isolationUser(id), nil },
		Keys:        [][]byte{bytes.Repeat([]byte("k"), 32)},
		CrossOrigin: crossOrigin,
		Logger:      slog.New(slog.DiscardHandler),
	})
	must(t, err)
	var picture bytes.Buffer
	must(t, png.Encode(&picture, image.NewGray(image.Rect(0, 0, 7, 5))))
	private := http.NewServeMux()
	for path, content := range map[string][]string{
		"/image": {"image/png", picture.String()}, "/script": {"text/javascript", "window.ran = true"}, "/text": {"text/plain", "the secret"},
	} {
		private.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", content[0])
			_, _ = io.WriteString(w, content[1])
		})
	}
	passed = new(atomic.Int64)
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Sec-Fetch-Dest") != "iframe" { // WebKitGTK 2.50 says that of objects, too
			passed.Add(1)
		}
		private.ServeHTTP(w, r)
	})
	mux := http.NewServeMux()
	mux.Handle("/gate/", http.StripPrefix("/gate", guard.RequireLogin(counted)))
	mux.Handle("/open/", http.StripPrefix("/open", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := guard.User(r); !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		private.ServeHTTP(w, r)
	})))
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) { must(t, guard.Login(w, r, "ada")) })
	mux.Handle("POST /logout", guard.Logout("/"))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { libraryPage{}.write(w, "Welcome") })
	guarded := guard.Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Upgrade") // as nginx does by default
		if r.Header.Get("Origin") == trusted {
			w.Header().Set("Access-Control-Allow-Origin", trusted)
			w.Header().Set("Access-Control-Allow-Credentials", "true")
		}
		guarded.ServeHTTP(w, r)
	}), passed
}

// loadAll loads what is below arguments[0] in every way, and keeps what a page learns of it.
const loadAll = `window.learned = undefined
	const base = arguments[0], element = (name, properties, attribute) => new Promise((done) => {
		const e = Object.assign(document.createElement(name), properties)
		for (const [key, value] of Object.entries(attribute)) e.setAttribute(key, value)
		const end = (how) => () => { done(how + " " + (e.naturalWidth ?? e.offsetWidth)); e.remove() }
		e.onload = end("load")
		e.onerror = end("error")
		setTimeout(end("nothing"), 5000)
		document.body.append(e)
	})
	const request = (mode, path) => fetch(base + path, { mode, credentials: "include" }).then(async (r) => r.type + " " + r.status + " " + await r.text(), () => "failed")
	window.ran = false
	const all = {
		img: element("img", {}, { src: base + "image" }),
		"img with CORS": element("img", {}, { crossorigin: "use-credentials", src: base + "image" }),
		object: element("object", {}, { data: base + "image" }),
		embed: element("embed", {}, { src: base + "image" }),
		script: element("script", {}, { src: base + "script" }).then((how) => how + " " + window.ran),
		"fetch no-cors": request("no-cors", "text"),
		"fetch cors": request("cors", "text"),
		WebSocket: new Promise((done) => new WebSocket(base.replace("http", "ws") + "text").onerror = () => done("error")),
	}
	Promise.all(Object.entries(all).map(async ([name, result]) => [name, await result])).then((results) => window.learned = Object.fromEntries(results))`

// R1, OWASP ASVS 3.5.8: a page of another origin of the same site, with which the browser sends
// the session's cookie, learns from nothing that is behind a gate whether the user is logged in.
// One whose origin is trusted reads it by CORS.
func TestPagesOfOtherOriginsLearnNothingFromGates(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { libraryPage{}.write(w, "Another origin") })
	trusted, other := serveOrigin(t, page), serveOrigin(t, page)
	h, passed := isolatedApplication(t, trusted)
	application := serveOrigin(t, h)
	forEachEngine(t, func(t *testing.T, b *browser) {
		learn := func(origin, base string) (learned map[string]string) {
			t.Helper()
			must(t, b.Open(origin+"/"))
			must(t, b.Until(`return document.readyState === "complete"`))
			must(t, b.Eval(loadAll, nil, application+base))
			must(t, b.Until(`return Boolean(window.learned)`))
			must(t, b.Eval(`return window.learned`, &learned))
			return learned
		}
		post := func(path string) {
			t.Helper()
			must(t, b.Open(application+"/"))
			must(t, b.Until(`return document.readyState === "complete"`))
			must(t, b.Eval(`window.done = false; fetch(arguments[0], { method: "POST" }).then(() => window.done = true)`, nil, path))
			must(t, b.Until(`return window.done`))
		}
		post("/logout")
		visitor, control := learn(other, "/gate/"), learn(other, "/open/")
		post("/login")
		passed.Store(0)
		user, userControl := learn(other, "/gate/"), learn(other, "/open/")
		t.Logf("%s\nvisitor %q\nuser    %q\ncontrol %q\n        %q", b.Version(), visitor, user, control, userControl)
		if n := passed.Load(); n != 0 || !maps.Equal(visitor, user) {
			t.Errorf("%d requests passed the gate; the page learned %q of the user, and %q of a visitor", n, user, visitor)
		}
		for _, way := range []string{"img", "script"} {
			if control[way] == userControl[way] {
				t.Errorf("%s: the control does not leak: %q", way, control[way])
			}
		}
		read := learn(trusted, "/gate/")
		t.Logf("trusted %q", read)
		if read["fetch cors"] != "cors 200 the secret" || read["img with CORS"] != "load 7" || read["img"] != user["img"] {
			t.Errorf("the page of a trusted origin got %q", read)
		}
		post("/logout")
	})
}
