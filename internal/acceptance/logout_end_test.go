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

// endingsID is the public ID of a browser's session.
func publicID(b *browser) string {
	b.t.Helper()
	var status struct{ Session string }
	require.NoError(b.t, json.Unmarshal([]byte(b.Get("/status").Body), &status))
	require.NotEmpty(b.t, status.Session)
	return status.Session
}

// Promise 2: End within a handler is the same logout, and what the handler
// leaves for the next page is there.
func TestEndLogsOutAndKeepsALaterFlash(t *testing.T) {
	s := newSite(t, nil)
	s.mux.Handle("POST /account/delete", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before, _ := s.guard.Get(r, "flash")
		before.AddFlash("of the session that ends")
		if err := s.guard.End(w, r); err != nil {
			t.Error(err)
		}
		if u, ok := s.guard.User(r); ok {
			t.Errorf("%s is still there", u.ID)
		}
		after, err := s.guard.Get(r, "flash")
		if err != nil || len(after.Values) != 0 {
			t.Errorf("the ended session's values: %v, %v", after.Values, err)
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

// C2, I1: to end and to log in within one request leaves one live session,
// under one Set-Cookie, with nothing of the one before; and the other way
// round none.
func TestEndAndLoginInOneRequest(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	become := func(w http.ResponseWriter, r *http.Request, id string) error {
		u, err := s.users.Find(r.Context(), id)
		if err == nil {
			err = s.guard.Login(w, r, u)
		}
		return err
	}
	s.mux.HandleFunc("POST /switch", func(w http.ResponseWriter, r *http.Request) {
		err := s.guard.End(w, r)
		session, _ := s.guard.Get(r, "flash")
		session.AddFlash("switched")
		if err = errors.Join(err, become(w, r, "grace")); err != nil {
			t.Error(err)
		}
	})
	s.mux.HandleFunc("POST /flee", func(w http.ResponseWriter, r *http.Request) {
		if err := errors.Join(become(w, r, "grace"), s.guard.End(w, r)); err != nil {
			t.Error(err)
		}
	})
	for _, anonymous := range []bool{true, false} {
		b := s.browse()
		if anonymous {
			b.Post("/value?k=cart&v=book") // so that there is an anonymous cookie, too
		}
		b.login("ada")
		b.Post("/value?k=color&v=green")
		ada := b.Cookies()

		resp := b.Post("/switch")
		names := map[string]int{}
		for _, c := range resp.Cookies() {
			names[c.Name]++
		}
		require.Equal(t, 1, names[sessionCookie])
		require.LessOrEqual(t, names[visitorCookie], 1)
		require.Equal(t, "welcome grace [switched]", b.Get("/").Body)
		require.Equal(t, "<nil> <nil>", b.Get("/value?k=color").Body, "another user's values never move along")
		require.Equal(t, "<nil> <nil>", b.Get("/value?k=cart").Body)

		before := b.Cookies()
		b.Post("/flee")
		require.NotContains(t, b.Cookies(), sessionCookie)
		for _, cookies := range []map[string]string{ada, before} {
			b.SetCookies(cookies)
			require.False(t, b.loggedIn())
		}
		for _, who := range []string{"ada", "grace"} {
			records, err := backend.ByOwner(t.Context(), sessionCookie+"="+who)
			require.NoError(t, err)
			require.Empty(t, records, "a login that was ended left nothing behind")
		}
	}
}

// Promise 2: too late for the cookie is not too late for the session.
func TestEndAfterTheHeadersEndsTheSessionAndReturnsErrHeadersSent(t *testing.T) {
	s := newSite(t, nil)
	for _, looked := range []bool{true, false} {
		path := fmt.Sprintf("POST /late/%t", looked)
		s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if looked {
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
		resp := b.Post(fmt.Sprintf("/late/%t", looked))
		require.Equal(t, "begun", resp.Body)
		require.Empty(t, resp.Cookies())
		require.Contains(t, b.Cookies(), sessionCookie)
		require.False(t, b.loggedIn())
	}
}

// Without the guard around it, End ends nothing and says so.
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

// I4: a session is ended by its public ID and its user's, so that no handler
// can be tricked into ending somebody else's.
func TestEndSessionEndsOnlyThatUsersSession(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		desk, phone, grace, expired := s.browse(), s.browse(), s.browse(), s.browse()
		expired.login("ada")
		gone := publicID(expired)
		advance(idle)
		desk.login("ada")
		phone.login("ada")
		grace.login("grace")
		ids := map[string]*browser{publicID(desk): desk, publicID(phone): phone, publicID(grace): grace}
		require.Len(t, ids, 3)
		end := func(userID, id string) error { return s.guard.EndSession(t.Context(), userID, id) }

		for name, err := range map[string]error{
			"another user's":       end("grace", publicID(phone)),
			"with a prefix":        end(sessionCookie+"=ada", publicID(phone)),
			"unknown":              end("ada", "unknown"),
			"empty":                end("ada", ""),
			"nobody's":             end("", publicID(phone)),
			"nothing at all":       end("", ""),
			"the cookie's value":   end("ada", phone.Cookies()[sessionCookie]),
			"in another case":      end("ADA", publicID(phone)),
			"one that has expired": end("ada", gone),
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
		for _, method := range []string{"ByOwner", "Delete"} {
			backend.failOn(method)
			require.ErrorIs(t, end("ada", deskID), sessionguard.ErrUnavailable, method)
			require.ErrorIs(t, s.guard.EndUser(t.Context(), "ada"), sessionguard.ErrUnavailable, method)
		}
		backend.failOn()
		require.True(t, desk.loggedIn())
	})
}

// ASVS 7.4.2: all of a user's sessions end, and nobody else's.
func TestEndUserEndsAllSessionsOfThatUserOnly(t *testing.T) {
	s := newSite(t, nil)
	s.users.change("ada2", func(u *user) { u.ID = "ada2"; u.Roles = []string{"Engineer"} })
	var adas []*browser
	for range 5 {
		b := s.browse()
		b.login("ada")
		adas = append(adas, b)
	}
	grace, alike := s.browse(), s.browse()
	grace.login("grace")
	alike.login("ada2")
	require.NoError(t, s.guard.EndUser(t.Context(), "nobody"))
	require.NoError(t, s.guard.EndUser(t.Context(), ""))
	require.True(t, adas[0].loggedIn())
	require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
	for _, b := range adas {
		require.False(t, b.loggedIn())
	}
	require.True(t, grace.loggedIn())
	require.True(t, alike.loggedIn())
	adas[0].login("ada")
	require.True(t, adas[0].loggedIn(), "and may log in again")
}

// ASVS 7.4.3: after a password change only the session that changed it lives.
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
		this, phone, tablet, grace, nobody := s.browse(), s.browse(), s.browse(), s.browse(), s.browse()
		for _, b := range []*browser{this, phone, tablet} {
			b.login("ada")
		}
		grace.login("grace")
		require.Equal(t, sessionguard.ErrNoSession.Error(), nobody.Post("/others").Body)
		require.True(t, phone.loggedIn())
		require.Equal(t, "<nil>", this.Post("/others"+query).Body)
		require.True(t, this.loggedIn())
		require.True(t, grace.loggedIn())
		require.False(t, phone.loggedIn())
		require.False(t, tablet.loggedIn())
		require.Equal(t, sessionguard.ErrNoSession.Error(), phone.Post("/others").Body)
		require.True(t, this.loggedIn())
		for _, method := range []string{"Load", "ByOwner"} {
			backend.failOn(method)
			resp := this.Post("/others")
			backend.failOn()
			require.NotEqual(t, "<nil>", resp.Body, method)
			require.True(t, this.loggedIn())
		}
	}
}

// Promise 2: a re-authentication that moves the session to a new key while it
// is being ended does not carry it past its end.
func TestEndingASessionDuringReauthenticationLeavesNone(t *testing.T) {
	for name, end := range map[string]func(*site, *browser) error{
		"EndUser":    func(s *site, _ *browser) error { return s.guard.EndUser(s.Context(), "ada") },
		"EndSession": func(s *site, b *browser) error { return s.guard.EndSession(s.Context(), "ada", publicID(b)) },
	} {
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		b := s.browse()
		b.login("ada")
		moves := 0
		backend.beforeCall("Delete", func() {
			if moves < 3 { // between the list and the deletion, and again
				moves++
				b.login("ada")
			}
		})
		require.NoError(t, end(s, b), name)
		require.Equal(t, 3, moves)
		backend.beforeCall("Delete", nil)
		require.False(t, b.loggedIn(), name)
		records, err := backend.ByOwner(t.Context(), sessionCookie+"=ada")
		require.NoError(t, err)
		require.Empty(t, records, name)
	}
}
