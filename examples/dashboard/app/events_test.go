package app

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
)

func TestEventsOutlastTheServersTimeouts(t *testing.T) {
	s := serve(t, func(server *http.Server) {
		server.ReadTimeout = 300 * time.Millisecond
		server.WriteTimeout = 300 * time.Millisecond
	})
	w, next := apptest.Stream(s.as("ada"))
	if w.StatusCode != http.StatusOK || w.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", w.StatusCode, w.Header)
	}
	testbrowser.Response{Response: w, T: t}.NoStore()
	for range 2 {
		if _, err := time.Parse(time.RFC3339, next()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEventsEndWithTheServer(t *testing.T) {
	s := serve(t)
	_, next := apptest.Stream(s.as("ada"))
	next()
	s.app.guard.EndStreams()
	if data := next(); data != "" {
		t.Errorf("one more event: %q", data)
	}
}

func TestEventsAreForWhoeverIsLoggedIn(t *testing.T) {
	b := serve(t).browse()
	if w, _ := apptest.Stream(b); w.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger got %d", w.StatusCode)
	}
}

func TestAStreamIsNoActivityAndEndsWithItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.Idle = 3 * time.Second
		s := newSite(t, o)
		b := s.as("ada")
		begun := time.Now()
		a := b.Get("/events").Expect(http.StatusOK, "")
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("the stream took %v", took)
		}
		if strings.Count(a.Body, "event: time\n") < 3 || !strings.HasSuffix(a.Body, "event: ended\ndata: idle\n\n") {
			t.Errorf("got %q", a.Body)
		}
		isOut(b, "/events", store.ReasonIdle)

		b = s.as("ada")
		time.Sleep(2 * time.Second)
		b.Do(b.Request("HEAD", "/events")).Expect(http.StatusOK, "")
		time.Sleep(time.Second)
		isOut(b, "/home", store.ReasonIdle)
	})
}

func TestAStreamLastsAsLongAsItsSessionAndSaysWhyNot(t *testing.T) {
	for name, end := range map[store.Reason]func(*site, *testbrowser.Browser){
		store.ReasonLoggedOut: func(_ *site, b *testbrowser.Browser) { b.Copy().PostForm("/logout").Expect(http.StatusSeeOther, "/") },
		store.ReasonLoggedOutElsewhere: func(s *site, _ *testbrowser.Browser) {
			s.as("ada").PostForm("/account/sessions/end-others").Expect(http.StatusSeeOther, "/account/sessions")
		},
		store.ReasonEnded: func(s *site, _ *testbrowser.Browser) {
			s.as("grace").PostForm("/admin/users/ada/sessions/end").Expect(http.StatusSeeOther, "/admin/users/ada/sessions")
		},
		store.ReasonDeactivated: func(s *site, _ *testbrowser.Browser) {
			s.as("grace").PostForm("/admin/users/ada/deactivate").Expect(http.StatusSeeOther, "/admin")
		},
		store.ReasonCredentialsChanged: func(s *site, _ *testbrowser.Browser) {
			s.as("ada").PostForm("/account/password", "current", "analytical-engine", "password", "a new analytical engine").
				Expect(http.StatusSeeOther, "/account")
		},
		store.ReasonTooManySessions: func(s *site, _ *testbrowser.Browser) {
			for range s.app.Sessions {
				s.as("ada")
			}
		},
	} {
		t.Run(string(name), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, testOptions())
				b := s.as("ada")
				begun := time.Now()
				var ending sync.WaitGroup
				defer ending.Wait() // the stream may be over before the response to what ends it
				ending.Go(func() {
					time.Sleep(20*time.Minute + time.Millisecond)
					end(s, b)
				})
				a := b.Get("/events").Expect(http.StatusOK, "")
				if took := time.Since(begun); took != 20*time.Minute+time.Millisecond {
					t.Errorf("the stream took %v", took)
				}
				if !strings.HasSuffix(a.Body, "event: ended\ndata: "+string(name)+"\n\n") {
					t.Errorf("the end was %q", a.Body[max(0, len(a.Body)-100):])
				}
			})
		})
	}
}

// stalls notes for how long each write may take.
type stalls struct {
	*httptest.ResponseRecorder
	allowed []time.Duration
}

func (s *stalls) SetWriteDeadline(at time.Time) error {
	s.allowed = append(s.allowed, time.Until(at))
	return nil
}

func TestEveryEventIsDueWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		r := httptest.NewRequest("GET", s.url+"/events", nil)
		for name, value := range s.as("ada").Cookies() {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		w := &stalls{ResponseRecorder: httptest.NewRecorder()}
		time.AfterFunc(2500*time.Millisecond, s.app.guard.EndStreams)
		s.handler.ServeHTTP(w, r)
		if !slices.Equal(w.allowed, []time.Duration{maxStall, maxStall, maxStall}) {
			t.Errorf("allowed %v", w.allowed)
		}
	})
}

func TestOnlyTheLivePageOpensAStream(t *testing.T) {
	s := serve(t)
	b := s.as("grace")
	b.Get("/live").Expect(http.StatusOK, "").Contains(`src="/static/live.js"`, `role="status"`, `id="clock"`)
	for _, path := range []string{"/", "/home", "/account", "/admin", "/reauth", "/account/sessions", "/admin/users/ada/sessions"} {
		b.Get(path).Expect(http.StatusOK, "").Lacks("live.js")
	}
	for _, path := range []string{"/home", "/account"} {
		b.Get(path).Contains(`href="/live"`)
	}
}
