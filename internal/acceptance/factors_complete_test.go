package acceptance

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// F3: what is proven for one user, or under another stamp, is not added to another's login.
func TestFactorsAreAddedOnlyToTheSameUsers(t *testing.T) {
	s := factorSite(t, nil)
	b := s.browse()
	b.prove("ada", "pwd")
	b.prove("grace", "otp")
	require.Equal(t, "grace lacks pwd", b.Get("/factor").Body)
	b.prove("ada", "otp")
	require.Equal(t, "ada lacks pwd", b.Get("/factor").Body)
	require.False(t, b.loggedIn())

	changed := s.browse()
	changed.prove("ada", "pwd")
	s.users.change("ada", func(u *user) { u.Stamp = "new" })
	changed.prove("ada", "otp")
	require.Equal(t, "ada lacks pwd", changed.Get("/factor").Body)
}

// F3: the token of a pending login is worth nothing once a login has completed it.
func TestTheTokenOfACompletedLoginIsDead(t *testing.T) {
	s := factorSite(t, nil)
	b := s.browse()
	b.prove("ada", "pwd")
	thief := s.copyOf(b)
	b.prove("ada", "otp")
	require.Equal(t, "nobody", thief.Get("/factor").Body)
	require.False(t, thief.loggedIn())
	thief.prove("ada", "otp")
	require.Equal(t, "ada lacks pwd", thief.Get("/factor").Body)
	require.True(t, b.loggedIn(), "and takes nothing from whoever is logged in")
}

// F3: of many logins that complete a pending one at once, one does.
func TestAPendingLoginIsCompletedOnce(t *testing.T) {
	for name, limit := range map[string]store.Limit{"no limit": {}, "a limit": {Max: 1}, "a limit that refuses": {Max: 3, Refuse: true}} {
		s := factorSite(t, func(c *sessionguard.Config[*user]) {
			c.MaxSessions = func(*user) store.Limit { return limit }
		})
		for range 10 {
			require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
			first := s.browse()
			first.prove("ada", "pwd")
			var copies []*browser
			for range 5 {
				copies = append(copies, s.copyOf(first))
			}
			s.events.take()
			statuses := make([]int, len(copies))
			var wg sync.WaitGroup
			for i, b := range copies {
				wg.Go(func() { statuses[i] = b.Post("/factor?user=ada&factors=otp").StatusCode })
			}
			wg.Wait()
			in := 0
			for i, b := range copies {
				if b.loggedIn() {
					in++
					require.Equal(t, http.StatusSeeOther, statuses[i])
				}
			}
			require.Equal(t, 1, in, "%s: %v", name, statuses)
			require.Len(t, s.events.take(sessionguard.EventLogin), 1, name)
			sessions, err := s.guard.Sessions(t.Context(), "ada")
			require.NoError(t, err)
			require.Len(t, sessions, 1, name)
		}
	}
}

// F3: a pending login that ends while another request completes it is not completed.
func TestALoginThatEndsIsNotCompleted(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		backend := newFailingBackend()
		s := factorSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = backend
			c.MaxSessions = func(*user) store.Limit { return store.Limit{Max: 5, Refuse: refuse} }
		})
		b := s.browse()
		b.prove("ada", "pwd")
		backend.beforeCall("Delete", func() {
			backend.beforeCall("Delete", nil)
			require.NoError(t, s.guard.EndUser(context.Background(), "ada"))
		})
		b.Post("/factor?user=ada&factors=otp").Expect(http.StatusConflict, "")
		require.False(t, b.loggedIn())
		sessions, err := s.guard.Sessions(t.Context(), "ada")
		require.NoError(t, err)
		require.Empty(t, sessions)
	}
}

// F4: pending logins count for no limit: neither do they end or refuse others, nor are they
// ended or refused.
func TestPendingLoginsCountForNoLimit(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		s := factorSite(t, func(c *sessionguard.Config[*user]) {
			c.MaxSessions = func(*user) store.Limit { return store.Limit{Max: 1, Refuse: refuse} }
		})
		whole := s.browse()
		whole.prove("ada", "pwd,otp")
		var pending []*browser
		for range 5 {
			b := s.browse()
			b.prove("ada", "pwd")
			pending = append(pending, b)
		}
		require.True(t, whole.loggedIn())
		sessions, err := s.guard.Sessions(t.Context(), "ada")
		require.NoError(t, err)
		require.Len(t, sessions, 1)
		for _, b := range pending {
			require.Equal(t, "ada lacks otp", b.Get("/factor").Body)
		}
		resp := pending[0].Post("/factor?user=ada&factors=otp")
		require.Equal(t, refuse, resp.StatusCode == http.StatusForbidden)
		require.Equal(t, refuse, whole.loggedIn())
		if refuse { // what was proven is not lost
			require.Equal(t, "ada lacks otp", pending[0].Get("/factor").Body)
			whole.Post("/logout")
			pending[0].prove("ada", "otp")
			require.True(t, pending[0].loggedIn())
		}
		require.Equal(t, "ada lacks otp", pending[1].Get("/factor").Body)
	}
}

// F4: a pending login is never remembered: not by its cookie, nor by the server.
func TestAPendingLoginIsNeverRemembered(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := factorSite(t, func(c *sessionguard.Config[*user]) { c.RememberFor = 14 * 24 * time.Hour })
		s.loginOptions = func(string) []sessionguard.LoginOption {
			return []sessionguard.LoginOption{sessionguard.Remember(), sessionguard.IdleTimeout(time.Hour), sessionguard.AbsoluteTimeout(24 * time.Hour)}
		}
		b := s.browse()
		require.Zero(t, b.prove("ada", "pwd").Cookies()[0].MaxAge)
		late := s.browse()
		late.prove("ada", "pwd")
		require.NotZero(t, b.prove("ada", "otp").Cookies()[0].MaxAge, "the login that completes it asks for itself")
		advance(5 * time.Minute)
		require.Equal(t, "nobody", late.Get("/factor").Body)
		late.Get("/home", "Accept", "text/html").Expect(http.StatusSeeOther, "/login?next=%2Fhome&reason="+string(store.ReasonIdle))
		advance(2 * time.Hour)
		require.Equal(t, http.StatusOK, b.Get("/home").StatusCode, "a revived session is whole")
		require.Equal(t, "reauthentication_required", gateVerdict(b.Get("/fresh", "Accept", "application/json")))

		s.users.change("ada", func(u *user) { u.Roles = []string{"Engineer", "otp", "hwk"} })
		require.Equal(t, http.StatusOK, b.Get("/home").StatusCode)
	})
}

// F4: a session that a cookie has revived has proven nothing, so it cannot be completed.
func TestARevivedSessionThatLacksAFactorEnds(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := factorSite(t, func(c *sessionguard.Config[*user]) { c.RememberFor = 14 * 24 * time.Hour })
		s.loginOptions = func(string) []sessionguard.LoginOption { return []sessionguard.LoginOption{sessionguard.Remember()} }
		s.users.change("ada", func(u *user) { u.Roles = []string{"Engineer"} })
		b := s.browse()
		b.prove("ada", "pwd")
		advance(idle)
		s.users.change("ada", func(u *user) { u.Roles = []string{"Engineer", "otp"} })
		b.Get("/home", "Accept", "text/html").Expect(http.StatusSeeOther, "/login?next=%2Fhome&reason=credentials_changed")
		b.prove("ada", "otp")
		require.Equal(t, "ada lacks pwd", b.Get("/factor").Body)
	})
}

// F3: a session whose user needs another factor since goes on, with its ID and its values,
// once that is proven. Its streams do not wait for that.
func TestASessionThatLacksAFactorGoesOnOnceItIsProven(t *testing.T) {
	for _, ask := range []bool{false, true} {
		s := factorSite(t, nil)
		s.mux.HandleFunc("POST /ask", func(w http.ResponseWriter, r *http.Request) {
			if ask {
				s.guard.Pending(r)
				session, _ := s.guard.Get(r, "app")
				session.Values["of"] = "a visitor"
			}
			s.loginWithFactors(w, r)
		})
		b := pendingClients(s)["demoted"]
		before, err := s.guard.Sessions(t.Context(), "grace")
		require.NoError(t, err)
		b.Post("/ask?user=grace&factors=otp").Expect(http.StatusSeeOther, "/home")
		require.True(t, b.loggedIn())
		require.Equal(t, "of-grace <nil>", b.Get("/value?k=secret").Body)
		require.Equal(t, "<nil> <nil>", b.Get("/value?k=of").Body)
		after, err := s.guard.Sessions(t.Context(), "grace")
		require.NoError(t, err)
		require.Equal(t, before[0].ID, after[0].ID)
	}
}

func TestAStreamEndsWhenItsSessionIsFoundToLackAFactor(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := factorSite(t, nil)
		s.users.change("grace", func(u *user) { u.Roles = []string{"Admin"} })
		b := s.browse()
		b.prove("grace", "pwd")
		cause := make(chan error, 1)
		s.mux.Handle("GET /events", s.passiveCancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			cause <- context.Cause(r.Context())
		})))
		other := s.copyOf(b)
		go other.Send(other.Request("GET", "/events"))
		advance(time.Second)
		s.users.change("grace", func(u *user) { u.Roles = []string{"Admin", "otp"} })
		b.Get("/home")
		var ended *sessionguard.SessionEndedError
		require.ErrorAs(t, <-cause, &ended)
		require.Equal(t, store.ReasonCredentialsChanged, ended.Reason)
	})
}

// F4: the values of a visitor stay while a login is pending, and move into the session that
// completes it. Those of another user's session do neither.
func TestAVisitorsValuesWaitForTheLogin(t *testing.T) {
	s := factorSite(t, nil)
	b := s.browse()
	b.Post("/value?k=cart&v=book")
	b.prove("ada", "pwd")
	require.NotEmpty(t, b.Cookies()[visitorCookie])
	require.Equal(t, "book <nil>", b.Get("/value?k=cart").Body)
	b.Post("/value?k=more&v=pen")
	b.prove("ada", "otp")
	require.Empty(t, b.Cookies()[visitorCookie])
	require.Equal(t, "book <nil>", b.Get("/value?k=cart").Body)
	require.Equal(t, "pen <nil>", b.Get("/value?k=more").Body)

	s.mux.HandleFunc("POST /other", func(w http.ResponseWriter, r *http.Request) {
		session, _ := s.guard.Get(r, "app")
		s.loginWithFactors(w, r)
		fmt.Fprint(w, len(session.Values))
	})
	b.Post("/other?user=grace&factors=pwd")
	require.Equal(t, "<nil> <nil>", b.Get("/value?k=cart").Body)
	b.prove("grace", "otp")
	require.Equal(t, "<nil> <nil>", b.Get("/value?k=cart").Body)
}

// L6: a pending login whose response nobody gets is undone too.
func TestAPendingLoginIsUndone(t *testing.T) {
	backend := newFailingBackend()
	s := factorSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	ada := &user{ID: "ada", Roles: []string{"Engineer", "otp"}}
	for path, handler := range map[string]http.HandlerFunc{
		"/panic": func(w http.ResponseWriter, r *http.Request) {
			s.guard.Login(w, r, ada, sessionguard.Factors("pwd"))
			panic(http.ErrAbortHandler)
		},
		"/lost": func(w http.ResponseWriter, r *http.Request) {
			s.guard.Login(w, r, ada, sessionguard.Factors("pwd"))
			giveUp(r)
			io.WriteString(w, "hello")
		},
		"/unsaveable": func(w http.ResponseWriter, r *http.Request) {
			s.guard.Login(w, r, ada, sessionguard.Factors("pwd"))
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = make(chan int)
		},
	} {
		s.mux.HandleFunc("POST "+path, handler)
		b := browse(t, serve(t, cancelling(s.guard.Handler(s.mux))))
		b.Send(b.Request("POST", path))
		require.Empty(t, b.Cookies()[sessionCookie], path)
		require.Eventually(t, func() bool {
			owned, err := backend.Backend.ByOwner(t.Context(), sessionCookie+":ada", "", store.MaxPage)
			return err == nil && len(owned) == 0
		}, 10*time.Second, time.Millisecond, path)
	}
}

// F1 to F3, in any order of steps: somebody is logged in if and only if all factors of that
// user have been proven in this browser since the last login as somebody else, and within
// FactorTimeout.
func TestRandomOrdersOfLoginSteps(t *testing.T) {
	for seed := range uint64(20) {
		withFakeClock(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			s := factorSite(t, nil)
			needs := func() []string { return neededFactors(&user{Roles: []string{"otp"}}) }
			b := s.browse()
			who, whole, since := "", false, time.Now()
			proven := map[string]time.Time{}
			has := func(f string) bool { _, ok := proven[f]; return ok }
			trace := ""
			forget := func() { who, whole = "", false; clear(proven) }
			for range 60 {
				if !whole && time.Since(since) >= 5*time.Minute {
					forget()
				}
				switch step := random.IntN(10); step {
				case 0:
					b.Post("/logout")
					forget()
					trace += " logout"
				case 1:
					d := time.Duration(random.IntN(4)) * time.Minute
					advance(d)
					trace += fmt.Sprint(" ", d)
				default:
					name := []string{"ada", "ada", "ada", "grace"}[random.IntN(4)]
					factors := []string{"pwd", "otp", "hwk", "pwd,otp", "otp,hwk"}[random.IntN(5)]
					b.prove(name, factors)
					if name != who {
						forget()
					}
					if !whole {
						maps.DeleteFunc(proven, func(_ string, at time.Time) bool { return time.Since(at) >= 5*time.Minute })
					}
					who, since = name, time.Now()
					for f := range strings.SplitSeq(factors, ",") {
						proven[f] = since
					}
					whole = !slices.ContainsFunc(needs(), func(f string) bool { return !has(f) })
					trace += fmt.Sprint(" ", name, ":", factors)
				}
				if !whole && time.Since(since) >= 5*time.Minute {
					forget()
				}
				require.Equal(t, whole, b.loggedIn(), "seed %d:%s", seed, trace)
				page := b.Get("/factor").Body
				require.Equal(t, who != "" && !whole, strings.HasPrefix(page, who+" lacks "), "seed %d:%s: %s", seed, trace, page)
				require.Equal(t, whole && has("hwk"), strings.HasPrefix(b.Get("/hwk").Body, "inside"), "seed %d:%s", seed, trace)
			}
		})
	}
}
