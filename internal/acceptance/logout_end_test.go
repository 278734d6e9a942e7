package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// publicID returns the public ID of a browser's session.
func publicID(b *browser) string {
	b.t.Helper()
	var status struct{ Session string }
	require.NoError(b.t, json.Unmarshal([]byte(b.Get("/status").Body), &status))
	require.NotEmpty(b.t, status.Session)
	return status.Session
}

// End in a handler logs out as Logout does. Only a flash that the handler adds afterwards
// is on the next page.
func TestEndLogsOutAndKeepsALaterFlash(t *testing.T) {
	s := newSite(t, nil)
	s.mux.Handle("POST /account/delete", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before, _ := s.guard.Get(r, "flash")
		before.AddFlash("added before End")
		if err := s.guard.End(w, r); err != nil {
			t.Error(err)
		}
		if u, ok := s.guard.User(r); ok {
			t.Errorf("%s is still logged in", u.ID)
		}
		after, err := s.guard.Get(r, "flash")
		if err != nil || len(after.Values) != 0 {
			t.Errorf("got the ended session's values %v, error %v", after.Values, err)
		}
		after.AddFlash("Your account is gone.")
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})))
	b := s.browse()
	b.login("ada")
	b.Post("/value?k=color&v=green")
	old := b.Cookies()
	resp := b.Post("/account/delete")
	require.Equal(t, http.StatusSeeOther, resp.StatusCode)
	requireNoStore(t, resp.Header)
	require.NotContains(t, b.Cookies(), sessionCookie)
	require.Equal(t, "welcome nobody [Your account is gone.]", b.Get("/").Body)
	require.Equal(t, "<nil> <nil>", b.Get("/value?k=color").Body)
	b.SetCookies(old)
	require.False(t, b.loggedIn())
}

// C2, I1: End and then Login in one request leave one live session, under one Set-Cookie
// and without the values of the session before. Login and then End leave none.
func TestEndAndLoginInOneRequest(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	loginAs := func(w http.ResponseWriter, r *http.Request, id string) error {
		u, err := s.users.Find(r.Context(), id)
		if err == nil {
			err = s.guard.Login(w, r, u)
		}
		return err
	}
	s.mux.HandleFunc("POST /end-and-login", func(w http.ResponseWriter, r *http.Request) {
		err := s.guard.End(w, r)
		session, _ := s.guard.Get(r, "flash")
		session.AddFlash("switched")
		if err = errors.Join(err, loginAs(w, r, "grace")); err != nil {
			t.Error(err)
		}
	})
	s.mux.HandleFunc("POST /login-and-end", func(w http.ResponseWriter, r *http.Request) {
		if err := errors.Join(loginAs(w, r, "grace"), s.guard.End(w, r)); err != nil {
			t.Error(err)
		}
	})
	for _, withVisitorCookie := range []bool{true, false} {
		b := s.browse()
		if withVisitorCookie {
			b.Post("/value?k=cart&v=book")
		}
		b.login("ada")
		b.Post("/value?k=color&v=green")
		ada := b.Cookies()

		resp := b.Post("/end-and-login")
		names := map[string]int{}
		for _, c := range resp.Cookies() {
			names[c.Name]++
		}
		require.Equal(t, 1, names[sessionCookie])
		require.LessOrEqual(t, names[visitorCookie], 1)
		require.Equal(t, "welcome grace [switched]", b.Get("/").Body)
		require.Equal(t, "<nil> <nil>", b.Get("/value?k=color").Body, "values never move to another user")
		require.Equal(t, "<nil> <nil>", b.Get("/value?k=cart").Body)

		before := b.Cookies()
		b.Post("/login-and-end")
		require.NotContains(t, b.Cookies(), sessionCookie)
		for _, cookies := range []map[string]string{ada, before} {
			b.SetCookies(cookies)
			require.False(t, b.loggedIn())
		}
		for _, id := range []string{"ada", "grace"} {
			require.Empty(t, sessionsOf(t, backend, id), "an ended login leaves no session")
		}
	}
}

// When it is too late to delete the cookie, End still ends the session.
func TestEndAfterTheHeadersEndsTheSessionAndReturnsErrHeadersSent(t *testing.T) {
	s := newSite(t, nil)
	for _, resolved := range []bool{true, false} {
		path := fmt.Sprintf("POST /late/%t", resolved)
		s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if resolved {
				s.guard.User(r)
			}
			io.WriteString(w, "begun")
			if err := s.guard.End(w, r); !errors.Is(err, sessionguard.ErrHeadersSent) || errors.Is(err, sessionguard.ErrUnavailable) {
				t.Errorf("End: %v", err)
			}
			if _, ok := s.guard.User(r); ok {
				t.Error("still logged in")
			}
		})
		b := s.browse()
		b.login("ada")
		resp := b.Post(fmt.Sprintf("/late/%t", resolved))
		require.Equal(t, "begun", resp.Body)
		require.Empty(t, resp.Cookies())
		require.Contains(t, b.Cookies(), sessionCookie)
		require.False(t, b.loggedIn())
	}
}

// Without the guard around the handler, neither ends anything.
func TestEndAndEndOthersWithoutTheGuardReturnErrNotWrapped(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.guard.End(w, r); err != sessionguard.ErrNotWrapped {
			t.Errorf("End: %v", err)
		}
		if err := s.guard.EndOthers(r); err != sessionguard.ErrNotWrapped {
			t.Errorf("EndOthers: %v", err)
		}
	}))
	bare := browse(t, server)
	bare.SetCookies(b.Cookies())
	require.Empty(t, bare.Post("/").Cookies())
	require.True(t, b.loggedIn())
}

// I4: EndSession takes the public ID and the user's ID, so that nobody can trick a handler
// into ending another user's session.
func TestEndSessionEndsOnlyThatUsersSession(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		desk, phone, grace, expired := s.browse(), s.browse(), s.browse(), s.browse()
		expired.login("ada")
		expiredID := publicID(expired)
		advance(idle)
		desk.login("ada")
		phone.login("ada")
		grace.login("grace")
		ids := map[string]*browser{publicID(desk): desk, publicID(phone): phone, publicID(grace): grace}
		require.Len(t, ids, 3)
		end := func(userID, id string) error { return s.guard.EndSession(t.Context(), userID, id) }

		for name, err := range map[string]error{
			"another user's ID":       end("grace", publicID(phone)),
			"user ID with a prefix":   end(sessionCookie+"=ada", publicID(phone)),
			"unknown":                 end("ada", "unknown"),
			"empty":                   end("ada", ""),
			"empty user ID":           end("", publicID(phone)),
			"both empty":              end("", ""),
			"the cookie's value":      end("ada", phone.Cookies()[sessionCookie]),
			"user ID in another case": end("ADA", publicID(phone)),
			"of an expired session":   end("ada", expiredID),
		} {
			require.ErrorIs(t, err, sessionguard.ErrNoSession, name)
		}
		for id, b := range ids {
			require.True(t, b.loggedIn(), id)
		}
		phoneID := publicID(phone)
		phone.login("ada")
		require.Equal(t, phoneID, publicID(phone), "re-authentication keeps the public ID")
		require.NoError(t, end("ada", phoneID))
		require.False(t, phone.loggedIn())
		require.True(t, desk.loggedIn())
		require.True(t, grace.loggedIn())
		require.ErrorIs(t, end("ada", phoneID), sessionguard.ErrNoSession)

		deskID := publicID(desk)
		backend.failOn("DeleteByID")
		require.ErrorIs(t, end("ada", deskID), sessionguard.ErrUnavailable)
		backend.failOn()
		require.True(t, desk.loggedIn())
	})
}

// ASVS 7.4.2
func TestEndUserEndsAllSessionsOfThatUserOnly(t *testing.T) {
	s := newSite(t, nil)
	s.users.change("ada2", func(u *user) { u.ID = "ada2"; u.Roles = []string{"Engineer"} })
	var adas []*browser
	for range 5 {
		b := s.browse()
		b.login("ada")
		adas = append(adas, b)
	}
	grace, similar := s.browse(), s.browse()
	grace.login("grace")
	similar.login("ada2")
	require.NoError(t, s.guard.EndUser(t.Context(), "nobody"))
	require.NoError(t, s.guard.EndUser(t.Context(), ""))
	require.True(t, adas[0].loggedIn())
	require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
	for _, b := range adas {
		require.False(t, b.loggedIn())
	}
	require.True(t, grace.loggedIn())
	require.True(t, similar.loggedIn())
	adas[0].login("ada")
	require.True(t, adas[0].loggedIn(), "the user may log in again")
}

// ASVS 7.4.3: after a password change only the session that made the change is alive.
func TestEndOthersKeepsThisSessionAndRequiresALogin(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	s.mux.HandleFunc("POST /others", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("reauth") != "" {
			u, _ := s.guard.User(r)
			if err := s.guard.Login(w, r, u); err != nil {
				t.Error(err)
			}
		}
		fmt.Fprintf(w, "%v", s.guard.EndOthers(r))
	})
	for _, query := range []string{"", "?reauth=1"} {
		this, phone, tablet, grace, visitor := s.browse(), s.browse(), s.browse(), s.browse(), s.browse()
		for _, b := range []*browser{this, phone, tablet} {
			b.login("ada")
		}
		grace.login("grace")
		require.Equal(t, sessionguard.ErrNoSession.Error(), visitor.Post("/others").Body)
		require.True(t, phone.loggedIn())
		require.Equal(t, "<nil>", this.Post("/others"+query).Body)
		require.True(t, this.loggedIn())
		require.True(t, grace.loggedIn())
		require.False(t, phone.loggedIn())
		require.False(t, tablet.loggedIn())
		require.Equal(t, sessionguard.ErrNoSession.Error(), phone.Post("/others").Body)
		require.True(t, this.loggedIn())
		for _, method := range []string{"Load", "ByOwner", "DeleteByID"} {
			phone.login("ada")
			backend.failOn(method)
			resp := this.Post("/others")
			backend.failOn()
			require.NotEqual(t, "<nil>", resp.Body, method)
			require.True(t, this.loggedIn())
			require.True(t, phone.loggedIn())
		}
	}
}

// A session that re-authentication moves to a new key while it is being ended does not
// escape its end.
func TestEndingASessionDuringReauthenticationLeavesNone(t *testing.T) {
	for name, end := range map[string]func(*site, *browser) error{
		"EndUser":    func(s *site, _ *browser) error { return s.guard.EndUser(s.Context(), "ada") },
		"EndSession": func(s *site, b *browser) error { return s.guard.EndSession(s.Context(), "ada", publicID(b)) },
	} {
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		b := s.browse()
		b.login("ada")
		moved := false
		backend.beforeCall("DeleteByID", func() { // after the sessions were listed
			moved = true
			b.login("ada")
		})
		require.NoError(t, end(s, b), name)
		require.True(t, moved)
		backend.beforeCall("DeleteByID", nil)
		require.False(t, b.loggedIn(), name)
		require.Empty(t, sessionsOf(t, backend, "ada"), name)
	}
}
