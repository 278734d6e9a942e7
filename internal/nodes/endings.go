package nodes

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// What ends on one node has ended on the other.
var endings = []promise{
	{"who logs in on one node is logged in on the other", func(t T, a, b store.Backend) {
		bothWays(t, a, b, func(here, there *node) {
			name, ada := newUser(), browse(t, here)
			ada.login(here, name)
			ada.requireIn(name, here, there)
			ada.at(there).Post("/value?k=cart&v=17")
			require.Equal(t, "17", ada.at(here).Get("/value?k=cart").Body)
		})
	}},
	{"a logout on one node ends every copy on the other", func(t T, a, b store.Backend) {
		bothWays(t, a, b, func(here, there *node) {
			name, ada := newUser(), browse(t, here)
			ada.login(here, name)
			first := ada.copied()
			first.requireIn(name, there)
			ada.login(there, name) // again, which replaces the token
			first.requireOut(here, there)
			second := ada.copied()
			second.requireIn(name, here, there)

			require.Equal(t, http.StatusSeeOther, ada.at(here).Post("/logout").StatusCode)
			for _, copy := range []*browser{ada, first, second} {
				copy.requireOut(there, here)
			}
			require.Empty(t, ownedBy(t, here, name))
		})
	}},
	{"who ends a session on one node ends it on the other, and it is told why", func(t T, a, b store.Backend) {
		bothWays(t, a, b, func(here, there *node) {
			name, ada, phone := newUser(), browse(t, here), browse(t, here)
			ada.login(here, name)
			phone.login(there, name)
			ada.requireIn(name, there)
			phone.requireIn(name, here)

			list, err := here.guard.Sessions(t.Context(), name)
			require.NoError(t, err)
			require.Len(t, list, 2)
			require.NoError(t, here.guard.EndSession(t.Context(), name, idOf(t, there, phone)))
			phone.requireEnded(store.ReasonEnded, there, here)
			ada.requireIn(name, there)

			phone.login(there, name)
			require.NoError(t, here.guard.EndUser(t.Context(), name))
			phone.requireEnded(store.ReasonEnded, there, here)
			ada.requireEnded(store.ReasonEnded, there, here)
			require.Empty(t, ownedBy(t, there, name))
		})
	}},
	{"a slow request on one node brings nothing back that was logged out on the other", func(t T, a, b store.Backend) {
		for _, r := range []struct {
			seen  time.Duration // ago: a touch is due or not
			saves string
		}{{0, "k=k&v=v"}, {10 * time.Minute, ""}, {10 * time.Minute, "k=k&v=v"}} {
			bothWays(t, aged{a, r.seen}, aged{b, r.seen}, func(here, there *node) {
				name, ada := newUser(), browse(t, here)
				ada.login(here, name)
				slow := ada.copied()
				finish := slow.begin(there, r.saves)
				require.Equal(t, http.StatusSeeOther, ada.at(here).Post("/logout").StatusCode)
				require.False(t, letIn(finish()), "its page is nobody's any more")
				slow.requireOut(here, there)
				require.Empty(t, ownedBy(t, here, name))
				require.Empty(t, ownedBy(t, there, name))
			})
		}
	}},
}

// bothWays checks with a as the first node and with b.
func bothWays(t T, a, b store.Backend, check func(here, there *node), configure ...func(*config)) {
	t.Helper()
	one, two := newNode(t, a, configure...), newNode(t, b, configure...)
	check(one, two)
	check(two, one)
}

// aged is a backend whose sessions were last active a while before their login, so that
// no test has to wait for that.
type aged struct {
	store.Backend
	by time.Duration
}

func (b aged) Create(ctx context.Context, r store.Record, limit store.Limit) ([]store.Record, error) {
	r.LastSeen = r.LastSeen.Add(-b.by)
	return b.Backend.Create(ctx, r, limit)
}

// ownedBy are the sessions that a user has.
func ownedBy(t T, n *node, user string) []store.Record {
	t.Helper()
	records, err := n.backend.ByOwner(t.Context(), sessionCookie+"="+user)
	require.NoError(t, err)
	return records
}

// idOf is the public ID of a browser's session.
func idOf(t T, n *node, b *browser) string {
	t.Helper()
	var status struct{ Session string }
	require.NoError(t, json.Unmarshal([]byte(b.at(n).Get("/status").Body), &status))
	return status.Session
}

// requireStreamsCut checks that streams end with their session within a time, and no
// other's.
func requireStreamsCut(t T, a, b store.Backend, within time.Duration) {
	t.Helper()
	bothWays(t, a, b, func(here, there *node) {
		name, ada, phone, other := newUser(), browse(t, here), browse(t, here), browse(t, here)
		ada.login(here, name)
		phone.login(here, name)
		other.login(here, newUser())
		loggedOut, ended, others := openStream(t, ada, there), openStream(t, phone, there), openStream(t, other, there)
		require.Equal(t, http.StatusSeeOther, ada.at(here).Post("/logout").StatusCode)
		require.NoError(t, here.guard.EndUser(t.Context(), name))
		timeout := time.After(within)
		for _, s := range []struct {
			lines   <-chan string
			reasons []string
		}{
			// A reason that is of no use to anyone need not be kept for who asks.
			{loggedOut, []string{string(store.ReasonLoggedOut), string(store.ReasonExpired)}},
			{ended, []string{string(store.ReasonEnded)}},
		} {
			select {
			case line := <-s.lines:
				require.Contains(t, s.reasons, line)
			case <-timeout:
				require.Fail(t, "the stream of a session that has ended goes on")
			}
		}
		select {
		case line := <-others:
			require.Fail(t, "another's stream got "+line)
		default:
		}
	})
}

// openStream opens /events and returns what comes after the first line.
func openStream(t T, b *browser, n *node) <-chan string {
	t.Helper()
	resp, err := b.Client.Do(b.at(n).Request("GET", "/events"))
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	lines := make(chan string, 2)
	scanner := bufio.NewScanner(resp.Body)
	require.True(t, scanner.Scan())
	require.Equal(t, "hello", scanner.Text())
	go func() {
		for scanner.Scan() {
			lines <- scanner.Text()
		}
		close(lines)
	}()
	return lines
}
