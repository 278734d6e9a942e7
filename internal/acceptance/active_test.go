package acceptance

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// A chat is a stream whose test says when a person does something on it, and learns what Active
// returns.
type chat struct {
	s        *site
	messages chan struct{}
	results  chan error
	cause    error // of the end of the stream's context, when Active was last called
}

// addChat adds a stream at GET /chat behind wrap. If hijack is true, it takes the connection and
// leaves it to a goroutine.
func (s *site) addChat(hijack bool, wrap func(http.Handler) http.Handler) *chat {
	c := &chat{s: s, messages: make(chan struct{}), results: make(chan error)}
	s.T.Cleanup(func() { close(c.messages) })
	s.mux.Handle("GET /chat", wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hijack {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				s.Error(err)
				return
			}
			rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
			rw.Flush()
			go func() {
				defer conn.Close()
				c.serve(r)
			}()
			return
		}
		io.WriteString(w, "hello\n")
		http.NewResponseController(w).Flush()
		c.serve(r)
	})))
	return c
}

func (c *chat) serve(r *http.Request) {
	for range c.messages {
		err := c.s.guard.Active(r)
		c.cause = context.Cause(r.Context())
		c.results <- err
	}
}

// say sends a message and returns what Active has returned.
func (c *chat) say() error { c.messages <- struct{}{}; return <-c.results }

// join opens the chat, on the connection of a WebSocket if upgrade is true.
func (b *browser) join(upgrade bool) {
	b.t.Helper()
	var header []string
	if upgrade {
		header = []string{"Connection", "Upgrade", "Upgrade", "test", "Sec-Fetch-Site", "same-origin"}
	}
	resp, err := b.Client.Do(b.Request("GET", "/chat", header...))
	require.NoError(b.t, err)
	b.t.Cleanup(func() { resp.Body.Close() })
}

// chats runs a test with a chat on every backend: events and a WebSocket, each passive and
// behind CancelOnEnd.
func chats(t *testing.T, test func(s *site, backend *failingBackend, c *chat, join func(*browser))) {
	t.Helper()
	for name, hijack := range map[string]bool{"events": false, "WebSocket": true} {
		t.Run(name, func(t *testing.T) {
			onEveryBackend(t, func(s *site, backend *failingBackend, _ bool) {
				c := s.addChat(hijack, s.passiveCancelOnEnd)
				test(s, backend, c, func(b *browser) { b.join(hijack) })
			})
		})
	}
}

// L1: what a person does on a stream keeps the session and the stream alive, and nothing else
// about it does.
func TestActiveKeepsTheSessionAndItsStreamAlive(t *testing.T) {
	chats(t, func(s *site, backend *failingBackend, c *chat, join func(*browser)) {
		b := s.browse()
		b.login("ada")
		join(b)
		for range 4 {
			advance(idle - time.Millisecond)
			require.NoError(s.T, c.say())
			require.NotErrorIs(s.T, c.cause, sessionguard.ErrSessionEnded)
		}
		require.Equal(s.T, int(idle.Seconds()), statusOf(b).Idle)
		if backend != nil {
			before := backend.callCounts()
			for range 120 { // two messages a second
				advance(time.Second / 2)
				require.NoError(s.T, c.say())
			}
			require.Equal(s.T, 1, callsSince(backend, before)["Touch"], "once per 1/30 of the idle timeout")
		}
		advance(idle - time.Millisecond)
		require.True(s.T, b.loggedIn())
		advance(time.Millisecond)
		require.False(s.T, b.loggedIn(), "an open stream alone keeps nothing alive")
	})
}

// L1, L2, L3: what has ended stays ended.
func TestActiveBringsNoSessionBack(t *testing.T) {
	for name, end := range map[string]func(*site, *browser){
		"logout":       func(_ *site, b *browser) { b.Post("/logout") },
		"EndUser":      func(s *site, _ *browser) { _ = s.guard.EndUser(context.Background(), "ada") },
		"another user": func(_ *site, b *browser) { b.login("grace") },
		"idle timeout": func(*site, *browser) { advance(idle) },
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				c := s.addChat(true, s.guard.RequireLogin) // nothing ends this stream
				b := s.browse()
				b.login("ada")
				old := s.copyOf(b)
				b.join(true)
				advance(2 * time.Minute)
				require.NoError(s.T, c.say())
				advance(2 * time.Minute)
				end(s, b)
				for range 3 {
					require.ErrorIs(s.T, c.say(), sessionguard.ErrNoSession)
					require.False(s.T, old.loggedIn())
					advance(2 * time.Minute)
				}
			})
		})
	}
	t.Run("absolute timeout", func(t *testing.T) {
		onBoth(t, func(s *site, _ *failingBackend) {
			c := s.addChat(true, s.guard.RequireLogin)
			b := s.browse()
			b.login("ada")
			b.join(true)
			for range 36 {
				require.NoError(s.T, c.say())
				advance(absolute / 36)
			}
			require.ErrorIs(s.T, c.say(), sessionguard.ErrNoSession)
			require.False(s.T, b.loggedIn())
		})
	})
}

// A session goes on when its user logs in again, and so do its streams.
func TestActiveFollowsTheSessionThroughReauthentication(t *testing.T) {
	chats(t, func(s *site, _ *failingBackend, c *chat, join func(*browser)) {
		b := s.browse()
		b.login("ada")
		join(b)
		for range 3 {
			advance(10 * time.Minute)
			b.login("ada")
			advance(2 * time.Minute)
			require.Equal(s.T, "secret of ada", b.Get("/home").Body, "the new token is used")
			advance(10 * time.Minute)
			require.NoError(s.T, c.say())
			require.Equal(s.T, int(idle.Seconds()), statusOf(b).Idle)
		}
		b.Post("/logout")
		require.False(s.T, b.loggedIn())
	})
}

// A failing backend ends no stream: the next message is recorded when it has recovered, and the
// deadline that the stream knows is that of the last message.
func TestActiveWhileTheBackendFails(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = watchedBackend{backend} })
		c := s.addChat(false, s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		b.join(false)
		s.events.take()
		advance(28*time.Minute + time.Millisecond)
		require.NoError(t, c.say())
		backend.failOn("*")
		advance(10 * time.Minute)
		before := backend.callCounts()
		for range 10 {
			require.ErrorIs(t, c.say(), sessionguard.ErrUnavailable)
		}
		require.NoError(t, c.cause)
		require.Equal(t, map[string]int{"Touch": 1}, callsSince(backend, before))
		require.Len(t, s.events.take(sessionguard.EventUnavailable), 1)
		backend.failOn()
		advance(time.Minute)
		require.NoError(t, c.say())
		require.Equal(t, int(idle.Seconds()), statusOf(b).Idle)
	})
}

// The token of a revived session that no browser has used yet stays unused, whatever is done on
// a connection that was begun with the one before: it may have been lost.
func TestActiveLeavesANewTokenUnused(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		c := s.addChat(true, s.guard.RequireLogin)
		b := s.browse()
		b.login("ada")
		advance(idle)
		lost := s.copyOf(b)
		require.NotNil(s.T, lost.Get("/home").Cookie(sessionCookie), "a new token, in a response that b does not get")
		b.join(true)
		advance(5 * time.Minute)
		require.NoError(s.T, c.say())
		require.Equal(s.T, "secret of ada", b.Get("/home").Body, "the superseded token still counts")
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
	})
}

func TestActiveErrors(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		result := make(chan error, 1)
		active := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { result <- s.guard.Active(r) })
		s.mux.Handle("GET /active", active)
		s.mux.HandleFunc("GET /begun", func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			active(w, r)
		})
		s.mux.HandleFunc("GET /ended", func(w http.ResponseWriter, r *http.Request) {
			_ = s.guard.End(w, r)
			active(w, r)
		})
		b := s.browse()
		b.Get("/active")
		require.ErrorIs(s.T, <-result, sessionguard.ErrNoSession)
		b.login("ada")
		advance(2 * time.Minute)
		b.Get("/active")
		require.NoError(s.T, <-result)
		require.Equal(s.T, int(idle.Seconds()), statusOf(b).Idle)
		b.Get("/begun")
		require.ErrorIs(s.T, <-result, sessionguard.ErrHeadersSent)
		b.Get("/ended")
		require.ErrorIs(s.T, <-result, sessionguard.ErrNoSession)
		require.ErrorIs(s.T, s.guard.Active(b.Request("GET", "/")), sessionguard.ErrNotWrapped)
	})
}
