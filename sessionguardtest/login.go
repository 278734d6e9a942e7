package sessionguardtest

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testhook"
	"github.com/sessionguard-go/sessionguard/store"
)

// Under GODEBUG=fips140=on, the first random bytes of a process cannot be read inside a
// testing/synctest bubble (Go 1.26.8): their entropy is measured with the clock.
func init() { _, _ = rand.Read(make([]byte, 1)) }

// Login logs user in, as [sessionguard.Guard.Login] does with these options, and gives r
// the session's cookie. r is a request for a handler, or a [Client]. Login returns r.
//
//	r := httptest.NewRequest("GET", "/account", nil)
//	sessionguardtest.Login(t, guard, r, ada, sessionguard.Factors("pwd"))
//
// It is a login like any other: its events are emitted, it counts for Config.MaxSessions,
// and the values of the visitor that r has been so far move into the session. Login also
// proves the factors that Config.Factors requires of user and that the options do not
// name. To test a pending login, call [sessionguard.Guard.Login] in a handler for
// [Serve].
//
// The test fails at once if Login returns an error.
func Login[U sessionguard.User, R *http.Request | *Client](t testing.TB, guard *sessionguard.Guard[U], r R, user U, options ...sessionguard.LoginOption) R {
	t.Helper()
	var missing []string
	logIn := func(options ...sessionguard.LoginOption) {
		t.Helper()
		serve(t, guard, r, "Login", func(w http.ResponseWriter, r *http.Request) error {
			err := guard.Login(w, r, user, options...)
			_, missing, _ = guard.Pending(r)
			return err
		})
	}
	logIn(options...)
	if missing != nil {
		logIn(append(options[:len(options):len(options)], sessionguard.Factors(missing...))...)
	}
	return r
}

// Age makes the login of r's session older by d, as if its user had been active all the
// time. It is for pages behind [sessionguard.Guard.RequireFresh], and for the absolute
// timeout. The times of the session's factors, and until when it is remembered, move too.
// Age returns r.
//
//	sessionguardtest.Age(t, guard, r, 10*time.Minute)
//
// The session gets a new cookie, which only r has. The test fails at once if r has no
// session.
//
// A session that has timed out then ends when it is next used, with the reason. A backend
// on a server may have forgotten it already: then the reason is [store.ReasonExpired].
func Age[U sessionguard.User, R *http.Request | *Client](t testing.TB, guard *sessionguard.Guard[U], r R, d time.Duration) R {
	t.Helper()
	backdate(t, guard, r, "Age", testhook.Shift{By: d, Active: true})
	return r
}

// Idle is [Age] without activity: as if d had passed without a request. Unlike
// [Client.Wait] it needs no testing/synctest, and moves only r's session.
//
//	sessionguardtest.Idle(t, guard, client, 31*time.Minute)
func Idle[U sessionguard.User, R *http.Request | *Client](t testing.TB, guard *sessionguard.Guard[U], r R, d time.Duration) R {
	t.Helper()
	backdate(t, guard, r, "Idle", testhook.Shift{By: d})
	return r
}

func backdate[U sessionguard.User, R *http.Request | *Client](t testing.TB, guard *sessionguard.Guard[U], r R, what string, shift testhook.Shift) {
	t.Helper()
	if shift.By < 0 {
		t.Fatalf("sessionguardtest: %s: %v is negative", what, shift.By)
	}
	b := browserOf(t, r)
	w := httptest.NewRecorder()
	if err := testhook.Backdate(guard, w, b.request(), shift); err != nil {
		t.Fatalf("sessionguardtest: %s: %v", what, err)
	}
	b.keep(w.Result().Cookies())
}

// Serve calls a handler of the test, wrapped in guard.Handler. Use it to put values into
// a session, to read them, or for whatever else the guard does in a handler. r stands for
// a browser, which keeps the cookies that are set. Serve returns r.
//
//	sessionguardtest.Serve(t, guard, r, func(w http.ResponseWriter, r *http.Request) {
//		session, _ := guard.Get(r, "cart")
//		session.Values["items"] = 3
//	})
//
// The handler gets a POST of "/" with r's cookies and other header fields, except those
// that say where a request comes from. The test fails at once if the response is an
// error.
func Serve[U sessionguard.User, R *http.Request | *Client](t testing.TB, guard *sessionguard.Guard[U], r R, handler http.HandlerFunc) R {
	t.Helper()
	serve(t, guard, r, "Serve", func(w http.ResponseWriter, r *http.Request) error {
		handler(w, r)
		return nil
	})
	return r
}

func serve[U sessionguard.User, R *http.Request | *Client](t testing.TB, guard *sessionguard.Guard[U], r R, what string, handler func(http.ResponseWriter, *http.Request) error) {
	t.Helper()
	b := browserOf(t, r)
	var err error
	w := httptest.NewRecorder()
	guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err = handler(w, r)
	})).ServeHTTP(w, b.request())
	if err != nil {
		t.Fatalf("sessionguardtest: %s: %v", what, err)
	}
	if w.Code >= 400 {
		t.Fatalf("sessionguardtest: %s: the response is %d\n%s", what, w.Code, excerpt(w.Body.String()))
	}
	b.keep(w.Result().Cookies())
}

// LoggedIn checks that somebody is logged in with the cookies of r, and returns the user. The
// check is no activity ([sessionguard.Guard.Passive]): it neither keeps the session alive nor
// revives a remembered one.
func LoggedIn[U sessionguard.User, R *http.Request | *Client](t testing.TB, guard *sessionguard.Guard[U], r R) U {
	t.Helper()
	user, ok, reason := whoIs(t, guard, r)
	if !ok {
		t.Fatalf("nobody is logged in%s", because(reason))
	}
	return user
}

// LoggedOut checks that nobody is logged in with the cookies of r, for this reason: see
// [sessionguard.Guard.EndReason]. The reason is "" for a visitor who never was logged in,
// or has logged out in this browser. Like [LoggedIn] it is no activity.
//
//	sessionguardtest.LoggedOut(t, guard, client, store.ReasonIdle)
func LoggedOut[U sessionguard.User, R *http.Request | *Client](t testing.TB, guard *sessionguard.Guard[U], r R, reason store.Reason) {
	t.Helper()
	user, ok, got := whoIs(t, guard, r)
	if ok {
		t.Fatalf("%q is logged in", user.UserID())
	}
	if got != reason {
		t.Fatalf("nobody is logged in%s, want the reason %q", because(got), reason)
	}
}

func because(reason store.Reason) string {
	if reason == "" {
		return " (no session has ended)"
	}
	return fmt.Sprintf(" (reason %q)", reason)
}

func whoIs[U sessionguard.User, R *http.Request | *Client](t testing.TB, guard *sessionguard.Guard[U], r R) (user U, ok bool, reason store.Reason) {
	t.Helper()
	w := httptest.NewRecorder()
	guard.Passive(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, ok = guard.User(r)
		reason = guard.EndReason(r)
	})).ServeHTTP(w, browserOf(t, r).request())
	if w.Code >= 400 {
		t.Fatalf("sessionguardtest: who is logged in cannot be known: the response is %d\n%s", w.Code, excerpt(w.Body.String()))
	}
	return user, ok, reason
}

// A browser is what a request or a client has in common: cookies, and what its requests say.
type browser interface {
	request() *http.Request      // a new one
	keep(cookies []*http.Cookie) // of a response
}

func browserOf[R *http.Request | *Client](t testing.TB, r R) browser {
	t.Helper()
	switch r := any(r).(type) {
	case *http.Request:
		if r != nil {
			return oneRequest{r}
		}
	case *Client:
		if r != nil {
			return r
		}
	}
	t.Fatal("sessionguardtest: the request or client is nil")
	return nil
}

// oneRequest is a browser that is about to send this request.
type oneRequest struct{ *http.Request }

func (b oneRequest) request() *http.Request {
	r := newRequest(b.Context(), b.Host, b.Header)
	if b.RemoteAddr != "" {
		r.RemoteAddr = b.RemoteAddr
	}
	return r
}

func (b oneRequest) keep(cookies []*http.Cookie) {
	for _, changed := range cookies {
		all := b.Cookies()
		b.Header.Del("Cookie")
		for _, c := range all {
			if c.Name != changed.Name {
				b.AddCookie(c)
			}
		}
		if changed.MaxAge >= 0 {
			b.AddCookie(changed)
		}
	}
}
