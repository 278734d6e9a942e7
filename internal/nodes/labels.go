package nodes

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// labels are promises about what is stored of a session beside its values.
var labels = []promise{
	{"a label set on one node stays through values, logins and revivals on both", func(t T, a, b store.Backend) {
		const age = 31 * time.Minute // past the default idle timeout
		for _, idle := range []time.Duration{0, age} {
			bothWays(t, aged{a, idle}, aged{b, idle}, func(here, there *node) {
				name, ada := newUser(), browse(t, here)
				require.Equal(t, http.StatusSeeOther, ada.at(here).Post("/login?remember=1&label=phone&user="+name).StatusCode)
				before := requireLabel(t, name, "phone", here, there)
				for _, way := range [][2]*node{{here, there}, {there, here}} {
					at, other := way[0], way[1]
					require.NoError(t, at.guard.SetLabel(t.Context(), name, before.ID, "first"))
					requireLabel(t, name, "first", here, there)
					ada.requireIn(name, other) // the first time, if it was idle, this revives the session
					ada.at(other).Post("/value?k=cart&v=17")
					requireLabel(t, name, "first", here, there)
					require.NoError(t, at.guard.SetLabel(t.Context(), name, before.ID, "second 🦊"))
					require.Equal(t, "17", ada.at(other).Get("/value?k=cart").Body)
					ada.login(other, name) // again
					require.Equal(t, "17", ada.at(at).Get("/value?k=cart").Body)
					after := requireLabel(t, name, "second 🦊", here, there)
					require.Equal(t, before.ID, after.ID)
					require.True(t, before.Created.Equal(after.Created))
					require.Equal(t, before.Client, after.Client)
					require.Equal(t, before.Address, after.Address)
				}
				require.ErrorIs(t, there.guard.SetLabel(t.Context(), newUser(), before.ID, "mine"), sessionguard.ErrNoSession)
				require.NoError(t, there.guard.SetLabel(t.Context(), name, before.ID, ""))
				requireLabel(t, name, "", here, there)
				ada.at(here).Post("/logout")
				require.ErrorIs(t, there.guard.SetLabel(t.Context(), name, before.ID, "late"), sessionguard.ErrNoSession)
				require.Empty(t, ownedBy(t, there, name))
			})
		}
	}},
	{"labels, values and logins that both nodes change at once are all kept", func(t T, a, b store.Backend) {
		one, two := newNode(t, a), newNode(t, b)
		name, ada, browsers := newUser(), browse(t, one), make([]*browser, 20)
		ada.login(one, name)
		id := requireLabel(t, name, "", one, two).ID
		for i := range browsers {
			browsers[i] = ada.copied()
		}
		var setting sync.WaitGroup
		errs := make([]error, 2)
		for i, n := range []*node{one, two} {
			setting.Go(func() {
				for attempt := 0; attempt < 10 && errs[i] == nil; attempt++ {
					errs[i] = n.guard.SetLabel(t.Context(), name, id, strconv.Itoa(i)+" "+strconv.Itoa(attempt))
				}
			})
		}
		responses := atOnce(t, browsers, "POST", "/flash", one, two)
		ada.login(two, name)
		setting.Wait()
		for i, err := range errs {
			require.NoError(t, err, "node %d", i)
		}
		for _, a := range responses {
			require.Equal(t, http.StatusOK, a.StatusCode, a.Body)
		}
		session, err := one.guard.Sessions(t.Context(), name)
		require.NoError(t, err)
		require.Contains(t, []string{"0 9", "1 9"}, session[0].Label, "one of the last labels")
		require.Equal(t, "20 flashes", ada.at(one).Get("/flashes").Body, "an update is lost")
	}},
}

// requireLabel checks that both nodes list one session of a user, with a label, and returns
// it.
func requireLabel(t T, user, label string, here, there *node) (session sessionguard.Session) {
	t.Helper()
	for _, n := range []*node{here, there} {
		list, err := n.guard.Sessions(t.Context(), user)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, label, list[0].Label)
		session = list[0]
	}
	return session
}
