package bench

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// A subject is one way to protect a site. It is the same site everywhere: a page that
// is only for an engineer and never cached, with an idle timeout that slides and five
// values in the session.
type subject struct {
	name string
	peer bool // not ours

	page        http.Handler // reads no value
	read, write http.Handler // the page, which reads or changes one value as well
	enter       http.Handler // a login
	login       http.Handler // a login that stores the values
	logout      http.Handler // redirects to the welcome page
}

const (
	idle     = 30 * time.Minute
	absolute = 12 * time.Hour
)

type user struct{ id, role string }

func (u *user) UserID() string           { return u.id }
func (u *user) IsActive() bool           { return true }
func (u *user) HasRole(role string) bool { return u.role == role }

var ada = &user{"ada", "Engineer"}

func find(_ context.Context, id string) (*user, error) {
	switch id {
	case "":
		return nil, sessionguard.ErrNoUser
	case ada.id:
		return ada, nil
	}
	return &user{id, "Engineer"}, nil
}

// newcomer is who logs in: Ada, or one of many.
func newcomer(r *http.Request) *user {
	u, err := find(r.Context(), cmp.Or(r.URL.RawQuery, ada.id))
	check(err == nil)
	return u
}

var values = map[string]any{
	"name": "Ada Lovelace", "theme": "dark", "cart": 12, "admin": false, "since": int64(1_700_000_000),
}

var keys = [][]byte{[]byte("an authentication key of 32 byte"), nil}

var body = []byte("hello")

func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(body)
}

// counter is the value that a page changes: another one each time.
var counter int

const (
	bareName = "bare handler"
	oursName = "sessionguard"
)

// bare is the site without any protection.
func bare() subject {
	h := http.HandlerFunc(page)
	return subject{name: bareName, page: h, read: h, write: h, enter: h, login: h, logout: h}
}

func forbidCaching(h http.Header) {
	h.Set("Cache-Control", "no-store, no-cache, must-revalidate, private")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "0")
}

func ours(name string, backend store.Backend) (subject, error) {
	guard, err := sessionguard.New(sessionguard.Config[*user]{
		FindUser:        find,
		Keys:            keys,
		Backend:         backend,
		IdleTimeout:     idle,
		AbsoluteTimeout: absolute,
		Logger:          slog.New(slog.NewTextHandler(io.Discard, nil)), // the audit trail costs what it costs
	})
	if err != nil {
		return subject{}, err
	}
	gate := guard.RequireRole("Engineer")
	gated := func(h http.HandlerFunc) http.Handler { return guard.Handler(gate(h)) }
	return subject{
		name: name,
		page: gated(page),
		read: gated(func(w http.ResponseWriter, r *http.Request) {
			session, err := guard.Get(r, "session")
			check(err == nil && session.Values["theme"] == "dark")
			page(w, r)
		}),
		write: gated(func(w http.ResponseWriter, r *http.Request) {
			session, err := guard.Get(r, "session")
			check(err == nil)
			counter++
			session.Values["cart"] = counter
			page(w, r)
		}),
		enter: guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			err := guard.Login(w, r, newcomer(r))
			check(err == nil)
			page(w, r)
		})),
		login: guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			err := guard.Login(w, r, newcomer(r))
			check(err == nil)
			session, err := guard.Get(r, "session")
			check(err == nil)
			for k, v := range values {
				session.Values[k] = v
			}
			page(w, r)
		})),
		logout: guard.Handler(guard.Logout("/")),
	}, nil
}

// mustOurs is ours in a test.
func mustOurs(t testing.TB, name string, backend store.Backend) subject {
	t.Helper()
	s, err := ours(name, backend)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// check ends the run: what does not do its work must not be compared.
func check(ok bool) {
	if !ok {
		panic("a subject does not do what it is measured for")
	}
}

// visitors returns requests of so many who have logged in.
func (s subject) visitors(t testing.TB, n int) (requests []*http.Request) {
	t.Helper()
	for range n {
		w := httptest.NewRecorder()
		s.login.ServeHTTP(w, httptest.NewRequest("POST", "/login", nil))
		answer := w.Result()
		if answer.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(answer.Body)
			t.Fatal(s.name, answer.Status, string(text))
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", cookiesOf(answer))
		requests = append(requests, r)
	}
	return requests
}

// cookiesOf is what a browser sends from now on.
func cookiesOf(answer *http.Response) string {
	var pairs []string
	for _, c := range answer.Cookies() {
		if c.MaxAge >= 0 {
			pairs = append(pairs, fmt.Sprintf("%s=%s", c.Name, c.Value))
		}
	}
	return strings.Join(pairs, "; ")
}
