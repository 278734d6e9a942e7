package migrate_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/examples/migrate"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// A countingBackend counts the marks that are made, and calls first before a login.
type countingBackend struct {
	store.Backend
	marks int
	first func()
}

func (c *countingBackend) Create(ctx context.Context, r store.Record, limit store.Limit) ([]store.Record, error) {
	if limit.Refuse {
		c.marks++
	} else if first := c.first; first != nil {
		c.first = nil
		first()
	}
	return c.Backend.Create(ctx, r, limit)
}

// No request fills the backend with marks: a cookie that could log nobody in needs none.
func TestStrangersMakeNoMarks(t *testing.T) {
	t.Run("made up", func(t *testing.T) {
		s := newSite(t, ofSCS(scs.New())) // whose cookies are not signed
		backend := &countingBackend{Backend: store.NewMemory()}
		s.backend.Backend = backend
		s.update()
		bob, stranger := s.logIn("bob"), s.browse()
		for range 3 {
			cookies := bob.Cookies()
			cookies["session"] = rand.Text()
			bob.SetCookies(cookies)
			bob.Get("/home").Expect(http.StatusOK, "")
			require.NotContains(t, bob.Cookies(), "session")
			stranger.SetCookies(map[string]string{"session": rand.Text()})
			stranger.Post("/logout").Expect(http.StatusSeeOther, "/")
		}
		require.Zero(t, backend.marks)
	})
	t.Run("of visitors, kept from before", func(t *testing.T) {
		s := newSite(t, ofCookies())
		backend := &countingBackend{Backend: store.NewMemory()}
		s.backend.Backend = backend
		visitor := s.logIn("")
		s.update()
		visitor.Post("/logout").Expect(http.StatusSeeOther, "/")
		require.NotContains(t, visitor.Cookies(), "session")
		require.Zero(t, backend.marks)
	})
}

// The end of all sessions of a user comes while one of the user's old sessions is moved.
func TestEndUserThatOvertakesAMoveIsFinal(t *testing.T) {
	for _, old := range []oldApp{ofCookies(), ofSCS(scs.New())} {
		s := newSite(t, old)
		user := s.logIn("ada")
		copied := user.Copy()
		s.backend.Backend = &countingBackend{Backend: store.NewMemory(), first: func() {
			require.NoError(t, s.migration.EndUser(t.Context(), "ada"))
			require.NoError(t, s.migration.Guard.EndUser(t.Context(), "ada"))
		}}
		s.update()
		user.Get("/home").Expect(http.StatusSeeOther, toLogin)
		require.Zero(t, s.sessions("ada"))
		copied.Get("/home").Lacks("Hello")
	}
}

// After a breach, nobody is logged in any more.
func TestEndAllEndsOldSessions(t *testing.T) {
	s := newSite(t, ofCookies())
	ada := s.logIn("ada")
	s.config.Backend = s.backend.Backend // which can list sessions
	s.update()
	for range 2 {
		require.NoError(t, s.migration.EndAll(t.Context()))
	}
	require.NoError(t, s.migration.Guard.EndAll(t.Context()))
	ada.Get("/home").Expect(http.StatusSeeOther, toLogin)
	require.NotContains(t, ada.Cookies(), "session")
	require.Zero(t, s.sessions("ada"))
	s.logIn("ada").Get("/home").Expect(http.StatusOK, "")
}

// An old session may name a user as the user once typed it.
func TestOldSessionOfAUserInAnotherSpellingEndsToo(t *testing.T) {
	for name, end := range map[string]func(*site){
		"EndUser": func(s *site) { require.NoError(t, s.migration.EndUser(t.Context(), "ada")) },
		"logout": func(s *site) {
			b := s.logIn("ada")
			b.Post("/logout").Expect(http.StatusSeeOther, "/")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, ofCookies())
			s.users.users["ADA"] = s.users.users["ada"]
			loud, alive := s.logIn("ADA"), s.logIn("ADA")
			s.update()
			alive.Get("/home").Expect(http.StatusOK, "")
			end(s)
			loud.Get("/home").Expect(http.StatusSeeOther, toLogin)
		})
	}
	t.Run("logout of a session that is not moved", func(t *testing.T) {
		s := newSite(t, ofCookies())
		s.users.users["ADA"] = s.users.users["ada"]
		loud, other := s.logIn("ADA"), s.logIn("ada")
		s.update()
		loud.Header = http.Header{"Accept": {"*/*"}}
		loud.Post("/logout").Expect(http.StatusNoContent, "")
		other.Get("/home").Expect(http.StatusSeeOther, toLogin)
	})
}

// Whoever acts for a user and logs out, ends their own old sessions, and not the user's.
func TestLogoutWhileActingEndsTheActorsOldSessions(t *testing.T) {
	s := newSite(t, ofCookies())
	s.config.MayActAs = func(_, _ *User) bool { return true }
	bob, stolen, ada := s.logIn("bob"), s.logIn("bob"), s.logIn("ada")
	s.update()
	bob.Get("/home").Expect(http.StatusOK, "")
	bob.PostForm("/act", "user", "ada").Expect(http.StatusOK, "")
	bob.Get("/home").Expect(http.StatusOK, "").Contains("Hello, ada")
	bob.Post("/logout").Expect(http.StatusSeeOther, "/")
	stolen.Get("/home").Expect(http.StatusSeeOther, toLogin)
	ada.Get("/home").Expect(http.StatusOK, "").Contains("Hello, ada")
}

// So does a logout of a login that waits for a factor.
func TestLogoutOfAPendingLoginEndsOldSessions(t *testing.T) {
	s := newSite(t, ofCookies())
	s.config.Factors, s.config.FactorPath = func(*User) []string { return []string{"otp"} }, "/code"
	user := s.logIn("ada")
	stolen := s.logIn("ada")
	s.update()
	user.Get("/home").Expect(http.StatusSeeOther, "/code?next=%2Fhome")
	user.Post("/logout").Expect(http.StatusSeeOther, "/")
	stolen.Get("/home").Expect(http.StatusSeeOther, toLogin)
}

// A node whose clock is ahead takes the cut-off for passed, while others still move sessions.
func TestLogoutIsFinalOnNodesWhoseClocksDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := prepare(t, ofCookies())
		s.migration.Until = time.Now().Add(time.Hour)
		user := s.logIn("ada")
		copied := s.logIn("ada")
		s.update()
		user.Get("/home").Expect(http.StatusOK, "")
		ahead := *s.migration // by 5 minutes
		ahead.Until = ahead.Until.Add(-5 * time.Minute)
		time.Sleep(58 * time.Minute)
		require.NoError(t, ahead.EndUser(t.Context(), "ada"))
		copied.Get("/home").Expect(http.StatusSeeOther, toLogin)
	})
}

// A session that is remembered ends with the old one too, and is not fresh once it is revived.
func TestRememberedSessionEndsWithTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := prepare(t, ofCookies()) // for 30 days
		s.migration.Until = time.Now().Add(60 * 24 * time.Hour)
		s.config.RememberFor = 60 * 24 * time.Hour
		s.migration.Options = func(*migrate.Old) []sessionguard.LoginOption {
			return []sessionguard.LoginOption{sessionguard.Remember()}
		}
		user := s.logIn("ada")
		s.update()
		user.Get("/home").Expect(http.StatusOK, "")
		for range 29 {
			time.Sleep(24 * time.Hour)
			user.Get("/home").Expect(http.StatusOK, "")
			user.Get("/money").Expect(http.StatusSeeOther, "/again?next=%2Fmoney")
		}
		time.Sleep(24 * time.Hour)
		user.Get("/home").Expect(http.StatusSeeOther, toLogin+"&reason=absolute")
	})
}

// Whom scs remembers, and nobody else, keeps the cookie when the browser is closed.
func TestUserWhomScsRemembersIsRemembered(t *testing.T) {
	manager := scs.New()
	manager.Cookie.Persist = false
	s := newSite(t, ofSCS(manager))
	s.migration.Options = optionsOf
	remembered, other := s.browse(), s.logIn("bob")
	remembered.PostForm("/login", "user", "ada", "remember", "1").Expect(http.StatusOK, "")
	s.update()
	for user, want := range map[string]bool{"ada": true, "bob": false} {
		b := map[string]*testbrowser.Browser{"ada": remembered, "bob": other}[user]
		b.Get("/home").Expect(http.StatusOK, "").Contains("Hello, " + user)
		sessions, err := s.migration.Guard.Sessions(t.Context(), user)
		require.NoError(t, err)
		require.Len(t, sessions, 1)
		require.Equal(t, want, !sessions[0].RememberedUntil.IsZero())
	}
}

// A form whose session another request is moving can be sent again.
func TestFormThatHasToWaitIsNotReplacedByAPage(t *testing.T) {
	s := newSite(t, ofCookies())
	user := s.logIn("ada")
	tab := user.Copy()
	s.update()
	user.Get("/home").Expect(http.StatusOK, "")
	tab.Post("/logout").Expect(http.StatusServiceUnavailable, "").Has("Retry-After", "1").Has("Refresh", "")
	tab.Get("/home").Expect(http.StatusServiceUnavailable, "").Has("Refresh", "1")
}
