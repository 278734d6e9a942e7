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

// endings are promises about a session that ends on one node.
var endings = []promise{
	{"a user who logs in on one node is logged in on the other", func(t T, a, b store.Backend) {
		bothWays(t, a, b, func(here, there *node) {
			name, ada := newUser(), browse(t, here)
			ada.login(here, name)
			ada.requireIn(name, here, there)
			ada.at(there).Post("/value?k=cart&v=17")
			require.Equal(t, "17", ada.at(here).Get("/value?k=cart").Body)
		})
	}},
	{"a logout on one node ends every copy of the cookie on the other", func(t T, a, b store.Backend) {
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
	{"a session ended on one node has ended on the other, which knows the reason", func(t T, a, b store.Backend) {
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
	{"acting for a user on one node ends on the other with the actor's own session", func(t T, a, b store.Backend) {
		bothWays(t, a, b, func(here, there *node) {
			name, actor, grace := newUser(), newUser(), browse(t, here)
			grace.login(here, actor)
			before := grace.copied()
			require.Equal(t, http.StatusOK, grace.at(there).Post("/act?user="+name).StatusCode)
			during := grace.copied()
			grace.requireIn(name, here, there)
			require.Empty(t, ownedBy(t, here, name), "it is no login of the user's")
			require.Equal(t, http.StatusSeeOther, grace.at(here).Post("/stop").StatusCode)
			grace.requireIn(actor, here, there)
			for _, old := range []*browser{before, during} {
				old.at(there).Post("/stop")
				old.requireOut(here, there)
			}
			require.Len(t, ownedBy(t, there, actor), 1)

			require.Equal(t, http.StatusOK, grace.at(there).Post("/act?user="+name).StatusCode)
			require.NoError(t, here.guard.EndUser(t.Context(), actor))
			grace.requireEnded(store.ReasonActorEnded, there, here)

			grace.login(here, actor)
			before = grace.copied()
			require.Equal(t, http.StatusOK, grace.at(there).Post("/act?user="+name).StatusCode)
			before.login(here, actor)
			grace.requireEnded(store.ReasonActorEnded, there, here)
			grace.at(there).Post("/stop")
			before.requireIn(actor, there, here)
			before.at(there).Post("/logout")

			grace.login(here, actor)
			before = grace.copied()
			require.Equal(t, http.StatusOK, grace.at(here).Post("/act?user="+name).StatusCode)
			require.Equal(t, http.StatusSeeOther, grace.at(there).Post("/logout").StatusCode)
			before.requireOut(here, there)
			require.Empty(t, ownedBy(t, here, actor))
		})
	}},
	{"a slow request on one node does not bring back a session logged out on the other", func(t T, a, b store.Backend) {
		for _, r := range []struct {
			seen  time.Duration // how long ago the last activity was: a touch is due or not
			saves string
		}{{0, "k=k&v=v"}, {10 * time.Minute, ""}, {10 * time.Minute, "k=k&v=v"}} {
			bothWays(t, aged{a, r.seen}, aged{b, r.seen}, func(here, there *node) {
				name, ada := newUser(), browse(t, here)
				ada.login(here, name)
				slow := ada.copied()
				finish := slow.begin(there, r.saves)
				require.Equal(t, http.StatusSeeOther, ada.at(here).Post("/logout").StatusCode)
				require.False(t, letIn(finish()), "the page of an ended session is shown")
				slow.requireOut(here, there)
				require.Empty(t, ownedBy(t, here, name))
				require.Empty(t, ownedBy(t, there, name))
			})
		}
	}},
}

// bothWays runs check with a as the first node, and with b as the first.
func bothWays(t T, a, b store.Backend, check func(here, there *node), configure ...func(*config)) {
	t.Helper()
	one, two := newNode(t, a, configure...), newNode(t, b, configure...)
	check(one, two)
	check(two, one)
}

// aged is a backend that makes new sessions look inactive for a while, so that a test need
// not wait that long.
type aged struct {
	store.Backend
	by time.Duration
}

func (b aged) Create(ctx context.Context, r store.Record, limit store.Limit) ([]store.Record, error) {
	r.LastSeen = r.LastSeen.Add(-b.by)
	return b.Backend.Create(ctx, r, limit)
}

// ownedBy returns the sessions of a user.
func ownedBy(t T, n *node, user string) []store.Record {
	t.Helper()
	records, err := n.backend.ByOwner(t.Context(), sessionCookie+"="+user, "", store.MaxPage)
	require.NoError(t, err)
	return records
}

// idOf returns the public ID of a browser's session.
func idOf(t T, n *node, b *browser) string {
	t.Helper()
	var status struct{ Session string }
	require.NoError(t, json.Unmarshal([]byte(b.at(n).Get("/status").Body), &status))
	return status.Session
}

// requireStreamsCut checks that a stream ends within the given time after its session, and
// that other sessions' streams go on.
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
			// Nothing needs the reason after a logout, so a backend need not keep it.
			{loggedOut, []string{string(store.ReasonLoggedOut), string(store.ReasonExpired)}},
			{ended, []string{string(store.ReasonEnded)}},
		} {
			select {
			case line := <-s.lines:
				require.Contains(t, s.reasons, line)
			case <-timeout:
				require.Fail(t, "the stream of an ended session goes on")
			}
		}
		select {
		case line := <-others:
			require.Fail(t, "the stream of another session got "+line)
		default:
		}
	})
}

// openStream opens /events and returns its lines after the first.
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
