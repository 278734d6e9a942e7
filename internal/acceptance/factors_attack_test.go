package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// F3, F5: a copy of a remembered cookie has proven nothing, whatever its session had. A
// password does not make it whole.
func TestARevivedSessionHasProvenNothing(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := factorSite(t, func(c *sessionguard.Config[*user]) { c.RememberFor = 14 * 24 * time.Hour })
		s.loginOptions = func(string) []sessionguard.LoginOption { return []sessionguard.LoginOption{sessionguard.Remember()} }
		s.mux.Handle("GET /otp", s.guard.RequireFactor("otp")(new(gateProbe)))
		s.mux.Handle("GET /fresh-otp", s.guard.RequireFresh(24*time.Hour, "otp")(new(gateProbe)))
		verdict := func(b *browser, path string) string { return gateVerdict(b.Get(path, "Accept", "application/json")) }
		b := s.browse()
		b.prove("ada", "pwd,otp")
		require.NotEqual(t, "factor_required", verdict(b, "/otp"))
		require.NotEqual(t, "reauthentication_required", verdict(b, "/fresh-otp"))
		advance(idle)
		thief := s.copyOf(b)
		require.Equal(t, http.StatusOK, thief.Get("/home").StatusCode)
		require.Equal(t, "factor_required", verdict(thief, "/otp"))
		require.Equal(t, "reauthentication_required", verdict(thief, "/fresh-otp"))
		require.NotContains(t, thief.Get("/status").Body, "factors")
		thief.prove("ada", "pwd")
		require.Equal(t, "ada lacks otp", thief.Get("/factor").Body)
		require.False(t, thief.loggedIn())
	})
}

// F2, F4: a password does not make a session whole that lacks a factor, nor remembered.
func TestAPasswordAloneKeepsASessionPending(t *testing.T) {
	for _, ask := range []bool{false, true} {
		withFakeClock(t, func(t *testing.T) {
			s := factorSite(t, func(c *sessionguard.Config[*user]) { c.RememberFor = 14 * 24 * time.Hour })
			s.mux.HandleFunc("POST /again", func(w http.ResponseWriter, r *http.Request) {
				if ask {
					s.guard.Pending(r)
				}
				u, _ := s.users.Find(r.Context(), "grace")
				err := s.guard.Login(w, r, u, sessionguard.Factors("pwd"), sessionguard.Remember())
				_, in := s.guard.User(r)
				_, whole := s.guard.Session(r)
				_, missing, pending := s.guard.Pending(r)
				session, _ := s.guard.Get(r, "app")
				fmt.Fprint(w, err, in, whole, pending, missing, session.Values)
			})
			b := pendingClients(s)["demoted"]
			s.events.take()
			require.Equal(t, "<nil> false false true [otp] map[]", b.Post("/again").Body)
			require.Len(t, s.events.take(sessionguard.EventLoginPending), 1)
			require.False(t, b.loggedIn())
			require.Equal(t, "grace lacks otp", b.Get("/factor").Body)
			sessions, err := s.guard.Sessions(t.Context(), "grace")
			require.NoError(t, err)
			require.Zero(t, sessions[0].RememberedUntil)

			late := s.copyOf(b)
			b.prove("grace", "otp")
			require.Equal(t, "of-grace <nil>", b.Get("/value?k=secret").Body)
			require.False(t, late.loggedIn(), "its token has been replaced")

			again := pendingClients(s)["demoted"]
			again.Post("/again")
			advance(idle)
			s.users.change("grace", func(u *user) { u.Roles = []string{"Admin"} })
			require.False(t, again.loggedIn(), "a cookie that a password alone has bought")
		})
	}
}

// F2, F3: the request of each step knows at once what it has made of the client.
func TestEachStepOfALoginIsKnownToItsRequest(t *testing.T) {
	backend := newFailingBackend()
	s := factorSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	login := func(w http.ResponseWriter, r *http.Request, name, factor string) {
		u, _ := s.users.Find(r.Context(), name)
		require.NoError(t, s.guard.Login(w, r, u, sessionguard.Factors(factor)))
		_, user := s.guard.User(r)
		_, session := s.guard.Session(r)
		p, missing, pending := s.guard.Pending(r)
		fmt.Fprintln(w, user, session, pending, missing, p != nil)
	}
	const isPending, isWhole = "false false true [otp] true\n", "true true false [] false\n"
	step := func(ask bool, steps ...[2]string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if ask {
				s.guard.Pending(r)
			}
			buffer := &lateBody{ResponseWriter: w}
			for _, step := range steps {
				login(buffer, r, step[0], step[1])
			}
			w.Write(buffer.body)
		}
	}
	for _, ask := range []bool{false, true} {
		prefix := fmt.Sprintf("POST /%t/", ask)
		s.mux.HandleFunc(prefix+"pwd", step(ask, [2]string{"ada", "pwd"}))
		s.mux.HandleFunc(prefix+"otp", step(ask, [2]string{"ada", "otp"}))
		s.mux.HandleFunc(prefix+"both", step(ask, [2]string{"ada", "pwd"}, [2]string{"ada", "otp"}))
		s.mux.HandleFunc(prefix+"other", step(ask, [2]string{"ada", "pwd"}, [2]string{"grace", "pwd"}))
		path := fmt.Sprintf("/%t/", ask)
		b := s.browse()
		require.Equal(t, isPending, b.Post(path+"pwd").Body)
		require.Equal(t, isWhole, b.Post(path+"otp").Body)
		b.Post("/logout")
		require.Equal(t, isPending+isWhole, b.Post(path+"both").Body)
		require.Equal(t, isPending+isPending, s.browse().Post(path+"other").Body)
		owned, err := backend.Backend.ByOwner(t.Context(), sessionCookie+":ada", "", store.MaxPage)
		require.NoError(t, err)
		require.Empty(t, owned, "each ended with the step after it")
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
	}
}

// lateBody keeps what is written, so that no response begins.
type lateBody struct {
	http.ResponseWriter
	body []byte
}

func (l *lateBody) Write(p []byte) (int, error) { l.body = append(l.body, p...); return len(p), nil }
func (l *lateBody) Unwrap() http.ResponseWriter { return l.ResponseWriter }

// F3: what was proven in a session from before a password change, or in one that ends
// meanwhile, makes no other whole.
func TestFactorsOfASessionThatHasEndedAreGone(t *testing.T) {
	s := factorSite(t, nil)
	b := s.browse()
	b.prove("ada", "pwd,otp")
	b.Post("/value?k=cart&v=book")
	s.users.change("ada", func(u *user) { u.Stamp = "new" })
	b.prove("ada", "pwd")
	require.Equal(t, "ada lacks otp", b.Get("/factor").Body)
	require.Equal(t, "<nil> <nil>", b.Get("/value?k=cart").Body)
	require.False(t, b.loggedIn())

	backend := newFailingBackend()
	s = factorSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	b = pendingClients(s)["demoted"]
	backend.beforeCall("Replace", func() {
		backend.beforeCall("Replace", nil)
		require.NoError(t, s.guard.EndUser(context.Background(), "grace"))
	})
	b.prove("grace", "otp")
	require.Equal(t, "grace lacks pwd", b.Get("/factor").Body)
	require.False(t, b.loggedIn())
}

// F4: a login that takes the place of another's session does not take up a visitor's cookie
// that was planted beside it.
func TestAPendingLoginTakesNoPlantedValues(t *testing.T) {
	s := factorSite(t, nil)
	planted, b := s.browse(), s.browse()
	planted.Post("/value?k=cart&v=planted")
	b.prove("grace", "pwd,otp")
	cookies := b.Cookies()
	cookies[visitorCookie] = planted.Cookies()[visitorCookie]
	b.SetCookies(cookies)
	b.prove("ada", "pwd")
	require.Equal(t, "<nil> <nil>", b.Get("/value?k=cart").Body)
	b.prove("ada", "otp")
	require.Equal(t, "<nil> <nil>", b.Get("/value?k=cart").Body)
}

// K2: a pending login beside a whole one, one of which somebody has planted, is as two whole
// ones: neither counts, and neither's factors help the other. A login ends both.
func TestAWholeAndAPendingLoginTogetherCountAsNone(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s = factorSite(s.T, func(c *sessionguard.Config[*user]) { c.Backend = s.config.Backend })
		for _, name := range []string{"ada", "grace"} {
			whole, pending := s.browse(), s.browse()
			whole.prove("ada", "pwd,otp")
			pending.prove(name, "pwd")
			w, p := whole.Cookies()[sessionCookie], pending.Cookies()[sessionCookie]
			for _, both := range []string{cookiesNamed(sessionCookie, w, p), cookiesNamed(sessionCookie, p, w)} {
				resp := s.browse().Get("/home", "Cookie", both)
				resp.Expect(http.StatusSeeOther, "/login?next=%2Fhome")
				require.Empty(s.T, resp.Header["Set-Cookie"])
				require.Equal(s.T, "nobody", s.browse().Get("/factor", "Cookie", both).Body)
			}
			fresh := s.browse().Post("/factor?user=ada&factors=otp", "Cookie", cookiesNamed(sessionCookie, w, p)).Cookie(sessionCookie).Value
			require.Equal(s.T, "ada lacks pwd", s.browse().Get("/factor", "Cookie", cookiesNamed(sessionCookie, w, fresh, p)).Body)
			require.False(s.T, whole.loggedIn())
			require.Equal(s.T, "nobody", pending.Get("/factor").Body)
		}
	})
}

// F2: a prefetch is refused as the page will be, and changes nothing.
func TestAPrefetchOfAPendingLoginIsRefused(t *testing.T) {
	s := factorSite(t, nil)
	for kind, b := range pendingClients(s) {
		for _, header := range []string{"Sec-Purpose", "Purpose", "X-Moz"} {
			resp := b.Get("/home", "Accept", "text/html", header, "prefetch")
			resp.Expect(http.StatusSeeOther, "/factor?next=%2Fhome")
			require.Empty(t, resp.Header["Set-Cookie"], kind)
			require.Contains(t, b.Get("/factor", header, "prefetch").Body, " lacks otp", kind)
		}
		require.Contains(t, b.Get("/factor").Body, " lacks otp", kind)
	}
}

// F2: where Refusals.Factor replaces the response, the script's routes have it too.
func TestResumeUsesTheCustomRefusalOfAPendingLogin(t *testing.T) {
	s := factorSite(t, func(c *sessionguard.Config[*user]) {
		c.Refusals.Factor = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	})
	s.mux.Handle("/sessionguard/", s.guard.Script())
	for _, b := range pendingClients(s) {
		for _, route := range []string{"resume", "continue"} {
			b.Get("/sessionguard/"+route+"?next=%2Fhome", "Accept", "text/html").Expect(http.StatusTeapot, "")
		}
	}
}

// F1: proving one factor again does not keep another, however often it is done.
func TestAFactorIsNotKeptByProvingAnother(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := factorSite(t, func(c *sessionguard.Config[*user]) {
			c.Factors = func(*user) []string { return []string{"pwd", "otp", "hwk"} }
		})
		b := s.browse()
		b.prove("ada", "pwd,otp")
		advance(5*time.Minute - time.Millisecond)
		b.prove("ada", "pwd")
		require.Equal(t, "ada lacks hwk", b.Get("/factor").Body)
		advance(time.Millisecond)
		require.Equal(t, "ada lacks hwk", b.Get("/factor").Body, "it waits for a proof")
		b.prove("ada", "hwk")
		require.Equal(t, "ada lacks otp", b.Get("/factor").Body)
		require.False(t, b.loggedIn())
	})
}

// F3: of many logins that make a session whole again at once, with copies of its cookie, one
// at most leaves its browser logged in. One that comes later has a dead token: it begins anew,
// and ends the session as any login does.
func TestASessionThatLacksAFactorIsCompletedByOneAtMost(t *testing.T) {
	for _, backend := range []store.Backend{store.NewMemory(), newFailingBackend()} {
		s := factorSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		for range 5 {
			require.NoError(t, s.guard.EndUser(t.Context(), "grace"))
			first := pendingClients(s)["demoted"]
			var copies []*browser
			for range 5 {
				copies = append(copies, s.copyOf(first))
			}
			var wg sync.WaitGroup
			for _, b := range copies {
				wg.Go(func() { b.Post("/factor?user=grace&factors=otp") })
			}
			wg.Wait()
			in := 0
			for _, b := range append(copies, first) {
				if b.loggedIn() {
					in++
				}
			}
			require.LessOrEqual(t, in, 1)
			sessions, err := s.guard.Sessions(t.Context(), "grace")
			require.NoError(t, err)
			require.Len(t, sessions, in)
		}
	}
}

// I1: who is half logged in is nobody in the audit trail of what the request ends, and a
// pending login that the request itself has found to be over is none.
func TestAPendingLoginIsNoActor(t *testing.T) {
	s := factorSite(t, nil)
	s.mux.HandleFunc("POST /end-all", func(w http.ResponseWriter, r *http.Request) {
		_, _, ok := s.guard.Pending(r)
		fmt.Fprint(w, ok, s.guard.EndUser(r.Context(), r.FormValue("user")))
	})
	for kind, b := range pendingClients(s) {
		name := map[string]string{"began": "ada", "demoted": "grace"}[kind]
		s.events.take()
		require.Equal(t, "true <nil>", b.Post("/end-all?user="+name).Body)
		ended := s.events.take(sessionguard.EventEnded)
		require.Len(t, ended, 1)
		require.Empty(t, ended[0].Actor)
		require.Equal(t, store.ReasonEnded, ended[0].Reason)
	}

	b := s.browse()
	b.prove("ada", "pwd")
	s.mux.HandleFunc("POST /late", func(w http.ResponseWriter, r *http.Request) {
		s.users.change("ada", func(u *user) { u.Roles = nil })
		_, _, ok := s.guard.Pending(r)
		require.False(t, ok)
		s.loginWithFactors(w, r)
	})
	b.Post("/late?user=ada&factors=otp").Expect(http.StatusSeeOther, "/home")
	require.Equal(t, "ada lacks pwd", b.Get("/factor").Body)
}

// F2: a stream that a pending login has begun is a visitor's: what ends the login, or
// completes it, does not end the stream, and EndStreams does.
func TestAStreamOfAPendingLoginIsAVisitors(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := factorSite(t, nil)
		causes := make(chan error, 2)
		s.mux.Handle("GET /events", s.guard.Passive(s.guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			causes <- context.Cause(r.Context())
		}))))
		clients := pendingClients(s)
		for _, b := range clients {
			other := s.copyOf(b)
			go other.Send(other.Request("GET", "/events"))
		}
		advance(time.Second)
		clients["began"].prove("ada", "otp")
		clients["demoted"].Post("/logout")
		advance(time.Hour)
		require.Empty(t, causes)
		s.guard.EndStreams()
		for range clients {
			require.ErrorIs(t, <-causes, http.ErrServerClosed)
		}
	})
}

// L5: nobody is pending in a request whose logout has failed.
func TestAfterAFailedLogoutNobodyIsPending(t *testing.T) {
	backend := newFailingBackend()
	s := factorSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	b := s.browse()
	b.prove("ada", "pwd")
	ran := false
	s.mux.HandleFunc("POST /end", func(w http.ResponseWriter, r *http.Request) {
		_, _, before := s.guard.Pending(r)
		require.True(t, before)
		backend.failOn("Delete")
		require.ErrorIs(t, s.guard.End(w, r), sessionguard.ErrUnavailable)
		backend.failOn()
		_, _, after := s.guard.Pending(r)
		require.False(t, after)
		ran = true
	})
	b.Post("/end").Expect(http.StatusServiceUnavailable, "")
	require.True(t, ran)
}

// A secret is for the session that put it while whole, or for the login that is pending, and
// not for the other, although both may have one ID.
func TestASecretIsNotForAnotherStepOfTheLogin(t *testing.T) {
	s := factorSite(t, nil).secretRoutes()
	began := s.browse()
	began.prove("ada", "pwd")
	began.put("a", "pending")
	require.Equal(t, "took pending", began.take("a"))
	began.put("a", "pending")
	began.prove("ada", "otp")
	require.Equal(t, noSecret, began.take("a"))

	s.users.change("grace", func(u *user) { u.Roles = []string{"Admin"} })
	b := s.browse()
	b.prove("grace", "pwd")
	b.put("a", "whole")
	s.users.change("grace", func(u *user) { u.Roles = []string{"Admin", "otp"} })
	require.Equal(t, noSecret, b.take("a"))
	b.put("b", "pending")
	b.put("c", "pending")
	require.Equal(t, "took pending", b.take("b"))
	b.prove("grace", "otp")
	require.Equal(t, noSecret, b.take("c"))
	require.Equal(t, "took whole", b.take("a"), "logged in again")
}
