package nodes

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// races are promises about requests that reach both nodes at the same time.
var races = []promise{
	{"100 logins on both nodes at once keep the session limit", func(t T, a, b store.Backend) {
		for _, limit := range []store.Limit{{Max: 3}, {Max: 3, Refuse: true}} {
			limited := func(c *config) { c.MaxSessions = func(*user) store.Limit { return limit } }
			one, two := newNode(t, a, limited), newNode(t, b, limited)
			name, browsers := newUser(), make([]*browser, 100)
			for i := range browsers {
				browsers[i] = browse(t, one)
			}
			accepted := 0
			for _, a := range atOnce(t, browsers, "POST", "/login?user="+name, one, two) {
				if a.StatusCode == http.StatusSeeOther {
					accepted++
				}
			}
			require.Equal(t, limit.Max, len(ownedBy(t, one, name)), "sessions in the backend")
			want := len(browsers)
			if limit.Refuse {
				want = limit.Max
			}
			require.Equal(t, want, accepted, "logins that succeeded")
			for _, n := range []*node{one, two} {
				live := 0
				for _, a := range atOnce(t, browsers, "GET", "/home", n, n) {
					if letIn(a) {
						live++
					}
				}
				require.Equal(t, limit.Max, live, "sessions that are let in")
			}
		}
	}},
	{"50 requests on both nodes at once revive a remembered session once", func(t T, a, b store.Backend) {
		const age = 31 * time.Minute // past the default idle timeout
		one, two := newNode(t, aged{a, age}), newNode(t, aged{b, age})
		name, ada := newUser(), browse(t, one)
		require.Equal(t, http.StatusSeeOther, ada.at(one).Post("/login?remember=1&user="+name).StatusCode)
		before, browsers := ada.token(), make([]*browser, 50)
		for i := range browsers {
			browsers[i] = ada.copied()
		}
		tokens := map[string]bool{}
		for _, a := range atOnce(t, browsers, "GET", "/home", one, two) {
			require.Equal(t, "secret of "+name, a.Body)
			cookie := a.Cookie(sessionCookie)
			require.NotNil(t, cookie, "every response sets the new token, in case another is lost")
			tokens[cookie.Value] = true
		}
		require.Equal(t, 1, len(tokens), "one new token")
		require.NotContains(t, tokens, before)
		require.Len(t, ownedBy(t, one, name), 1)
		require.Equal(t, 1, one.count(sessionguard.EventRevived)+two.count(sessionguard.EventRevived), "exactly one revival")
	}},
	{"sessions that both nodes end at once all end, and each is reported once", func(t T, a, b store.Backend) {
		one, two := newNode(t, a), newNode(t, b)
		name, browsers := newUser(), make([]*browser, 30)
		for i := range browsers {
			browsers[i] = browse(t, one)
			browsers[i].login([]*node{one, two}[i%2], name)
		}
		errs := make([]error, 2)
		var both sync.WaitGroup
		for i, n := range []*node{one, two} {
			both.Go(func() { errs[i] = n.guard.EndUser(t.Context(), name) })
		}
		both.Wait()
		require.NoError(t, errors.Join(errs...))
		for _, b := range browsers {
			b.requireEnded(store.ReasonEnded, one, two)
		}
		require.Empty(t, ownedBy(t, one, name))
		require.Equal(t, len(browsers), one.count(sessionguard.EventEnded)+two.count(sessionguard.EventEnded))
	}},
	{"requests on two nodes that change different values are both saved", func(t T, a, b store.Backend) {
		one, two := newNode(t, a), newNode(t, b)
		name, ada := newUser(), browse(t, one)
		ada.login(one, name)
		for i := range 5 {
			first := ada.begin(one, fmt.Sprintf("k=one&v=%d", i))
			second := ada.begin(two, fmt.Sprintf("k=two&v=%d", i))
			require.True(t, letIn(first()))
			require.True(t, letIn(second()))
			for _, n := range []*node{one, two} {
				for _, k := range []string{"one", "two"} {
					require.Equal(t, fmt.Sprint(i), ada.at(n).Get("/value?k="+k).Body, "an update is lost")
				}
			}
		}
	}},
	{"100 requests on both nodes at once that change one session are all saved", func(t T, a, b store.Backend) {
		one, two := newNode(t, a), newNode(t, b)
		ada, browsers := browse(t, one), make([]*browser, 100)
		ada.login(one, newUser())
		for i := range browsers {
			browsers[i] = ada.copied()
		}
		for _, a := range atOnce(t, browsers, "POST", "/flash", one, two) {
			require.Equal(t, http.StatusOK, a.StatusCode, a.Body)
		}
		require.Equal(t, "100 flashes", ada.at(one).Get("/flashes").Body, "an update is lost")
	}},
}

// atOnce sends the same request from all browsers at the same time, alternately to the two
// nodes. Before that it opens every connection.
func atOnce(t T, browsers []*browser, method, path string, one, two *node) []response {
	t.Helper()
	responses, errs := make([]response, len(browsers)), make([]error, len(browsers))
	var connecting, sending sync.WaitGroup
	connecting.Add(len(browsers)) // before the first of them waits
	for i, b := range browsers {
		at := b.at([]*node{one, two}[i%2])
		sending.Go(func() {
			_, errs[i] = at.Send(at.Request("GET", "/nothing-here"))
			connecting.Done()
			connecting.Wait()
			if errs[i] == nil {
				responses[i], errs[i] = at.Send(at.Request(method, path))
			}
		})
	}
	sending.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	return responses
}
