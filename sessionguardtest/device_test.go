package sessionguardtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/sessionguardtest"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// newBoundApp is newApp with pages for bound sessions: /bound, /payments, and /step for a proof
// of the last 2 minutes.
func newBoundApp(t testing.TB) (*sessionguard.Guard[*person], http.Handler) {
	t.Helper()
	guard, app := newApp(t, func(c *config) {
		c.DeviceProof = 10 * time.Minute
		c.MayActAs = func(actor, _ *person) bool { return actor == grace }
	})
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		fmt.Fprintf(w, "Bound, %s.", user.id)
	})
	mux := http.NewServeMux()
	mux.Handle("/", app)
	mux.Handle("/bound", guard.RequireBound(0)(page))
	mux.Handle("/payments", guard.RequireBound(0)(page))
	mux.Handle("/step", guard.RequireBound(2*time.Minute)(page))
	return guard, guard.Handler(mux)
}

func TestBindOpensPagesThatNeedTheDevice(t *testing.T) {
	guard, app := newBoundApp(t)
	r := sessionguardtest.Login(t, guard, httptest.NewRequest("GET", "/bound", nil), ada)
	require.Equal(t, http.StatusForbidden, serve(app, r).Code)
	sessionguardtest.Bind(t, guard, r, 0)
	require.Equal(t, "Bound, ada.", serve(app, r).Body.String())

	client := sessionguardtest.NewClient(t, app)
	sessionguardtest.Login(t, guard, client, ada)
	client.Get("/bound").HasStatus(http.StatusForbidden)
	sessionguardtest.Bind(t, guard, client, 0)
	client.Get("/bound").HasStatus(http.StatusOK).Contains("Bound, ada.")
	sessions, err := guard.Sessions(t.Context(), "ada")
	require.NoError(t, err)
	require.Len(t, sessions, 2)
	for _, s := range sessions {
		require.False(t, s.Bound.IsZero())
	}
}

func TestTheAgeOfAProofDecides(t *testing.T) {
	guard, app := newBoundApp(t)
	client := sessionguardtest.NewClient(t, app)
	sessionguardtest.Login(t, guard, client, ada)
	for _, c := range []struct {
		age         time.Duration
		bound, step int
	}{
		{0, http.StatusOK, http.StatusOK},
		{3 * time.Minute, http.StatusOK, http.StatusTemporaryRedirect},
		{11 * time.Minute, http.StatusTemporaryRedirect, http.StatusSeeOther}, // and then without a proof
		{time.Minute, http.StatusOK, http.StatusOK},
	} {
		sessionguardtest.Bind(t, guard, client, c.age)
		client.Get("/bound").HasStatus(c.bound)
		client.Get("/step").HasStatus(c.step)
	}
	// The redirect has the browser prove its device, and a test calls Bind in its place.
	sessionguardtest.Bind(t, guard, client, 3*time.Minute)
	client.Get("/step?a=b").RedirectsTo("/step?a=b")
	sessionguardtest.LoggedOut(t, guard, client, store.ReasonDeviceUnproven)
	sessionguardtest.Bind(t, guard, client, 0)
	client.Get("/step?a=b").HasStatus(http.StatusOK)
}

func TestACopiedCookieIsRefusedWhereTheProofIsMissing(t *testing.T) {
	guard, _ := newBoundApp(t)
	owner := sessionguardtest.Bind(t, guard, sessionguardtest.Login(t, guard, httptest.NewRequest("GET", "/home", nil), ada), 0)
	thief := httptest.NewRequest("GET", "/home", nil)
	thief.AddCookie(owner.Cookies()[0])
	require.Len(t, owner.Cookies(), 2)
	sessionguardtest.LoggedOut(t, guard, thief, store.ReasonDeviceUnproven)
	sessionguardtest.LoggedIn(t, guard, owner)
}

func TestAProofRunsOutUnderSynctest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, app := newBoundApp(t)
		client := sessionguardtest.NewClient(t, app)
		sessionguardtest.Login(t, guard, client, ada)
		sessionguardtest.Bind(t, guard, client, 0)
		client.Wait(11*time.Minute - time.Millisecond)
		client.Get("/bound").HasStatus(http.StatusOK)
		client.Wait(time.Millisecond)
		sessionguardtest.LoggedOut(t, guard, client, store.ReasonDeviceUnproven)
		sessionguardtest.Bind(t, guard, client, 0)
		client.Get("/bound").HasStatus(http.StatusOK)
	})
}

func TestABoundSessionAgesAsAnyOther(t *testing.T) {
	guard, app := newBoundApp(t)
	client := sessionguardtest.NewClient(t, app)
	sessionguardtest.Login(t, guard, client, ada)
	sessionguardtest.Bind(t, guard, client, 0)
	sessionguardtest.Age(t, guard, client, time.Hour)
	client.Get("/bound").HasStatus(http.StatusOK)
	client.Get("/fresh").HasStatus(http.StatusUnauthorized)
	sessionguardtest.Idle(t, guard, client, time.Hour)
	sessionguardtest.LoggedOut(t, guard, client, store.ReasonIdle)
}

// The session of whoever acts is the one that is bound, as in a browser.
func TestBindBindsTheSessionOfWhoeverActs(t *testing.T) {
	guard, app := newBoundApp(t)
	client := sessionguardtest.NewClient(t, app)
	sessionguardtest.Login(t, guard, client, grace)
	sessionguardtest.Serve(t, guard, client, func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, guard.ActAs(w, r, ada))
	})
	client.Get("/bound").HasStatus(http.StatusForbidden)
	sessionguardtest.Bind(t, guard, client, 0)
	client.Get("/bound").HasStatus(http.StatusOK).Contains("Bound, ada.")
	for id, bound := range map[string]bool{"grace": true, "ada": false} {
		sessions, err := guard.Sessions(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, bound, !sessions[0].Bound.IsZero(), id)
	}
}

func TestWhatCannotBeBoundFailsTheTest(t *testing.T) {
	guard, app := newBoundApp(t)
	unbound, other := newApp(t, nil)
	for want, test := range map[string]func(t testing.TB){
		"Bind: the guard has no Config.DeviceProof": func(t testing.TB) {
			sessionguardtest.Bind(t, unbound, sessionguardtest.Login(t, unbound, sessionguardtest.NewClient(t, other), ada), 0)
		},
		"Bind: " + sessionguard.ErrNoSession.Error(): func(t testing.TB) {
			sessionguardtest.Bind(t, guard, sessionguardtest.NewClient(t, app), 0)
		},
		"Bind: -1s is negative":        func(t testing.TB) { sessionguardtest.Bind(t, guard, sessionguardtest.NewClient(t, app), -time.Second) },
		"the request or client is nil": func(t testing.TB) { sessionguardtest.Bind(t, guard, (*sessionguardtest.Client)(nil), 0) },
	} {
		require.Contains(t, failureOf(t, test), want)
	}

	guard, app = newApp(t, func(c *config) {
		needFactors(c)
		c.DeviceProof = 10 * time.Minute
	})
	client := sessionguardtest.NewClient(t, app)
	sessionguardtest.Serve(t, guard, client, func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, guard.Login(w, r, lynn, sessionguard.Factors("pwd")))
	})
	require.Contains(t, failureOf(t, func(t testing.TB) { sessionguardtest.Bind(t, guard, client, 0) }), sessionguard.ErrNoSession.Error())
}
