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

// ASVS 16.3.1, 16.3.2
func TestTheAuditTrailHasEachThingOnce(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.reasons()
		s.devices()
		b, admin := s.browse(), s.browse()
		for _, browser := range []*browser{b, admin} {
			browser.Header.Set("User-Agent", "test/1")
		}
		// one does something, and checks what was heard of it
		one := func(what func(), want ...sessionguard.Event) {
			s.T.Helper()
			what()
			got := s.events.take()
			for i := range got {
				for _, cookie := range b.Received() {
					if cookie.Value != "" {
						require.NotContains(s.T, fmt.Sprintf("%+v", got[i]), cookie.Value)
					}
				}
				if got[i].SessionHash != "" {
					require.Len(s.T, got[i].SessionHash, 16)
					got[i].SessionHash = "the session"
				}
				if got[i].Method != "" {
					require.Equal(s.T, "pipe", got[i].Address)
					require.Equal(s.T, "test/1", got[i].UserAgent)
					got[i].Address, got[i].UserAgent = "", ""
				}
			}
			if len(want) == 0 {
				want = nil
			}
			require.Equal(s.T, want, got)
		}
		const ada = "the session"
		get := func(path string) func() { return func() { b.Get(path) } }

		one(get("/home"), sessionguard.Event{Name: sessionguard.EventRefused, Code: "login_required", Method: "GET", Path: "/home"})
		one(func() { b.login("ada") }, sessionguard.Event{Name: sessionguard.EventLogin, UserID: "ada", SessionHash: ada, Method: "POST", Path: "/login"})
		one(get("/home"))
		one(get("/admin"), sessionguard.Event{Name: sessionguard.EventRefused, UserID: "ada", SessionHash: ada, Code: "forbidden", Method: "GET", Path: "/admin"})
		advance(5 * time.Minute)
		one(get("/fresh"), sessionguard.Event{Name: sessionguard.EventRefused, UserID: "ada", SessionHash: ada, Code: "reauthentication_required", Method: "GET", Path: "/fresh"})
		one(func() { b.login("ada") }, sessionguard.Event{Name: sessionguard.EventReauthenticated, UserID: "ada", SessionHash: ada, Method: "POST", Path: "/login"})
		one(func() { b.Post("/value", "Sec-Fetch-Site", "cross-site") },
			sessionguard.Event{Name: sessionguard.EventRefused, Code: "cross_origin", Count: 1, Method: "POST", Path: "/value"})
		advance(idle)
		one(get("/poll"), sessionguard.Event{Name: sessionguard.EventRefused, Code: "login_required", Reason: store.ReasonRemembered, Method: "GET", Path: "/poll"})
		one(get("/home"), sessionguard.Event{Name: sessionguard.EventRevived, UserID: "ada", SessionHash: ada, Method: "GET", Path: "/home"})
		one(func() { b.Post("/logout") }, sessionguard.Event{Name: sessionguard.EventLogout, UserID: "ada", SessionHash: ada, Reason: store.ReasonLoggedOut, Method: "POST", Path: "/logout"})

		s.loginOptions = nil
		one(func() { b.login("ada"); s.events.take(); advance(idle); b.Get("/") },
			sessionguard.Event{Name: sessionguard.EventExpired, UserID: "ada", SessionHash: ada, Reason: store.ReasonIdle, Method: "GET", Path: "/"})
		one(get("/"))

		one(func() { b.login("ada"); admin.login("grace"); s.events.take(); admin.Post("/everywhere?user=ada") },
			sessionguard.Event{Name: sessionguard.EventEnded, UserID: "ada", SessionHash: ada, Reason: store.ReasonEnded, Actor: "grace", Method: "POST", Path: "/everywhere"})
		one(func() {
			b.login("ada")
			s.events.take()
			require.NoError(s.T, s.guard.EndUser(context.Background(), "ada"))
		},
			sessionguard.Event{Name: sessionguard.EventEnded, UserID: "ada", SessionHash: ada, Reason: store.ReasonEnded})
		one(func() {
			b.login("ada")
			s.events.take()
			s.users.change("ada", func(u *user) { u.Stamp = "new" })
			b.Get("/")
		}, sessionguard.Event{Name: sessionguard.EventEnded, UserID: "ada", SessionHash: ada, Reason: store.ReasonCredentialsChanged, Method: "GET", Path: "/"})
		one(func() {
			s.users.change("ada", func(u *user) { u.Inactive = true })
			b.Post("/login?user=ada")
		}, sessionguard.Event{Name: sessionguard.EventRefused, UserID: "ada", Code: "deactivated", Method: "POST", Path: "/login"})
	})
}

// The session of an event is the same in all of them, and no ID of anything.
func TestAnEventNamesItsSessionByAHash(t *testing.T) {
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

// Anyone can send cookies without end.
func TestStrangeCookiesAreToldOfOnceASecond(t *testing.T) {
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
		for _, name := range []sessionguard.EventName{sessionguard.EventUnknownCookie, sessionguard.EventForgedCookie} {
			events := slices.Clone(s.events.all)
			events = slices.DeleteFunc(events, func(e sessionguard.Event) bool { return e.Name != name })
			require.Len(s.T, events, 2, name)
			require.Equal(s.T, 1, events[0].Count)
			require.Equal(s.T, 100, events[1].Count)
			require.Empty(s.T, events[0].UserID)
		}
		// One that is too short to be ours, and two at once.
		s.events.take()
		advance(time.Second)
		s.browse().Get("/", "Cookie", sessionCookie+"=x")
		advance(time.Second)
		s.browse().Get("/", "Cookie", sessionCookie+"="+cookies[sessionCookie]+"; "+sessionCookie+"="+cookies[sessionCookie])
		require.Len(s.T, s.events.take(sessionguard.EventForgedCookie), 2)
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
		require.Equal(t, "DEBUG", read()["level"], "every visitor knocks at some gate")
		require.Empty(t, strings.TrimSpace(b.String()))
	})
}

// An event is for one place: who has OnEvent says what is logged.
func TestOnEventIsInPlaceOfTheLog(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		b := s.browse()
		b.login("ada")
		b.Post("/logout")
		require.Empty(t, s.log.String())
		require.Len(t, s.events.take(), 2)
	})
}
