package acceptance

import (
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// New refuses what could never bind a session, or would lock people out.
func TestNewRefusesADeviceProofThatCannotWork(t *testing.T) {
	for name, configure := range map[string]func(*sessionguard.Config[*user]){
		"negative":        func(c *sessionguard.Config[*user]) { c.DeviceProof = -time.Minute },
		"too short":       func(c *sessionguard.Config[*user]) { c.DeviceProof = time.Second - 1 },
		"plain http":      func(c *sessionguard.Config[*user]) { c.InsecureHTTP = true },
		"subdomains":      func(c *sessionguard.Config[*user]) { c.CookieDomain = "app.example" },
		"in other frames": func(c *sessionguard.Config[*user]) { c.Partitioned = true },
		"a session cookie that looks like a bound one": func(c *sessionguard.Config[*user]) {
			c.CookieName = "__Host-my-bound-session"
		},
		"one whose bound cookies are named like those of another guard": func(c *sessionguard.Config[*user]) {
			c.CookieName = "__host-HTTP_session"
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := sessionguard.Config[*user]{FindUser: (&userDatabase{}).Find, Keys: testKeys, DeviceProof: deviceProof}
			_, err := sessionguard.New(config)
			require.NoError(t, err)
			configure(&config)
			_, err = sessionguard.New(config)
			require.Error(t, err)
		})
	}
}

// A short one is a mistake in production, which the log says once.
func TestNewWarnsOfAShortDeviceProof(t *testing.T) {
	for lasts, warnings := range map[time.Duration]int{0: 0, time.Second: 1, 5*time.Minute - 1: 1, 5 * time.Minute: 0} {
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.DeviceProof = lasts })
		require.Equal(t, warnings, strings.Count(s.log.String(), "DeviceProof"), lasts)
	}
}

// Without the routes of Script nothing can be registered: nothing is offered, and the log says
// so once.
func TestDeviceProofWithoutScriptOffersNothingAndIsLoggedOnce(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.DeviceProof = deviceProof })
	for range 3 {
		b := s.browseWithDevice()
		requireNoDeviceHeader(t, b.login("ada"))
		require.True(t, b.loggedIn())
	}
	require.Equal(t, 1, strings.Count(s.log.String(), "DeviceProof"), s.log)
}

// RequireBound panics where it is called with an age that no browser can keep to.
func TestRequireBoundWantsNoProofsFasterThanABrowserSigns(t *testing.T) {
	s := deviceSite(t)
	for _, age := range []time.Duration{-1, 1, 2*time.Minute - 1} {
		require.Panics(t, func() { s.guard.RequireBound(age) })
	}
	for _, age := range []time.Duration{0, 2 * time.Minute, time.Hour} {
		require.NotPanics(t, func() { s.guard.RequireBound(age) })
	}
}

// A proof counts for a tenth longer than the browser is told, at most a minute, and the grace
// is no longer than a proof.
func TestShortProofsHaveShortMargins(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t, func(c *sessionguard.Config[*user]) { c.DeviceProof = 20 * time.Second })
		b := s.bound("ada")
		both, bare := s.copyOf(b), s.thiefOf(b)
		advance(20*time.Second - time.Millisecond)
		require.True(t, bare.loggedIn())
		advance(time.Millisecond)
		bare.requireUnproven()
		advance(2*time.Second - time.Millisecond)
		require.True(t, both.loggedIn())
		advance(time.Millisecond)
		both.requireUnproven()
		require.Equal(t, "bound", b.Get("/bound").Body)
	})
}
