package migrate_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// forEach runs a test with each store of the libraries.
func forEach(t *testing.T, test func(*testing.T, oldApp)) {
	for name, newOld := range olds {
		t.Run(name, func(t *testing.T) { test(t, newOld(t)) })
	}
}

func TestNobodyIsLoggedOut(t *testing.T) {
	forEach(t, func(t *testing.T, old oldApp) {
		s := newSite(t, old)
		ada, bob := s.logIn("ada"), s.logIn("bob")
		s.update()
		item := "item 42"
		if old.scs {
			item = "item <nil>" // is in the one session that scs has
		}
		ada.Get("/home").Expect(http.StatusOK, "").Contains("Hello, ada, theme dark, "+item+", user <nil>.", "Welcome back.")
		ada.Get("/home").Expect(http.StatusOK, "").Contains("Hello, ada, theme dark").Lacks("Welcome back.")
		bob.Get("/home").Expect(http.StatusOK, "").Contains("Hello, bob")
		require.Equal(t, 1, s.sessions("ada"))
		require.NotContains(t, ada.Cookies(), "session")
		require.NotContains(t, ada.Cookies(), "cart")
	})
}

// A copy of the old cookie gets nobody in, neither before nor after the logout; nor does the old
// application accept it, if the session was on the server.
func TestOldSessionIsDeadOnceItHasBeenMoved(t *testing.T) {
	forEach(t, func(t *testing.T, old oldApp) {
		s := newSite(t, old)
		user := s.logIn("ada")
		copied, toOld := user.Copy(), user.Copy()
		s.update()
		user.Get("/home").Expect(http.StatusOK, "")
		copied.Get("/home").Lacks("Hello")
		user.Post("/logout").Expect(http.StatusSeeOther, "/")
		user.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome")
		copied.Get("/home").Lacks("Hello")
		require.Zero(t, s.sessions("ada"))
		s.running.Store(&old.handler)
		if old.inStore {
			toOld.Get("/home").Expect(http.StatusSeeOther, "/login")
		}
	})
}
