package acceptance

import (
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// actingBound runs a test with grace bound to her device, who may act as others.
func actingBound(t *testing.T, test func(t *testing.T, a *actingSite)) {
	t.Helper()
	acting(t, func(t *testing.T, a *actingSite) {
		a.deviceRoutes()
		a.grace.Post("/logout")
		a.grace = a.bound("grace")
		advance(time.Minute)
		test(t, a)
	}, func(c *sessionguard.Config[*user]) { c.DeviceProof = deviceProof })
}

// Who acts for somebody does so from their own device.
func TestActingNeedsTheActorsDevice(t *testing.T) {
	actingBound(t, func(t *testing.T, a *actingSite) {
		before := a.act()
		requireNoDeviceHeader(t, a.grace.Get("/poll"))
		require.Equal(t, "bound", a.grace.Get("/bound").Body)
		thief := a.thiefOf(a.grace)
		thief.requireUnproven()
		require.Equal(t, http.StatusForbidden, thief.Post("/act?user=ada").StatusCode)
		failed := "unreachable;session_identifier=" + a.grace.Device.Identifiers()[0]
		requireUnavailable(t, thief.Get("/home", "Secure-Session-Skipped", failed))
		for range 2 { // ActAs ends after a quarter of an hour
			advance(7 * time.Minute)
			a.requireUser(a.grace, "ada")
			a.grace.Get("/home")
			require.Equal(t, "bound", a.grace.Get("/bound").Body)
			thief.requireUnproven()
		}
		require.NotContains(t, a.grace.Device.History(), "ended")
		require.True(t, a.sessionsOf("ada")[0].Bound.IsZero(), "the session of ActAs has no device of its own")

		a.stop()
		a.requireUser(a.grace, "grace")
		require.Equal(t, "bound", a.grace.Get("/bound").Body)
		require.False(t, before.loggedIn())
		advance(20 * time.Minute)
		require.Equal(t, "bound", a.grace.Get("/bound").Body, "its own device again")
		require.NotContains(t, a.grace.Device.History(), "ended")
	})
}

// Nobody stops acting, or begins to, without the device.
func TestOnlyTheActorsDeviceStopsActing(t *testing.T) {
	actingBound(t, func(t *testing.T, a *actingSite) {
		idle := a.thiefOf(a.grace)
		require.Equal(t, http.StatusForbidden, idle.Post("/act?user=ada").StatusCode)
		a.act()
		thief := a.thiefOf(a.grace)
		thief.Post("/stop")
		require.False(t, thief.loggedIn())
		a.requireUser(a.grace, "ada")
		a.stop()
		a.requireUser(a.grace, "grace")
	})
}

// The user's devices do not matter to whoever acts for them.
func TestActingForABoundUser(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		a.deviceRoutes()
		ada := a.bound("ada")
		advance(time.Minute)
		a.act()
		a.requireUser(a.grace, "ada")
		require.Equal(t, http.StatusForbidden, a.grace.Get("/bound").StatusCode, "nothing that grace has is bound")
		require.Equal(t, "bound", ada.Get("/bound").Body)
	}, func(c *sessionguard.Config[*user]) { c.DeviceProof = deviceProof })
}

// A binding may be finished while its session acts.
func TestADeviceMayBeProvenWhileActing(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		a.deviceRoutes()
		a.grace.Post("/logout")
		a.grace.Device = testbrowser.NewDevice()
		a.grace.login("grace")
		a.act()
		require.Equal(t, []string{"registered", "proven"}, a.grace.Device.History())
		require.Equal(t, "bound", a.grace.Get("/bound").Body)
		advance(time.Minute)
		a.thiefOf(a.grace).requireUnproven()
		require.NoError(t, a.guard.EndUser(t.Context(), "grace"))
		require.Equal(t, "/login?next=%2Fhome&reason="+string(store.ReasonActorEnded), a.grace.Get("/home").Header.Get("Location"))
	}, func(c *sessionguard.Config[*user]) { c.DeviceProof = deviceProof })
}
