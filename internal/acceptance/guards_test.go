package acceptance

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

const staffCookie = "__Host-staff"

// twoGuards returns two applications with the same users, keys and backend.
func twoGuards(t *testing.T, backend store.Backend) (customers, staff *site) {
	t.Helper()
	customers = newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	staff = newSite(t, func(c *sessionguard.Config[*user]) { c.Backend, c.CookieName = backend, staffCookie })
	return customers, staff
}

func onBothBackends(t *testing.T, test func(t *testing.T, backend store.Backend)) {
	t.Helper()
	for name, backend := range map[string]func() store.Backend{
		"in process": func() store.Backend { return store.NewMemory() },
		"remote":     func() store.Backend { return newFailingBackend() },
	} {
		t.Run(name, func(t *testing.T) { withFakeClock(t, func(t *testing.T) { test(t, backend()) }) })
	}
}

// I1: a customer's cookie passes no staff gate, whatever its name.
func TestCookieOfOneGuardIsNotAcceptedByAnother(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		customers, staff := twoGuards(t, backend)
		customer, admin := customers.browse(), staff.browse()
		customer.Post("/value?k=k&v=customer")
		customerVisitor := customer.Cookies()[visitorCookie]
		admin.Post("/value?k=k&v=staff")
		adminVisitor := admin.Cookies()[staffCookie+"-anonymous"]
		customer.login("ada")
		admin.login("ada")
		customerSession, staffSession := customer.Cookies()[sessionCookie], admin.Cookies()[staffCookie]
		for _, cookies := range []map[string]string{
			{sessionCookie: customerSession},
			{staffCookie: customerSession},
			{sessionCookie: customerSession, staffCookie: customerSession},
		} {
			intruder := staff.browse()
			intruder.SetCookies(cookies)
			require.Equal(t, http.StatusSeeOther, intruder.Get("/home").StatusCode)
			require.Equal(t, "welcome nobody []", intruder.Get("/").Body)
			intruder.Post("/logout")
		}
		for _, cookies := range []map[string]string{{staffCookie: staffSession}, {sessionCookie: staffSession}} {
			intruder := customers.browse()
			intruder.SetCookies(cookies)
			require.Equal(t, "welcome nobody []", intruder.Get("/").Body)
			require.Equal(t, http.StatusSeeOther, intruder.Post("/login?user=ada").StatusCode)
		}
		require.Equal(t, "secret of ada", customer.Get("/home").Body, "the customer's session is still alive")
		require.Equal(t, "secret of ada", admin.Get("/home").Body)

		visitor := staff.browse()
		visitor.SetCookies(map[string]string{staffCookie + "-anonymous": customerVisitor, staffCookie: customerVisitor})
		require.Equal(t, "<nil> <nil>", visitor.Get("/value?k=k").Body)
		visitor = customers.browse()
		visitor.SetCookies(map[string]string{visitorCookie: adminVisitor})
		require.Equal(t, "<nil> <nil>", visitor.Get("/value?k=k").Body)
	})
}

// I4: each guard has its own users, also if their IDs are the same.
func TestEndUserOfOneGuardEndsNoSessionOfAnother(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		customers, staff := twoGuards(t, backend)
		others := make(chan error, 1)
		staff.mux.Handle("POST /others", staff.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			others <- staff.guard.EndOthers(r)
		})))
		customer, admin, phone := customers.browse(), staff.browse(), staff.browse()
		for _, b := range []*browser{customer, admin, phone} {
			b.login("ada")
		}
		ctx := context.Background()
		admin.Post("/others")
		require.NoError(t, <-others)
		require.False(t, phone.loggedIn())
		require.True(t, customer.loggedIn())
		require.ErrorIs(t, staff.guard.EndSession(ctx, "ada", statusOf(customer).Session), sessionguard.ErrNoSession)
		require.NoError(t, staff.guard.EndUser(ctx, "ada"))
		require.False(t, admin.loggedIn())
		require.True(t, customer.loggedIn())
		// No spelling of an ID names the other guard's user.
		for _, id := range []string{"=ada", sessionCookie + "=ada", "ada\x00", ""} {
			require.NoError(t, staff.guard.EndUser(ctx, id))
		}
		require.True(t, customer.loggedIn())
	})
}

// If one guard is around another, a request has a session of each.
func TestTwoGuardsAroundOneHandlerHaveSeparateSessions(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		customers, staff := twoGuards(t, backend)
		mux := http.NewServeMux()
		loginAt := func(g *sessionguard.Guard[*user]) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if err := g.Login(w, r, &user{ID: r.FormValue("user")}); err != nil {
					http.Error(w, err.Error(), http.StatusForbidden)
				}
			}
		}
		mux.HandleFunc("POST /customer", loginAt(customers.guard))
		mux.HandleFunc("POST /staff", loginAt(staff.guard))
		mux.Handle("POST /staff-logout", staff.guard.Logout("/"))
		mux.Handle("GET /{$}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, _ := customers.guard.User(r)
			s, _ := staff.guard.User(r)
			fmt.Fprint(w, c != nil && c.ID == "ada", s != nil && s.ID == "grace")
		}))
		b := browse(t, serve(t, customers.guard.Handler(staff.guard.Handler(mux))))
		b.Post("/customer?user=ada")
		require.Equal(t, "true false", b.Get("/").Body)
		b.Post("/staff?user=grace")
		require.Equal(t, "true true", b.Get("/").Body)
		b.Post("/staff-logout")
		require.Equal(t, "true false", b.Get("/").Body)
	})
}

// Two applications on one host, of which neither knows the other. By default their cookies
// have one name, so the browser has room for one session. The second name separates them.
func TestApplicationsOnOneHostNeedCookieNamesOfTheirOwn(t *testing.T) {
	for name, shared := range map[string]bool{sessionCookie: true, "__Host-Http-staff": false} {
		withFakeClock(t, func(t *testing.T) {
			customers := newSite(t, nil)
			staff := newSite(t, func(c *sessionguard.Config[*user]) {
				c.Keys, c.CookieName = [][]byte{bytes.Repeat([]byte("s"), 32)}, name
			})
			host := http.NewServeMux()
			host.Handle("/customers/", http.StripPrefix("/customers", customers.guard.Handler(customers.mux)))
			host.Handle("/staff/", http.StripPrefix("/staff", staff.guard.Handler(staff.mux)))
			b := browse(t, serve(t, host))
			b.Post("/customers/login?user=ada")
			b.Post("/staff/login?user=grace")
			require.Equal(t, "secret of grace", b.Get("/staff/home").Body)
			require.Equal(t, !shared, b.Get("/customers/home").StatusCode == http.StatusOK, name)
			require.Equal(t, "secret of grace", b.Get("/staff/home").Body, "the other application ended nothing")
			b.Post("/staff/logout")
			require.Equal(t, !shared, b.Get("/customers/home").StatusCode == http.StatusOK, name)
		})
	}
}
