package acceptance

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// User is the name of the user type in docs/standards.md.
type User = user

// A preset is one of docs/standards.md for an authentication assurance level (AAL) of NIST SP
// 800-63B-4, with the limits that the level sets.
type preset struct {
	config        sessionguard.Config[*User]
	idle, overall time.Duration
	factors       []string // of a whole login, one at a time
}

func presets() map[string]preset {
	return map[string]preset{
		"AAL1": {sessionguard.Config[*User]{
			IdleTimeout:     24 * time.Hour,
			AbsoluteTimeout: 30 * 24 * time.Hour,
			RememberFor:     30 * 24 * time.Hour,
		}, 24 * time.Hour, 30 * 24 * time.Hour, []string{"pwd"}},
		"AAL2": {sessionguard.Config[*User]{
			IdleTimeout:     time.Hour,
			AbsoluteTimeout: 24 * time.Hour,
			Factors:         func(*User) []string { return []string{"pwd", "otp"} }, FactorPath: "/code",
		}, time.Hour, 24 * time.Hour, []string{"pwd", "otp"}},
		"AAL3": {sessionguard.Config[*User]{
			IdleTimeout:     15 * time.Minute,
			AbsoluteTimeout: 12 * time.Hour,
			Factors:         func(*User) []string { return []string{"pwd", "hwk"} }, FactorPath: "/code",
		}, 15 * time.Minute, 12 * time.Hour, []string{"pwd", "hwk"}},
	}
}

// onPresets runs a test on the fake clock for each preset, on a site with two more routes:
//
//	POST /factor?user=…&factors=… logs in
//	GET  /all                     "inside", if each factor was proven within the overall timeout
func onPresets(t *testing.T, test func(s *site, level string, p preset)) {
	t.Helper()
	for level, p := range presets() {
		t.Run(level, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s := newSite(t, func(c *sessionguard.Config[*user]) {
					defaults := *c
					*c = p.config
					c.FindUser, c.Keys, c.Logger, c.OnEvent, c.ReauthPath = defaults.FindUser, defaults.Keys, defaults.Logger, defaults.OnEvent, defaults.ReauthPath
				})
				s.mux.HandleFunc("POST /factor", s.loginWithFactors)
				s.mux.Handle("GET /all", s.guard.RequireFresh(p.overall, p.factors...)(new(gateProbe)))
				test(s, level, p)
			})
		})
	}
}

// proveAll logs in with one factor after the other. Only the last one logs the user in.
func (p preset) proveAll(b *browser) {
	b.t.Helper()
	for _, name := range p.factors {
		require.False(b.t, b.loggedIn())
		b.prove("ada", name)
	}
	require.True(b.t, b.loggedIn())
}

// The presets of docs/standards.md are those that the tests below have: each of its lines is in
// this file.
func TestThePresetsOfTheDocumentationAreThoseTested(t *testing.T) {
	page, err := os.ReadFile("../../docs/standards.md")
	require.NoError(t, err)
	tested, err := os.ReadFile("standards_test.go")
	require.NoError(t, err)
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }

	blocks := regexp.MustCompile("(?s)### (AAL[123])\n.*?```go\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Len(t, blocks, 3)
	for _, block := range blocks {
		lines := regexp.MustCompile(` *//[^\n]*`).ReplaceAllString(block[2], "")
		require.Equal(t, 3, strings.Count(lines, "\n"), block[1])
		want := `"` + block[1] + `": {sessionguard.Config[*User]{ ` + squeeze(lines) + " }"
		require.Contains(t, squeeze(string(tested)), want)
	}
}

// NIST SP 800-63B-4, 2.1.3, 2.2.3, 2.3.3: without activity a session ends at the inactivity
// limit, and the login after that needs every factor again.
func TestPresetsEndIdleSessions(t *testing.T) {
	onPresets(t, func(s *site, _ string, p preset) {
		b := s.browse()
		p.proveAll(b)
		advance(p.idle - time.Millisecond)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		advance(p.idle)
		require.Contains(s.T, b.Get("/home").Header.Get("Location"), "reason=idle")
		p.proveAll(b)
	})
}

// NIST SP 800-63B-4, 2.1.3, 2.2.3, 2.3.3: a session that is in use all the time ends at the
// overall limit, and the login after that needs every factor again.
func TestPresetsEndSessionsThatAreInUse(t *testing.T) {
	onPresets(t, func(s *site, _ string, p preset) {
		b := s.browse()
		p.proveAll(b)
		end := time.Now().Add(p.overall)
		for time.Until(end) > p.idle/2 {
			advance(p.idle / 2)
			require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		}
		advance(time.Until(end) - time.Millisecond)
		require.Equal(s.T, "inside", b.Get("/all").Body)
		advance(time.Millisecond)
		require.Contains(s.T, b.Get("/home").Header.Get("Location"), "reason=absolute")
		p.proveAll(b)
	})
}

// NIST SP 800-63B-4, 2.2.3, 2.3.3, 5.2: a login with one factor restarts both timeouts. A gate
// that names every factor asks for those that were not proven within the overall limit.
func TestPresetsAskForEveryFactorAtTheOverallLimit(t *testing.T) {
	onPresets(t, func(s *site, _ string, p preset) {
		b := s.browse()
		p.proveAll(b)
		end := time.Now().Add(p.overall)
		for time.Until(end) > time.Minute {
			advance(min(p.idle/2, time.Until(end)-time.Minute))
			require.Equal(s.T, "inside", b.Get("/all").Body)
		}
		b.prove("ada", "pwd")
		status := statusOf(b)
		require.Equal(s.T, int(p.idle/time.Second), status.Idle)
		require.Equal(s.T, int(p.overall/time.Second), status.Absolute)

		advance(time.Minute)
		require.True(s.T, b.loggedIn())
		for _, name := range p.factors[1:] {
			require.Equal(s.T, "/login?next=%2Fall&factor="+name, b.Get("/all", "Accept", "text/html").Header.Get("Location"))
			b.prove("ada", name)
		}
		require.Equal(s.T, "inside", b.Get("/all").Body)
	})
}

// NIST SP 800-63B-4, 2.1.3: a remembered session of AAL1 ends at the overall limit all the same. A
// cookie that revives it proves no factor.
func TestARememberedSessionOfAAL1EndsAtTheOverallLimit(t *testing.T) {
	onPresets(t, func(s *site, level string, p preset) {
		if level != "AAL1" {
			return // Remember does not belong there: see the next test
		}
		s.loginOptions = rememberAll
		b := s.browse()
		p.proveAll(b)
		advance(p.overall / 2)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body, "revived")
		require.Equal(s.T, http.StatusSeeOther, b.Get("/all", "Accept", "text/html").StatusCode)
		advance(p.overall/2 - time.Millisecond)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body, "revived again")
		advance(time.Millisecond)
		require.NotEqual(s.T, "secret of ada", b.Get("/home").Body)
	})
}

// NIST SP 800-63B-4, 5.1: a cookie must not take the place of a login. With Remember it would, at
// AAL3 until RememberFor has passed, so that docs/standards.md leaves it out there.
func TestRememberGoesBeyondTheIdleLimitOfAAL3(t *testing.T) {
	onPresets(t, func(s *site, level string, p preset) {
		s.loginOptions = rememberAll
		b := s.browse()
		p.proveAll(b)
		advance(p.idle)
		require.Equal(s.T, level != "AAL2", b.Get("/home").Body == "secret of ada")
	})
}

func rememberAll(string) []sessionguard.LoginOption {
	return []sessionguard.LoginOption{sessionguard.Remember()}
}
