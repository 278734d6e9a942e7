package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/cookie"
)

// provenFor sets how long a proof counts.
func provenFor(d time.Duration) func(*sessionguard.Config[isolationUser]) {
	return func(c *sessionguard.Config[isolationUser]) { c.DeviceProof = d }
}

// Whoever copies all cookies has the session for as long as the proof that is among them
// counts, and the browser has it for as long as the user likes.
func TestThiefOfAllCookiesIsRefusedWhenTheProofHasRunOut(t *testing.T) {
	s := newDeviceSite(t, provenFor(3*time.Second))
	s.logInBound("ada")
	thief := s.stealAll()
	s.steal(browserCookie.isBound).refused()
	s.waitFor("the end of the thief's proof", func() bool {
		s.goesOn("ada")
		return !thief.isIn()
	})
	for range 3 {
		thief.refused()
		s.goesOn("ada")
	}
	s.open("/page")
	s.until(shows, "/page", "the secret of ada")
	thief.refused()
	if codes := s.eventCodes(sessionguard.EventDeviceUnproven); !slices.Contains(codes, "no_proof") {
		t.Errorf("the events' codes are %q", codes)
	}
	if response, _ := thief.try("/bound"); response.StatusCode == http.StatusOK {
		t.Error("RequireBound let the thief in")
	}
}

// A remembered cookie that is two weeks old revives nothing without the device, and neither
// it nor a look at it changes anything for its user.
func TestThiefOfARememberedCookieRevivesNothing(t *testing.T) {
	s := newDeviceSite(t, provenFor(3*time.Second), func(c *sessionguard.Config[isolationUser]) {
		c.RememberFor = 15 * 24 * time.Hour
		c.AbsoluteTimeout = 30 * 24 * time.Hour
	})
	s.logInBound("ada", "remember", "yes")
	all := s.stealAll()
	s.waitFor("the end of the thief's proof", func() bool { return !all.isIn() })
	if status, body := s.fetch("/age?by=336h"); status != http.StatusOK {
		t.Fatal(status, body)
	}
	thief := s.steal(browserCookie.isBound) // the cookie that the session has now, and the old proof
	for _, c := range all.cookies {
		if c.isBound() {
			thief.cookies = append(thief.cookies, c)
		}
	}
	before := s.records("ada")
	thief.refused()
	if response, _ := thief.try("/page"); response.StatusCode == http.StatusOK || gets(response) {
		t.Errorf("the thief got %s and the cookies %v", response.Status, response.Cookies())
	}
	if after := s.records("ada"); len(after) != 1 || after[0].Key != before[0].Key || after[0].LastSeen != before[0].LastSeen {
		t.Errorf("the thief has changed the session: %+v", after)
	}

	s.open("/page")
	s.until(shows, "/page", "the secret of ada")
	if after := s.records("ada"); len(after) != 1 || after[0].ID != before[0].ID || after[0].Key == before[0].Key {
		t.Errorf("the browser has not revived the session: %+v", after)
	}
	thief.refused()
	s.goesOn("ada")
}

// A stream behind CancelUnproven ends with the proof that it began with. An EventSource
// reconnects, and the browser proves the device first. A thief does not come back.
func TestStreamsOfThievesEndWithTheProof(t *testing.T) {
	s := newDeviceSite(t, provenFor(3*time.Second))
	s.logInBound("ada")
	s.open("/page")
	thief := s.stealAll()
	read := make(chan string, 2)
	for _, path := range []string{"/stream", "/long-stream"} {
		go func() {
			response, body, err := thief.request(path)
			if err != nil {
				read <- path + " " + err.Error()
				return
			}
			read <- path + " " + response.Status + " " + strings.TrimSpace(body)
		}()
	}
	must(t, s.Eval(`window.events = 0; window.errors = 0; window.socket = []
		const stream = window.stream = new EventSource("/stream")
		stream.onmessage = () => events++
		stream.onerror = () => { if (stream.readyState === 2) errors++ }
		const ws = new WebSocket("/socket")
		ws.onmessage = (e) => socket.push(e.data)
		ws.onclose = () => socket.push("closed")`, nil))
	next := func() (got string) {
		s.waitFor("the end of the thief's stream", func() bool {
			select {
			case got = <-read:
			default:
			}
			return got != ""
		})
		return got
	}
	if got := next(); !strings.HasPrefix(got, "/stream 200") || !strings.HasSuffix(got, "the secret") {
		t.Errorf("the thief's stream: %s", got)
	}
	thief.refused()
	s.until(`return events >= 3`) // three connections
	s.until(`return socket.join() === "the secret,closed"`)
	if n := s.count("GET", "/stream", http.StatusOK); n < 4 {
		t.Errorf("%d connections of streams", n)
	}
	for _, r := range s.received() {
		if strings.HasPrefix(r.Path, "/stream") && !r.Bound {
			t.Errorf("a stream began without a proof: %+v", r)
		}
	}
	var failed int
	must(t, s.Eval(`stream.close(); return errors`, &failed))
	if failed != 0 {
		t.Errorf("the browser gave up %d streams", failed)
	}
	s.goesOn("ada")
	select {
	case got := <-read:
		t.Errorf("CancelOnEnd has cut a stream whose session lives: %s", got)
	default:
	}
	s.post("/logout")
	s.until(pageLoaded, "/")
	if got := next(); !strings.HasPrefix(got, "/long-stream 200") {
		t.Error(got)
	}
}

// Bound cookies of the session that somebody has planted after its own cost a proof at most: the
// user does not notice.
func TestPlantedBoundCookiesLockNobodyOut(t *testing.T) {
	s := newDeviceSite(t)
	s.logInBound("ada")
	s.open("/page")
	for _, n := range []int{cookie.MaxBound - 1, cookie.MaxBound, cookie.MaxPresented + 4} {
		own := s.boundCookies()[0]
		for i := range n {
			planted := own
			planted.Name = fmt.Sprintf("%sAA%c", own.Name[:len(own.Name)-3], 'A'+i)
			planted.Value = fmt.Sprint(own.Value[:len(own.Value)-1], i)
			s.setCookie(planted)
		}
		s.forget()
		s.open("/page")
		s.until(shows, "/page", "the secret of ada")
		proofs, most := s.count("POST", "/sessionguard/prove", http.StatusOK), 1 // none if Chromium sends its own last
		if n < cookie.MaxBound {
			most = 0
		}
		if proofs > most || s.count("GET", "/login", 0) > 0 {
			t.Errorf("%d planted: %d proofs: %+v", n, proofs, s.received())
		}
		s.expire()
		s.open("/page")
	}
}
