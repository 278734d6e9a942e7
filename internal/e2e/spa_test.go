package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// documented returns the first block of a language in a section of docs/front-ends.md.
func documented(t *testing.T, section, language string) string {
	t.Helper()
	document, err := os.ReadFile("../../docs/front-ends.md")
	must(t, err)
	_, text, _ := strings.Cut(string(document), "\n## "+section+"\n")
	return regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(text)[1]
}

// singlePageApplication is the application of docs/front-ends.md, with the file and the module
// that it shows.
func singlePageApplication(t *testing.T) (origin string, guard *sessionguard.Guard[isolationUser], fail *atomic.Bool) {
	t.Helper()
	index := documented(t, "Single-page applications", "html")
	module := documented(t, "Single-page applications", "js")

	fail = new(atomic.Bool)
	guard, err := sessionguard.New(sessionguard.Config[isolationUser]{
		FindUser: func(_ context.Context, id string) (isolationUser, error) {
			if fail.CompareAndSwap(true, false) {
				return "", errors.New("the database is down")
			}
			return isolationUser(id), nil
		},
		ReauthPath: "/reauth", FactorPath: "/code",
		Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	name := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		_, _ = io.WriteString(w, string(user))
	})
	mux := http.NewServeMux()
	mux.Handle("/sessionguard/", guard.Script())
	mux.Handle("POST /logout", guard.Logout("/"))
	mux.Handle("/api/", guard.RequireLogin(name))
	mux.Handle("/api/key", guard.RequireFactor("hwk")(name))
	mux.Handle("/api/fresh", guard.RequireFresh(time.Minute, "hwk")(name))
	mux.HandleFunc("POST /api/login", func(w http.ResponseWriter, r *http.Request) {
		var form struct{ Name, Password string }
		if json.NewDecoder(r.Body).Decode(&form) != nil || form.Password != "analytical-engine" || guard.Login(w, r, isolationUser(form.Name)) != nil {
			http.Error(w, "You cannot log in with that.", http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, guard.Next(r, "/"))
	})
	mux.HandleFunc("/assets/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		if r.URL.Path == "/assets/main.js" {
			module := `import * as spa from "/assets/api.js"; window.spa = spa`
			_, _ = io.WriteString(w, module)
			return
		}
		_, _ = io.WriteString(w, module)
	})
	mux.Handle("/nonce", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nonce := rand.Text()
		w.Header().Set("Content-Security-Policy", "default-src 'self'; script-src 'nonce-"+nonce+"'; require-trusted-types-for 'script'; trusted-types 'none'")
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, "<!DOCTYPE html><head>%s</head><body>the secret", guard.ScriptTag(r, "nonce", nonce))
	})))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'")
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, index)
	})
	return serveSite(t, guard.Handler(mux).ServeHTTP), guard, fail
}

// What docs/front-ends.md says about single-page applications works in browsers.
func TestTheSinglePageApplicationOfTheDocumentation(t *testing.T) {
	const caught = `.then(() => "", (problem) => problem.error ?? problem.status)`
	const me = `return spa.api("/api/me").then((r) => r.text())`
	forEachEngine(t, func(t *testing.T, b *browser) {
		origin, guard, fail := singlePageApplication(t)
		open := func(path string) {
			t.Helper()
			must(t, b.Open(origin+path))
			must(t, b.Until(`return document.readyState === "complete" && Boolean(window.spa)`))
		}
		returns := func(want any, script string) {
			t.Helper()
			var got any
			must(t, b.Eval(script, &got))
			if got != want {
				t.Errorf("%s: %v, not %v", script, got, want)
			}
		}
		logIn := func() {
			t.Helper()
			returns("", `return spa.logIn("ada", "analytical-engine")`+caught)
			returns("ada", me)
		}
		end := func() { must(t, guard.EndUser(t.Context(), "ada")) }

		open("/")
		returns("login_required", `return spa.api("/api/me")`+caught)
		returns(float64(http.StatusForbidden), `return spa.logIn("ada", "wrong")`+caught)
		returns("/", `return location.pathname`)
		logIn()
		returns(true, `return spa.secondsLeft().then((seconds) => 1790 < seconds && seconds <= 1800)`)
		returns(true, `return spa.api("/sessionguard/stay", { method: "POST" }).then((r) => r.json()).then((status) => status.authenticated)`)

		fail.Store(true)
		must(t, b.Eval(`const real = setTimeout; window.setTimeout = (run, ms) => real(run, ms === 5000 ? 0 : ms)`, nil))
		returns("ada", me)
		fail.Store(true)
		returns("unavailable", `return spa.api("/api/me", { method: "POST" })`+caught)

		for path, target := range map[string]string{"/api/key": "/code?next=%2Fa%3Fb%3Dc&factor=hwk", "/api/fresh": "/reauth?next=%2Fa%3Fb%3Dc&factor=hwk"} {
			open("/a?b=c")
			must(t, b.Eval(`spa.api(arguments[0]).catch(() => {})`, nil, path))
			must(t, b.Until(`return location.href === arguments[0]`, origin+target))
		}

		open("/a")
		must(t, b.Until(`return performance.getEntriesByType("resource").some(({ name }) => name.endsWith("/status"))`))
		must(t, b.Eval(`spa.logOut()`, nil))
		must(t, b.Until(`return location.pathname + location.search === "/login?next=%2Fa" && Boolean(window.spa)`))
		logIn()
		end()
		open("/a") // a visitor's page, which is no other's
		returns("login_required", `return spa.api("/api/me")`+caught)
		logIn()
		end()
		must(t, b.Eval(`spa.api("/api/me").catch(() => {})`, nil))
		must(t, b.Until(`return location.pathname + location.search === "/login?next=%2Fa&reason=ended" && Boolean(window.spa)`))

		returns("/a", `return spa.logIn("ada", "analytical-engine")`)
		returns("ada", me)
		open("/login?next=//example.com")
		returns("/", `return spa.logIn("ada", "analytical-engine")`)
		must(t, b.Open(origin+"/nonce"))
		must(t, b.Until(secretVisible))
		end()
		must(t, b.Eval(`document.dispatchEvent(new Event("sessionguard:check"))`, nil))
		must(t, b.Until(`return location.pathname === "/login"`))
	})
}

// What docs/front-ends.md says about programs is so.
func TestAProgramKeepsItsSessionInACookieJar(t *testing.T) {
	origin, _, _ := singlePageApplication(t)
	jar, err := cookiejar.New(nil)
	must(t, err)
	program := &http.Client{Jar: jar, Transport: trustingClient.Transport}
	send := func(method, path, body string, status int) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, origin+path, strings.NewReader(body))
		must(t, err)
		response, err := program.Do(r)
		must(t, err)
		must(t, response.Body.Close())
		if response.StatusCode != status {
			t.Fatalf("%s %s: %s", method, path, response.Status)
		}
		return response
	}
	refused := send("GET", "/api/me", "", http.StatusUnauthorized)
	if kind, scheme := refused.Header.Get("Content-Type"), refused.Header.Get("WWW-Authenticate"); kind != "application/problem+json" || scheme != `Cookie form-action="/login"` {
		t.Fatal(kind, scheme)
	}
	send("POST", "/api/login", `{"name":"ada","password":"analytical-engine"}`, http.StatusOK)
	send("GET", "/api/me", "", http.StatusOK)
	send("POST", "/logout", "", http.StatusNoContent)
	send("GET", "/api/me", "", http.StatusUnauthorized)
}
