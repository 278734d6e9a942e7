package main

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// stream opens /events and returns a function that waits for the next event's
// data, "" at the end.
func (b *browser) stream() (*http.Response, func() string) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), "GET", b.url+"/events", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	w, err := b.client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { w.Body.Close() })
	lines := bufio.NewScanner(w.Body)
	return w, func() string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		return ""
	}
}

func TestEventsOutlastTheServersTimeouts(t *testing.T) {
	s := serve(t, func(server *http.Server) {
		server.ReadTimeout = 300 * time.Millisecond
		server.WriteTimeout = 300 * time.Millisecond
	})
	w, next := s.as("ada").stream()
	if w.StatusCode != http.StatusOK || w.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", w.StatusCode, w.Header)
	}
	answer{w, t, ""}.noStore()
	for range 2 {
		if _, err := time.Parse(time.RFC3339, next()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEventsEndWithTheServer(t *testing.T) {
	s := serve(t)
	_, next := s.as("ada").stream()
	next()
	s.app.stop()
	if data := next(); data != "" {
		t.Errorf("one more event: %q", data)
	}
}

func TestEventsAreForWhoeverIsLoggedIn(t *testing.T) {
	b := serve(t).browse()
	if w, _ := b.stream(); w.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger got %d", w.StatusCode)
	}
}

func TestAStreamIsNoActivityAndEndsWithItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.idle = 3 * time.Second
		s := newSite(t, o)
		b := s.as("ada")
		begun := time.Now()
		a := b.get("/events").expect(http.StatusOK, "")
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("the stream took %v", took)
		}
		if strings.Count(a.body, "event: time\n") < 3 || !strings.HasSuffix(a.body, "event: ended\ndata: idle\n\n") {
			t.Errorf("got %q", a.body)
		}
		b.isOut("/events", store.Idle)

		b = s.as("ada")
		time.Sleep(2 * time.Second)
		b.do("HEAD", "/events", nil).expect(http.StatusOK, "")
		time.Sleep(time.Second)
		b.isOut("/home", store.Idle)
	})
}

func TestAStreamLastsAsLongAsItsSessionAndSaysWhyNot(t *testing.T) {
	for name, end := range map[store.Reason]func(*site, *browser){
		store.LoggedOut: func(_ *site, b *browser) { b.copy().post("/logout").expect(http.StatusSeeOther, "/") },
		store.Elsewhere: func(s *site, _ *browser) {
			s.as("ada").post("/account/sessions/end-others").expect(http.StatusSeeOther, "/account/sessions")
		},
		store.Ended: func(s *site, _ *browser) {
			s.as("grace").post("/admin/users/ada/sessions/end").expect(http.StatusSeeOther, "/admin/users/ada/sessions")
		},
		store.Inactive: func(s *site, _ *browser) {
			s.as("grace").post("/admin/users/ada/deactivate").expect(http.StatusSeeOther, "/admin")
		},
		store.Restamped: func(s *site, _ *browser) {
			s.as("ada").post("/account/password", "current", "analytical-engine", "password", "a new analytical engine").
				expect(http.StatusSeeOther, "/account")
		},
		store.TooMany: func(s *site, _ *browser) {
			for range s.app.sessions {
				s.as("ada")
			}
		},
	} {
		t.Run(string(name), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, testOptions())
				b := s.as("ada")
				begun := time.Now()
				go func() {
					time.Sleep(20*time.Minute + time.Millisecond)
					end(s, b)
				}()
				a := b.get("/events").expect(http.StatusOK, "")
				if took := time.Since(begun); took != 20*time.Minute+time.Millisecond {
					t.Errorf("the stream took %v", took)
				}
				if !strings.HasSuffix(a.body, "event: ended\ndata: "+string(name)+"\n\n") {
					t.Errorf("the end was %q", a.body[max(0, len(a.body)-100):])
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
		for _, cookie := range s.as("ada").cookies() {
			r.AddCookie(cookie)
		}
		w := &stalls{ResponseRecorder: httptest.NewRecorder()}
		time.AfterFunc(2500*time.Millisecond, s.app.stop)
		s.handler.ServeHTTP(w, r)
		if !slices.Equal(w.allowed, []time.Duration{maxStall, maxStall, maxStall}) {
			t.Errorf("allowed %v", w.allowed)
		}
	})
}

func TestOnlyTheLivePageOpensAStream(t *testing.T) {
	s := serve(t)
	b := s.as("grace")
	b.get("/live").expect(http.StatusOK, "").contains(`src="/static/live.js"`, `role="status"`, `id="clock"`)
	for _, path := range []string{"/", "/home", "/account", "/admin", "/reauth", "/account/sessions", "/admin/users/ada/sessions"} {
		b.get(path).expect(http.StatusOK, "").lacks("live.js")
	}
	for _, path := range []string{"/home", "/account"} {
		b.get(path).contains(`href="/live"`)
	}
}
