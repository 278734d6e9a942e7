package acceptance

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// addSessionsRoute adds GET /devices, which lists the sessions of the current user, or of
// the one that ?user= names.
func (s *site) addSessionsRoute() {
	s.mux.Handle("GET /devices", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := s.guard.User(r)
		id := u.ID
		if other := r.FormValue("user"); other != "" {
			id = other
		}
		list, err := s.guard.Sessions(r.Context(), id)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		json.NewEncoder(w).Encode(list)
	})))
}

func (b *browser) listSessions(path string) (list []sessionguard.Session) {
	b.t.Helper()
	require.NoError(b.t, json.Unmarshal([]byte(b.Get(path).Body), &list))
	return list
}

// ASVS 7.5.2
func TestSessionsListsTheLoginsOfAUser(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.addSessionsRoute()
		start := time.Now().UTC()
		phone, desk, grace := s.browse(), s.browse(), s.browse()
		phone.Header.Set("User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1")
		phone.login("ada")
		advance(time.Hour)
		s.loginOptions = nil
		desk.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
		desk.login("ada")
		grace.login("grace")
		advance(10 * time.Minute)

		list := desk.listSessions("/devices")
		require.Len(s.T, list, 2)
		require.Equal(s.T, sessionguard.Session{
			UserID:        "ada",
			ID:            statusOf(desk).Session,
			Current:       true,
			Created:       start.Add(time.Hour),
			Authenticated: start.Add(time.Hour),
			LastSeen:      list[0].LastSeen, // touched when the response begins
			Expires:       start.Add(time.Hour + absolute),
			Client:        "Firefox on Linux",
			Address:       "pipe",
		}, list[0])
		require.Equal(s.T, start.Add(time.Hour+5*time.Minute), list[0].FreshUntil(5*time.Minute))
		require.Equal(s.T, sessionguard.Session{
			UserID:          "ada",
			ID:              list[1].ID,
			Created:         start,
			Authenticated:   start,
			LastSeen:        start,
			Expires:         start.Add(twoWeeks),
			RememberedUntil: start.Add(twoWeeks),
			Client:          "Safari on iPhone",
			Address:         "pipe",
		}, list[1], "a dormant session is listed, so that the user can end it")
		require.NotEqual(s.T, list[0].ID, list[1].ID)

		// A revived session is not fresh. Re-authentication makes the same session fresh.
		require.Equal(s.T, "secret of ada", phone.Get("/home").Body)
		list = phone.listSessions("/devices")
		require.True(s.T, list[0].Current)
		require.Equal(s.T, start, list[0].Created)
		require.Zero(s.T, list[0].Authenticated)
		require.Zero(s.T, list[0].FreshUntil(time.Hour))
		phone.login("ada")
		list = phone.listSessions("/devices")
		require.Equal(s.T, start.Add(70*time.Minute), list[0].Authenticated)
		require.Equal(s.T, start.Add(75*time.Minute), list[0].FreshUntil(5*time.Minute))

		// In an administrator's list of another user no session is current.
		for _, session := range grace.listSessions("/devices?user=ada") {
			require.False(s.T, session.Current)
		}
		require.Empty(s.T, grace.listSessions("/devices?user=nobody"))

		// Ended sessions are not listed.
		advance(idle)
		require.Len(s.T, phone.listSessions("/devices"), 1)
		phone.Post("/logout")
		list, err := s.guard.Sessions(s.T.Context(), "ada")
		require.NoError(s.T, err)
		require.Empty(s.T, list)
	})
}

func TestClientAddrSetsTheAddress(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.ClientAddr = func(r *http.Request) string { return r.Header.Get("X-Our-Proxy") }
		})
		b := s.browse()
		b.Header.Set("X-Our-Proxy", "2001:db8::7")
		b.login("ada")
		list, err := s.guard.Sessions(t.Context(), "ada")
		require.NoError(t, err)
		require.Equal(t, "2001:db8::7", list[0].Address)
		require.Equal(t, "2001:db8::7", s.events.take(sessionguard.EventLogin)[0].Address)
	})
}

func TestClientAddrFromRefusesWhatCannotWork(t *testing.T) {
	for message, construct := range map[string]func(){
		`sessionguard: ClientAddrFrom: "X Real IP" is not the name of a header`: func() { sessionguard.ClientAddrFrom("X Real IP") },
		`sessionguard: ClientAddrFrom: trusted proxy 1 is not a valid prefix`:   func() { sessionguard.ClientAddrFrom("X-Real-IP", netip.Prefix{}) },
	} {
		require.PanicsWithValue(t, message, construct)
	}
}

// L5
func TestSessionsReportsABackendFailure(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.addSessionsRoute()
		b := s.browse()
		b.login("ada")
		backend.failOn("ByOwner")
		_, err := s.guard.Sessions(t.Context(), "ada")
		require.ErrorIs(t, err, sessionguard.ErrUnavailable)
		require.Equal(t, http.StatusServiceUnavailable, b.Get("/devices").StatusCode)
	})
}
