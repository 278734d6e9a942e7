package main

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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

func TestAStreamIsNoActivityAndShorterThanItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.idle = 3 * time.Second
		s := newSite(t, o)
		b := s.as("ada")
		time.Sleep(2 * time.Second)
		begun := time.Now()
		a := b.get("/events").expect(http.StatusOK, "")
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("the stream took %v", took)
		}
		if strings.Count(a.body, "event: time\n") < 3 {
			t.Errorf("got %q", a.body)
		}
		b.get("/events").expect(http.StatusSeeOther, "/login?next=%2Fevents")

		b = s.as("ada")
		time.Sleep(2 * time.Second)
		b.do("HEAD", "/events", nil).expect(http.StatusOK, "")
		time.Sleep(time.Second)
		b.get("/home").expect(http.StatusSeeOther, "/login?next=%2Fhome")
	})
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.as("ada")
		begun := time.Now()
		b.get("/events").expect(http.StatusOK, "")
		b.do("HEAD", "/events", nil).expect(http.StatusOK, "")
		if took := time.Since(begun); took != maxStream {
			t.Errorf("the streams took %v", took)
		}
	})
}
