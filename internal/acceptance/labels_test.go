package acceptance

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// addLabelRoutes adds POST /label?user=&id=&label=, which calls SetLabel and responds with its
// error, and the label that Session then returns. Without an ID it is the current session's.
func (s *site) addLabelRoutes() {
	s.mux.HandleFunc("POST /label", func(w http.ResponseWriter, r *http.Request) {
		current, ok := s.guard.Session(r)
		if !ok {
			http.Error(w, "nobody", http.StatusUnauthorized)
			return
		}
		id, userID := r.FormValue("id"), r.FormValue("user")
		if id == "" {
			id = current.ID
		}
		session, _ := s.guard.Get(r, "app")
		if k := r.FormValue("k"); k != "" {
			session.Values[k] = r.FormValue("v")
		}
		err := s.guard.SetLabel(r.Context(), userID, id, r.FormValue("label"))
		after, _ := s.guard.Session(r)
		switch {
		case err == nil:
			_, _ = w.Write([]byte(after.Label))
		case errors.Is(err, sessionguard.ErrNoSession):
			http.Error(w, "no session", http.StatusNotFound)
		case errors.Is(err, sessionguard.ErrUnavailable):
			http.Error(w, "unavailable", http.StatusServiceUnavailable)
		default:
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		}
	})
}

// labelled returns a login option for every login of a site.
func labelled(label string) func(string) []sessionguard.LoginOption {
	return func(string) []sessionguard.LoginOption {
		return []sessionguard.LoginOption{sessionguard.Label(label), sessionguard.Remember()}
	}
}

// labelsOf returns the labels of a user's sessions, the last active first.
func (s *site) labelsOf(user string) (labels []string) {
	s.Helper()
	list, err := s.guard.Sessions(s.T.Context(), user)
	require.NoError(s.T, err)
	for _, session := range list {
		labels = append(labels, session.Label)
	}
	return labels
}

func TestLabelOfALoginLastsAsLongAsTheSession(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		ada := s.browse()
		s.loginOptions = labelled(" work laptop ")
		ada.login("ada")
		require.Equal(s.T, []string{"work laptop"}, s.labelsOf("ada"))
		ada.Post("/value?k=k&v=v")
		s.loginOptions = labelled("")
		ada.login("ada")
		require.Equal(s.T, []string{"work laptop"}, s.labelsOf("ada"), "a new login without a label keeps it")
		advance(idle)
		require.True(s.T, ada.loggedIn() || ada.Get("/home").StatusCode == http.StatusOK)
		require.Equal(s.T, []string{"work laptop"}, s.labelsOf("ada"), "a revival keeps it")
		s.loginOptions = labelled("home laptop")
		ada.login("ada")
		require.Equal(s.T, []string{"home laptop"}, s.labelsOf("ada"))

		ada.Post("/logout")
		s.loginOptions = nil
		ada.login("ada")
		require.Equal(s.T, []string{""}, s.labelsOf("ada"), "another session has none")
		s.loginOptions = labelled("grace's")
		ada.login("grace")
		s.loginOptions = nil
		ada.login("ada")
		require.Equal(s.T, []string{""}, s.labelsOf("ada"), "another user's label is not taken over")
	})
}

func TestSessionIsValidRightAfterLogin(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		start := time.Now().UTC()
		var before, after, ended bool
		var session sessionguard.Session
		calls := map[string]int{}
		s.mux.HandleFunc("POST /in-and-out", func(w http.ResponseWriter, r *http.Request) {
			_, before = s.guard.Session(r)
			u, _ := s.users.Find(r.Context(), "ada")
			require.NoError(s.T, s.guard.Login(w, r, u, sessionguard.Label("phone")))
			if backend != nil {
				calls = backend.callCounts()
			}
			session, after = s.guard.Session(r)
			if backend != nil {
				require.Equal(s.T, calls, backend.callCounts(), "Session asks the backend nothing")
			}
			if r.FormValue("end") != "" {
				require.NoError(s.T, s.guard.End(w, r))
				_, ended = s.guard.Session(r)
			}
		})
		ada := s.browse()
		ada.Post("/in-and-out")
		require.False(s.T, before)
		require.True(s.T, after)
		list, err := s.guard.Sessions(s.T.Context(), "ada")
		require.NoError(s.T, err)
		require.Len(s.T, list, 1)
		require.True(s.T, session.Current)
		session.Current = false
		require.Equal(s.T, list[0], session, "Sessions lists the same")
		require.Equal(s.T, start, session.Authenticated)
		require.Equal(s.T, "phone", session.Label)

		ada.Post("/in-and-out?end=1")
		require.True(s.T, before)
		require.False(s.T, ended)
	})
}

func TestSessionIsFalseWhereUserIs(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		s.mux.HandleFunc("GET /session", func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("write") != "" {
				_, _ = w.Write([]byte("written "))
			}
			session, ok := s.guard.Session(r)
			_, user := s.guard.User(r)
			require.Equal(s.T, user, ok)
			require.Equal(s.T, !ok, session.ID == "")
			_, _ = w.Write([]byte(strconv.FormatBool(ok)))
		})
		ada := s.browse()
		require.Equal(s.T, "false", ada.Get("/session").Body)
		ada.login("ada")
		require.Equal(s.T, "true", ada.Get("/session").Body)
		require.Equal(s.T, "written false", ada.Get("/session?write=1").Body)
		if backend != nil {
			backend.failOn("Load")
			require.Equal(s.T, http.StatusServiceUnavailable, ada.Get("/session").StatusCode)
			backend.failOn()
		}
		advance(idle)
		require.Equal(s.T, "false", ada.Get("/session").Body)
		_, ok := s.guard.Session(ada.Request("GET", "/session")) // did not come through the guard
		require.False(s.T, ok)
	})
}

func TestSetLabelChangesTheSessionOfItsUserAlone(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.addLabelRoutes()
		ada, grace := s.browse(), s.browse()
		s.loginOptions = labelled("old")
		ada.login("ada")
		grace.login("grace")
		adaID, graceID := statusOf(ada).Session, statusOf(grace).Session

		require.Equal(s.T, "new", ada.Post("/label?user=ada&label=new").Body, "Session returns it in the same request")
		require.Equal(s.T, []string{"new"}, s.labelsOf("ada"))
		for _, path := range []string{
			"/label?user=ada&label=mine&id=" + graceID,
			"/label?user=&label=mine&id=" + graceID,
			"/label?user=nobody&label=mine&id=" + graceID,
			"/label?user=ada&label=mine&id=nothing",
			"/label?user=ada&label=mine&id=" + strings.Repeat("A", 26),
			"/label?user=ada&label=mine&id=" + strings.ToLower(adaID),
		} {
			require.Equal(s.T, http.StatusNotFound, ada.Post(path).StatusCode, path)
		}
		require.Equal(s.T, []string{"old"}, s.labelsOf("grace"))
		require.Equal(s.T, []string{"new"}, s.labelsOf("ada"))

		// An administrator may change anybody's, by naming the user.
		require.Equal(s.T, "old", grace.Post("/label?user=ada&label=found&id="+adaID).Body)
		require.Equal(s.T, []string{"found"}, s.labelsOf("ada"))
		require.Equal(s.T, http.StatusOK, ada.Post("/label?user=ada&label=").StatusCode)
		require.Equal(s.T, []string{""}, s.labelsOf("ada"))

		// A dormant session is listed and has a label; one that has ended does not.
		advance(idle)
		require.NoError(s.T, s.guard.SetLabel(s.T.Context(), "ada", adaID, "dormant"))
		require.Equal(s.T, "secret of ada", ada.Get("/home").Body)
		require.Equal(s.T, []string{"dormant"}, s.labelsOf("ada"))
		ada.Post("/logout")
		require.ErrorIs(s.T, s.guard.SetLabel(s.T.Context(), "ada", adaID, "ended"), sessionguard.ErrNoSession)
		advance(twoWeeks)
		require.ErrorIs(s.T, s.guard.SetLabel(s.T.Context(), "grace", graceID, "over"), sessionguard.ErrNoSession)
	})
}

func TestBadLabelIsRefused(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.addLabelRoutes()
		ada := s.browse()
		for _, bad := range []string{strings.Repeat("a", 101), "a\x00b", "a\nb", "\u202eevil", "\xff"} {
			s.loginOptions = labelled(bad)
			require.Equal(s.T, http.StatusForbidden, ada.Post("/login?user=ada").StatusCode, "%q", bad)
			require.Equal(s.T, "", statusOf(ada).Session, "nobody is logged in")
			require.Empty(s.T, s.labelsOf("ada"))
		}
		s.loginOptions = labelled("good")
		ada.login("ada")
		for _, bad := range []string{strings.Repeat("a", 101), "a%00b", "a%0Ab", "%E2%80%AEevil", "%FF"} {
			require.Equal(s.T, http.StatusUnprocessableEntity, ada.Post("/label?user=ada&label="+bad).StatusCode, bad)
		}
		require.Equal(s.T, []string{"good"}, s.labelsOf("ada"))
	})
}

func TestSetLabelLosesNothingThatOthersChangeMeanwhile(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.addLabelRoutes()
		ada := s.browse()
		ada.login("ada")
		id := statusOf(ada).Session
		for name, meanwhile := range map[string]func(){
			"saves a value": func() { ada.Post("/value?k=k&v=meanwhile") },
			"logs in again": func() { ada.login("ada") },
			"does both":     func() { ada.Post("/value?k=k&v=meanwhile"); ada.login("ada") },
		} {
			ada.Post("/value?k=k&v=before")
			ada.Post("/value?k=other&v=" + strings.ReplaceAll(name, " ", "-"))
			backend.beforeCall("Save", func() {
				backend.beforeCall("Save", nil)
				meanwhile()
			})
			require.NoError(t, s.guard.SetLabel(t.Context(), "ada", id, name), name)
			require.Equal(t, []string{name}, s.labelsOf("ada"), name)
			want := "meanwhile"
			if name == "logs in again" {
				want = "before"
			}
			require.Contains(t, ada.Get("/value?k=k").Body, want, name)
			require.Contains(t, ada.Get("/value?k=other").Body, strings.ReplaceAll(name, " ", "-"), name)
		}

		// The same request changes values and the label.
		require.Equal(t, "both", ada.Post("/label?user=ada&label=both&k=k&v=too").Body)
		require.Contains(t, ada.Get("/value?k=k").Body, "too")
		require.Equal(t, []string{"both"}, s.labelsOf("ada"))

		// A login that has loaded the session before takes over the label.
		backend.beforeCall("Replace", func() {
			backend.beforeCall("Replace", nil)
			require.NoError(t, s.guard.SetLabel(t.Context(), "ada", id, "overtook the login"))
		})
		ada.login("ada")
		require.Equal(t, []string{"overtook the login"}, s.labelsOf("ada"))

		// A logout that comes first has come first.
		backend.beforeCall("Save", func() {
			backend.beforeCall("Save", nil)
			ada.Post("/logout")
		})
		require.ErrorIs(t, s.guard.SetLabel(t.Context(), "ada", id, "too late"), sessionguard.ErrNoSession)
		require.Empty(t, s.labelsOf("ada"))
	})
}

func TestSetLabelWhileTheBackendFails(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.addLabelRoutes()
		ada := s.browse()
		ada.login("ada")
		for _, method := range []string{"LoadByID", "Save"} {
			backend.failOn(method)
			require.Equal(t, http.StatusServiceUnavailable, ada.Post("/label?user=ada&label=new").StatusCode, method)
		}
		backend.failOn()
		require.Equal(t, []string{""}, s.labelsOf("ada"))
		require.Equal(t, "new", ada.Post("/label?user=ada&label=new").Body)
	})
}

func TestSessionShowsFactorsAndActor(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		ada := s.browse()
		ada.login("ada")
		id, now := statusOf(ada).Session, store.TimeOf(time.Now())
		rec, err := backend.LoadByID(t.Context(), sessionCookie+"=ada", id)
		require.NoError(t, err)
		details := rec.Detail()
		details.Factors = []store.Factor{{Name: "pwd", At: now}, {Name: "otp", At: now + 1}}
		details.Actor = &store.Actor{Owner: sessionCookie + "=grace", ID: "id"}
		changed := *rec.Session
		changed.Details = &details
		changed.Version++
		require.NoError(t, backend.Save(t.Context(), store.Record{Session: &changed}))

		list, err := s.guard.Sessions(t.Context(), "ada")
		require.NoError(t, err)
		require.Equal(t, []sessionguard.Factor{{Name: "pwd", At: now.Time()}, {Name: "otp", At: (now + 1).Time()}}, list[0].Factors)
		require.Equal(t, "grace", list[0].Actor)
		require.Zero(t, list[0].Authenticated, "an actor's session is not fresh for the user")
		require.Zero(t, list[0].FreshUntil(time.Hour))
	})
}

// What is no whole login of a user's own is shown only if somebody acts for the user.
func TestSessionsThatCountForNoLimitAreNotListedWithoutAnActor(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		ada := s.browse()
		ada.login("ada")
		rec, err := backend.LoadByID(t.Context(), sessionCookie+"=ada", statusOf(ada).Session)
		require.NoError(t, err)
		for _, actor := range []*store.Actor{nil, {Owner: sessionCookie + "=grace", ID: "id"}} {
			other := *rec.Session
			other.Owner, other.ID = sessionCookie+":ada", strings.Repeat("A", 26)
			for other.Key[0]++; other.Key.Group() != store.GroupOf(other.Owner); {
				other.Key[31]++
			}
			other.Details = &store.Details{Actor: actor}
			_, err := backend.Create(t.Context(), store.Record{Session: &other, LastSeen: rec.LastSeen}, store.Limit{})
			require.NoError(t, err)
			err = s.guard.SetLabel(t.Context(), "ada", other.ID, "support")
			if actor == nil {
				require.ErrorIs(t, err, sessionguard.ErrNoSession)
				require.Equal(t, []string{""}, s.labelsOf("ada"))
			} else {
				require.NoError(t, err)
				require.ElementsMatch(t, []string{"", "support"}, s.labelsOf("ada"))
			}
			require.NoError(t, s.guard.EndSession(t.Context(), "ada", other.ID))
			rec = store.Record{Session: &other, LastSeen: rec.LastSeen}
		}
	})
}
