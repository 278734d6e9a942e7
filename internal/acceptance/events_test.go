package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// requireEvents runs do and requires exactly the wanted events. They contain no cookie
// that b has received. A SessionHash counts as sessionHash, and the client's address and
// User-Agent are checked but not compared with want.
func (s *site) requireEvents(b *browser, do func(), want ...sessionguard.Event) {
	s.Helper()
	do()
	got := s.events.take()
	for i := range got {
		e := &got[i]
		for _, cookie := range b.Received() {
			if cookie.Value != "" {
				require.NotContains(s.T, fmt.Sprintf("%+v", *e), cookie.Value)
			}
		}
		if e.SessionHash != "" {
			require.Len(s.T, e.SessionHash, 16)
			e.SessionHash = sessionHash
		}
		if e.Method != "" {
			require.Equal(s.T, "pipe", e.Address)
			require.Equal(s.T, "test/1", e.UserAgent)
			e.Address, e.UserAgent = "", ""
		}
	}
	if len(want) == 0 {
		want = nil
	}
	require.Equal(s.T, want, got)
}

const sessionHash = "the hash of the session"

// ASVS 16.3.1, 16.3.2
func TestAuditTrailHasEachEventOnce(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.addReasonRoutes()
		s.addSessionsRoute()
		b, admin := s.browse(), s.browse()
		for _, browser := range []*browser{b, admin} {
			browser.Header.Set("User-Agent", "test/1")
		}
		after := func(do func(), want ...sessionguard.Event) { s.Helper(); s.requireEvents(b, do, want...) }
		get := func(path string) func() { return func() { b.Get(path) } }

		after(get("/home"), sessionguard.Event{Name: sessionguard.EventRefused, Code: "login_required", Count: 1, Method: "GET", Path: "/home"})
		after(func() { b.login("ada") }, sessionguard.Event{Name: sessionguard.EventLogin, UserID: "ada", SessionHash: sessionHash, Method: "POST", Path: "/login"})
		after(get("/home"))
		after(get("/admin"), sessionguard.Event{Name: sessionguard.EventRefused, UserID: "ada", SessionHash: sessionHash, Code: "forbidden", Method: "GET", Path: "/admin"})
		advance(5 * time.Minute)
		after(get("/fresh"), sessionguard.Event{Name: sessionguard.EventRefused, UserID: "ada", SessionHash: sessionHash, Code: "reauthentication_required", Method: "GET", Path: "/fresh"})
		after(func() { b.login("ada") }, sessionguard.Event{Name: sessionguard.EventReauthenticated, UserID: "ada", SessionHash: sessionHash, Method: "POST", Path: "/login"})
		after(func() { b.Post("/value", "Sec-Fetch-Site", "cross-site") },
			sessionguard.Event{Name: sessionguard.EventRefused, Code: "cross_origin", Count: 1, Method: "POST", Path: "/value"})
		advance(idle)
		after(get("/poll"), sessionguard.Event{Name: sessionguard.EventRefused, Code: "login_required", Count: 1, Reason: store.ReasonRemembered, Method: "GET", Path: "/poll"})
		after(get("/home"), sessionguard.Event{Name: sessionguard.EventRevived, UserID: "ada", SessionHash: sessionHash, Method: "GET", Path: "/home"})
		after(func() { b.Post("/logout") }, sessionguard.Event{Name: sessionguard.EventLogout, UserID: "ada", SessionHash: sessionHash, Reason: store.ReasonLoggedOut, Method: "POST", Path: "/logout"})

		s.loginOptions = nil
		after(func() { b.login("ada"); s.events.take(); advance(idle); b.Get("/") },
			sessionguard.Event{Name: sessionguard.EventExpired, UserID: "ada", SessionHash: sessionHash, Reason: store.ReasonIdle, Method: "GET", Path: "/"})
		after(get("/"))

		after(func() { b.login("ada"); admin.login("grace"); s.events.take(); admin.Post("/everywhere?user=ada") },
			sessionguard.Event{Name: sessionguard.EventEnded, UserID: "ada", SessionHash: sessionHash, Reason: store.ReasonEnded, Actor: "grace", Method: "POST", Path: "/everywhere"})
		after(func() {
			b.login("ada")
			s.events.take()
			require.NoError(s.T, s.guard.EndUser(context.Background(), "ada"))
		},
			sessionguard.Event{Name: sessionguard.EventEnded, UserID: "ada", SessionHash: sessionHash, Reason: store.ReasonEnded})
		after(func() {
			b.login("ada")
			s.events.take()
			s.users.change("ada", func(u *user) { u.Stamp = "new" })
			b.Get("/")
		}, sessionguard.Event{Name: sessionguard.EventEnded, UserID: "ada", SessionHash: sessionHash, Reason: store.ReasonCredentialsChanged, Method: "GET", Path: "/"})
		after(func() {
			s.users.change("ada", func(u *user) { u.Inactive = true })
			b.Post("/login?user=ada")
		}, sessionguard.Event{Name: sessionguard.EventRefused, UserID: "ada", Code: "deactivated", Method: "POST", Path: "/login"})
	})
}

// All events of a session have the same SessionHash, which is not an ID of the session.
func TestEventsNameTheSessionByItsHash(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		b, other := s.browse(), s.browse()
		b.login("ada")
		id := statusOf(b).Session
		b.Get("/admin")
		b.login("ada")
		b.Post("/logout")
		other.login("ada")
		events := s.events.take()
		require.Len(t, events, 5)
		for _, e := range events[1:4] {
			require.Equal(t, events[0].SessionHash, e.SessionHash)
		}
		require.NotEqual(t, events[0].SessionHash, events[4].SessionHash)
		require.NotContains(t, id, events[0].SessionHash)
		require.ErrorIs(t, s.guard.EndSession(t.Context(), "ada", events[4].SessionHash), sessionguard.ErrNoSession)
	})
}

// Clients can send any number of invalid cookies.
func TestInvalidCookieEventsAreEmittedOncePerSecond(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		cookies := b.Cookies()
		b.Post("/logout")
		unknown, forged := s.browse(), s.browse()
		unknown.SetCookies(cookies)
		flipped := []byte(cookies[sessionCookie])
		flipped[60] ^= 1
		forged.SetCookies(map[string]string{sessionCookie: string(flipped)})
		s.events.take()
		for range 100 {
			unknown.Get("/")
			forged.Get("/")
			advance(10 * time.Millisecond)
		}
		unknown.Get("/")
		forged.Get("/")
		for _, name := range []sessionguard.EventName{sessionguard.EventUnknownCookie, sessionguard.EventUnverifiedCookie} {
			events := slices.Clone(s.events.all)
			events = slices.DeleteFunc(events, func(e sessionguard.Event) bool { return e.Name != name })
			require.Len(s.T, events, 2, name)
			require.Equal(s.T, 1, events[0].Count)
			require.Equal(s.T, 100, events[1].Count)
			require.Empty(s.T, events[0].UserID)
		}
		// A value that is too short to be signed by us, and two that are.
		s.events.take()
		advance(time.Second)
		s.browse().Get("/", "Cookie", sessionCookie+"=x")
		advance(time.Second)
		s.browse().Get("/", "Cookie", sessionCookie+"=x; "+sessionCookie+"=y")
		require.Len(s.T, s.events.take(sessionguard.EventUnverifiedCookie), 2)
	})
}

func TestEventsAreLoggedByDefault(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		var b bytes.Buffer
		log := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.OnEvent, c.Logger, c.Backend = nil, log, backend })
		read := func() (record map[string]any) {
			line, err := b.ReadBytes('\n')
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(line, &record))
			delete(record, "time")
			return record
		}
		browser := s.browse()
		browser.login("ada")
		first := read()
		session := first["session"].(map[string]any)["id"]
		require.Equal(t, map[string]any{
			"level": "INFO", "msg": "sessionguard: logged in",
			"event":      map[string]any{"name": "sessionguard.logged_in"},
			"user":       map[string]any{"id": "ada"},
			"session":    map[string]any{"id": session},
			"client":     map[string]any{"address": "pipe"},
			"http":       map[string]any{"request": map[string]any{"method": "POST"}},
			"url":        map[string]any{"path": "/login"},
			"user_agent": map[string]any{"original": "Go-http-client/1.1"},
		}, first)

		browser.Get("/admin")
		refused := read()
		require.Equal(t, "WARN", refused["level"])
		require.Equal(t, map[string]any{"code": "forbidden"}, refused["sessionguard"])

		backend.failOn("*")
		browser.Get("/home")
		failed := read()
		require.Equal(t, "ERROR", failed["level"])
		require.Equal(t, map[string]any{"message": errBackendDown.Error()}, failed["exception"])
		backend.failOn()

		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		ended := read()
		require.Equal(t, "INFO", ended["level"])
		require.Equal(t, map[string]any{"reason": "ended"}, ended["sessionguard"])
		require.NotContains(t, ended, "http")

		s.browse().Get("/home")
		require.Equal(t, "DEBUG", read()["level"], "refused visitors are ordinary")
		require.Empty(t, strings.TrimSpace(b.String()))
	})
}

// With OnEvent, the guard does not log events itself.
func TestOnEventReplacesTheLog(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		b := s.browse()
		b.login("ada")
		b.Post("/logout")
		require.Empty(t, s.log.String())
		require.Len(t, s.events.take(), 2)
	})
}
