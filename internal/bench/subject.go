package bench

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// A subject is one way to protect a site. The site is always the same: a page that only an
// engineer may see and that is never cached, a sliding idle timeout, and five values in the
// session.
type subject struct {
	name string
	peer bool // not sessionguard

	page        http.Handler // reads no value
	read, write http.Handler // the page, which also reads or changes one value
	loginOnly   http.Handler // a login without values
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

// userLoggingIn returns the user that the query names, or Ada.
func userLoggingIn(r *http.Request) *user {
	u, err := find(r.Context(), cmp.Or(r.URL.RawQuery, ada.id))
	check(err == nil)
	return u
}

var values = map[string]any{
	"name": "Ada Lovelace", "theme": "dark", "cart": 12, "admin": false, "since": int64(1_700_000_000),
}

var keys = [][]byte{[]byte("a secret key of exactly 32 bytes")}

var body = []byte("hello")

func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(body)
}

// counter is the value that a page stores: a different one each time.
var counter int

const (
	bareName  = "bare handler"
	guardName = "sessionguard"
)

// bareSubject is the site without any protection.
func bareSubject() subject {
	h := http.HandlerFunc(page)
	return subject{name: bareName, page: h, read: h, write: h, loginOnly: h, login: h, logout: h}
}

func forbidCaching(h http.Header) {
	h.Set("Cache-Control", "no-store, no-cache, must-revalidate, private")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "0")
}

func newGuardSubject(t testing.TB, name string, backend store.Backend) subject {
	t.Helper()
	return guardSubject(name, newGuard(t, backend, nil))
}

// newGuard returns the guard that is measured. configure, which may be nil, changes its Config.
func newGuard(t testing.TB, backend store.Backend, configure func(*sessionguard.Config[*user])) *sessionguard.Guard[*user] {
	t.Helper()
	config := sessionguard.Config[*user]{
		FindUser:        find,
		Keys:            keys,
		Backend:         backend,
		IdleTimeout:     idle,
		AbsoluteTimeout: absolute,
		Logger:          slog.New(slog.NewTextHandler(io.Discard, nil)), // the cost of the audit trail counts
	}
	if configure != nil {
		configure(&config)
	}
	guard, err := sessionguard.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return guard
}

func guardSubject(name string, guard *sessionguard.Guard[*user]) subject {
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
		loginOnly: guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			err := guard.Login(w, r, userLoggingIn(r))
			check(err == nil)
			page(w, r)
		})),
		login:  guardLogin(guard),
		logout: guard.Handler(guard.Logout("/")),
	}
}

// guardLogin is the login of a guard's site that stores the values.
func guardLogin(guard *sessionguard.Guard[*user], options ...sessionguard.LoginOption) http.Handler {
	return guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := guard.Login(w, r, userLoggingIn(r), options...)
		check(err == nil)
		session, err := guard.Get(r, "session")
		check(err == nil)
		for k, v := range values {
			session.Values[k] = v
		}
		page(w, r)
	}))
}

// userNames are the names of many users, all of the same length, one after another. One string
// costs the garbage collector nothing.
var userNames = func() string {
	var names strings.Builder
	for i := range maxUsers {
		fmt.Fprintf(&names, "user%06d", i)
	}
	return names.String()
}()

// maxUsers is more than log in in one turn.
const maxUsers = 1 << 18

// userName returns the name of user i, who is another one for each i below maxUsers.
func userName(i int) string {
	length := len(userNames) / maxUsers
	i %= maxUsers
	return userNames[i*length : (i+1)*length]
}

// check ends the run if a subject does not work, since its figures would mean nothing.
func check(ok bool) {
	if !ok {
		panic("a subject does not do what it is measured for")
	}
}

// loggedIn logs in Ada n times, and returns a request for the page with the cookies of each.
func (s subject) loggedIn(t testing.TB, n int) (requests []*http.Request) {
	t.Helper()
	return s.loggedInAs(t, slices.Repeat([]string{ada.id}, n)...)
}

// loggedInAs logs in users, and returns a request for the page with the cookies of each.
func (s subject) loggedInAs(t testing.TB, users ...string) (requests []*http.Request) {
	t.Helper()
	for _, user := range users {
		w := httptest.NewRecorder()
		s.login.ServeHTTP(w, httptest.NewRequest("POST", "/login?"+user, nil))
		response := w.Result()
		if response.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(response.Body)
			t.Fatal(s.name, response.Status, string(text))
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", cookieHeader(response))
		requests = append(requests, r)
	}
	return requests
}

// cookieHeader returns the Cookie header that a browser sends after a response.
func cookieHeader(response *http.Response) string {
	var pairs []string
	for _, c := range response.Cookies() {
		if c.MaxAge >= 0 {
			pairs = append(pairs, fmt.Sprintf("%s=%s", c.Name, c.Value))
		}
	}
	return strings.Join(pairs, "; ")
}
