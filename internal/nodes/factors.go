package nodes

import (
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// factors are promises about a login in several steps.
var factors = []promise{
	{"a login that begins on one node is completed on the other, with its factors and their times", func(t T, a, b store.Backend) {
		bothWays(t, a, b, func(here, there *node) {
			name, ada := newUser(), browse(t, here)
			prove := func(n *node, factor string) {
				require.Equal(t, http.StatusSeeOther, ada.at(n).Post("/prove?user="+name+"&factors="+factor).StatusCode)
			}
			prove(here, "pwd")
			first := ada.copied()
			ada.requireOut(here, there)
			require.Equal(t, "/factor?next=%2Fhome", ada.at(there).Get("/home").Header.Get("Location"))
			require.Empty(t, ownedBy(t, there, name), "it is no device")

			prove(there, "otp")
			ada.requireIn(name, here, there)
			first.requireOut(here, there)
			prove(here, "hwk")
			ada.requireIn(name, there, here)
			for _, n := range []*node{here, there} {
				require.Contains(t, ada.at(n).Get("/status").Body, `"factors":["pwd","otp","hwk"]`)
				all := ownedBy(t, n, name)
				require.Len(t, all, 1)
				proven := all[0].Detail().Factors
				require.Len(t, proven, 3)
				require.NotZero(t, proven[0].At)
				require.LessOrEqual(t, proven[0].At, proven[1].At)
				require.Equal(t, all[0].Authenticated, proven[2].At)
			}
		}, twoFactors)
	}},
	{"of 20 logins on both nodes at once that complete a pending one, one does", func(t T, a, b store.Backend) {
		for _, limit := range []store.Limit{{}, {Max: 3, Refuse: true}} {
			limited := func(c *config) { c.MaxSessions = func(*user) store.Limit { return limit } }
			one, two := newNode(t, a, twoFactors, limited), newNode(t, b, twoFactors, limited)
			name, ada := newUser(), browse(t, one)
			require.Equal(t, http.StatusSeeOther, ada.at(one).Post("/prove?user="+name+"&factors=pwd").StatusCode)
			browsers := make([]*browser, 20)
			for i := range browsers {
				browsers[i] = ada.copied()
			}
			atOnce(t, browsers, "POST", "/prove?user="+name+"&factors=otp", one, two)
			live := 0
			for _, a := range atOnce(t, browsers, "GET", "/home", one, two) {
				if letIn(a) {
					live++
				}
			}
			require.Equal(t, 1, live, "sessions that are let in")
			require.Len(t, ownedBy(t, two, name), 1)
		}
	}},
}

// twoFactors makes a login need a password and a one-time password.
func twoFactors(c *config) {
	c.Factors = func(*user) []string { return []string{"pwd", "otp"} }
	c.FactorPath = "/factor"
}

// prove logs in with the factors of the request, which commas separate.
func (n *node) prove(w http.ResponseWriter, r *http.Request) {
	names := strings.Split(r.FormValue("factors"), ",")
	if err := n.guard.Login(w, r, &user{r.FormValue("user")}, sessionguard.Factors(names...)); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	http.Redirect(w, r, "/home", http.StatusSeeOther)
}
