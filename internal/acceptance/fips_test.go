package acceptance

import (
	"crypto/fips140"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/sessionguardtest"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// FIPS 140 mode is chosen when a process starts, so the test runs itself in another one.
func TestTheGuardWorksInFIPS140Mode(t *testing.T) {
	for _, mode := range []string{"on", "only"} {
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWhatTheGuardEncryptsAndDraws$", "-test.v")
		command.Env = append(os.Environ(), "GODEBUG=fips140="+mode)
		output, err := command.CombinedOutput()
		require.NoError(t, err, "%s", output)
		require.Contains(t, string(output), "FIPS 140 mode: true enforced: "+fmt.Sprint(mode == "only"))
		require.Contains(t, string(output), "--- PASS: TestWhatTheGuardEncryptsAndDraws")
	}
}

// Outside of a bubble, so that random bytes come from where they do in production.
func TestWhatTheGuardEncryptsAndDraws(t *testing.T) {
	t.Log("FIPS 140 mode:", fips140.Enabled(), "enforced:", fips140.Enforced())
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.RememberFor = twoWeeks }).secretRoutes()
	addScriptRoutes(s)
	client := sessionguardtest.NewClient(t, s.guard.Handler(s.mux))
	post := func(path string) *sessionguardtest.Response {
		t.Helper()
		return client.Do(httptest.NewRequest("POST", path, nil))
	}

	// A visitor's values and secret; values move into the session.
	post("/value?k=a&v=b").HasStatus(http.StatusOK)
	client.Get("/value?k=a").Contains("b <nil>")
	post("/put?name=state&value=secret").HasStatus(http.StatusOK)
	client.Get("/take?name=state").Contains("took secret")
	client.Get("/take?name=state").HasStatus(http.StatusBadRequest)
	post("/login?user=ada").Follow().Contains("secret of ada")
	client.Get("/value?k=a").Contains("b <nil>")

	// A login that is remembered: the revival seals the new token for the old one's browser.
	s.loginOptions = func(string) []sessionguard.LoginOption { return []sessionguard.LoginOption{sessionguard.Remember()} }
	post("/login?user=ada").RedirectsTo("/home")
	sessionguardtest.Idle(t, s.guard, client, time.Hour)
	sessionguardtest.LoggedOut(t, s.guard, client, store.ReasonRemembered)
	client.Get("/home").Contains("secret of ada")

	// The page's script.
	source := scriptTag(t, client.Get("/page").HasStatus(http.StatusOK).Body)["src"]
	client.Get(source).HasStatus(http.StatusOK)
	client.Get("/sessionguard/status").Contains(`"authenticated":true`)

	client.Get("/").Contains("welcome ada")
	post("/logout").Follow().Contains("welcome nobody", "You have been logged out.")
	sessionguardtest.LoggedOut(t, s.guard, client, "")
	client.Get("/home").RedirectsTo("/login?next=%2Fhome")
}
