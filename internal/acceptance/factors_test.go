package acceptance

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// factorSite is a site whose users need a password and, with the role "otp", a one-time
// password.
//
//	GET  /factor                  "<user> lacks <factors>", or "nobody"
//	POST /factor?user=…&factors=… logs in with factors that commas separate
//	GET  /hwk                     "inside", for users with the factor "hwk"; a passive request
func factorSite(t *testing.T, configure func(*sessionguard.Config[*user])) *site {
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.FactorPath = "/factor"
		c.Factors = neededFactors
		if configure != nil {
			configure(c)
		}
	})
	for _, name := range []string{"ada", "grace"} {
		s.users.change(name, func(u *user) { u.Roles = append(slices.Clone(u.Roles), "otp") })
	}
	s.mux.HandleFunc("GET /factor", func(w http.ResponseWriter, r *http.Request) {
		if u, missing, ok := s.guard.Pending(r); ok {
			fmt.Fprintf(w, "%s lacks %s", u.ID, strings.Join(missing, ","))
			return
		}
		fmt.Fprint(w, "nobody")
	})
	s.mux.HandleFunc("POST /factor", s.loginWithFactors)
	s.mux.Handle("GET /hwk", s.guard.Passive(s.guard.RequireFactor("hwk")(new(gateProbe))))
	return s
}

func neededFactors(u *user) []string {
	if u.HasRole("otp") {
		return []string{"pwd", "otp"}
	}
	return []string{"pwd"}
}

// loginWithFactors logs in with the factors of the request, or responds with 403, or 409 if
// the pending login has ended.
func (s *site) loginWithFactors(w http.ResponseWriter, r *http.Request) {
	u, err := s.users.Find(r.Context(), r.FormValue("user"))
	if err == nil {
		var options []sessionguard.LoginOption
		if s.loginOptions != nil {
			options = s.loginOptions(u.ID)
		}
		if names := r.FormValue("factors"); names != "" {
			options = append(options, sessionguard.Factors(strings.Split(names, ",")...))
		}
		err = s.guard.Login(w, r, u, options...)
	}
	switch {
	case errors.Is(err, sessionguard.ErrNoSession):
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil:
		http.Error(w, err.Error(), http.StatusForbidden)
	default:
		http.Redirect(w, r, s.guard.Next(r, "/home"), http.StatusSeeOther)
	}
}

// prove logs in with factors, and fails the test if that is refused.
func (b *browser) prove(name, factors string) response {
	b.t.Helper()
	resp := b.Post("/factor?user=" + name + "&factors=" + factors)
	require.Equal(b.t, http.StatusSeeOther, resp.StatusCode, resp.Body)
	return resp
}

// F1: a login that lacks a factor logs nobody in; the one that completes it does, with a new
// token and the guard's own timeouts.
func TestALoginWithoutAllFactorsLogsNobodyIn(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := factorSite(t, nil)
		b := s.browse()
		b.prove("ada", "pwd")
		pending := b.Cookies()[sessionCookie]
		require.NotEmpty(t, pending)
		require.False(t, b.loggedIn())
		require.Equal(t, "ada lacks otp", b.Get("/factor").Body)
		require.Equal(t, "/factor?next=%2Fhome", b.Get("/home").Header.Get("Location"))

		advance(4 * time.Minute)
		b.prove("ada", "otp")
		require.NotEqual(t, pending, b.Cookies()[sessionCookie])
		require.True(t, b.loggedIn())
		require.Equal(t, "nobody", b.Get("/factor").Body)
		advance(idle - time.Millisecond)
		require.True(t, b.loggedIn())
	})
}

// F5: RequireFresh wants each of its factors to be new, and RequireFactor only that it is there.
func TestGatesThatNeedAFactor(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := factorSite(t, func(c *sessionguard.Config[*user]) { c.ReauthPath = "/reauth" })
		gates := map[string]func(http.Handler) http.Handler{
			"/f-otp":  s.guard.RequireFactor("otp"),
			"/f-hwk":  s.guard.RequireFactor("hwk"),
			"/r":      s.guard.RequireFresh(5 * time.Minute),
			"/r-pwd":  s.guard.RequireFresh(5*time.Minute, "pwd"),
			"/r-both": s.guard.RequireFresh(5*time.Minute, "pwd", "otp"),
			"/r-hwk":  s.guard.RequireFresh(5*time.Minute, "hwk"),
		}
		for path, gate := range gates {
			s.mux.Handle(path, gate(new(gateProbe)))
		}
		b := s.browse()
		b.prove("ada", "pwd")
		advance(time.Minute)
		b.prove("ada", "otp")
		check := func(when string, want map[string]string) {
			t.Helper()
			for path := range gates {
				resp := b.Get(path, "Accept", "text/html")
				got := resp.Header.Get("Location")
				if resp.StatusCode == http.StatusOK {
					got = ""
				}
				require.Equal(t, want[path], got, "%s %s", when, path)
			}
		}
		hwk := "/factor?next=%2Ff-hwk&factor=hwk"
		reauth := func(path, factor string) string {
			target := "/reauth?next=%2F" + path[1:]
			if factor != "" {
				target += "&factor=" + factor
			}
			return target
		}
		check("at once", map[string]string{"/f-hwk": hwk, "/r-hwk": reauth("/r-hwk", "hwk")})
		advance(4*time.Minute - time.Millisecond)
		check("before the edge", map[string]string{"/f-hwk": hwk, "/r-hwk": reauth("/r-hwk", "hwk")})
		advance(time.Millisecond)
		check("the password is old", map[string]string{"/f-hwk": hwk, "/r-hwk": reauth("/r-hwk", "hwk"),
			"/r-pwd": reauth("/r-pwd", "pwd"), "/r-both": reauth("/r-both", "pwd")})
		b.prove("ada", "pwd")
		check("again", map[string]string{"/f-hwk": hwk, "/r-hwk": reauth("/r-hwk", "hwk")})
		advance(time.Minute)
		check("the code is old", map[string]string{"/f-hwk": hwk, "/r-hwk": reauth("/r-hwk", "hwk"), "/r-both": reauth("/r-both", "otp")})
		b.prove("ada", "hwk")
		check("the key", map[string]string{"/r-both": reauth("/r-both", "otp")})

		program := b.Get("/r-both", "Accept", "application/json")
		program.Expect(http.StatusUnauthorized, "").Contains(`"error":"reauthentication_required","factor":"otp"}`)
		require.Equal(t, `Cookie form-action="/login", error="insufficient_user_authentication", max_age="300"`, program.Header.Get("WWW-Authenticate"))
		s.browse().Get("/f-hwk", "Accept", "text/html").Expect(http.StatusSeeOther, "/login?next=%2Ff-hwk")
		require.Contains(t, b.Get("/status").Body, `"factors":["otp","pwd","hwk"]`)
	})
}

// F1: what cannot be the name of a factor, or a configuration without a page, is refused.
func TestFactorsAreChecked(t *testing.T) {
	s := factorSite(t, nil)
	for _, names := range []string{"a b", strings.Repeat("x", 33), "pwd,", "é", "a,b,c,d,e,f,g,h,i", "a\x00"} {
		b := s.browse()
		b.Post("/factor?user=ada&factors="+url.QueryEscape(names)).Expect(http.StatusForbidden, "")
		require.Empty(t, b.Cookies()[sessionCookie])
		require.Panics(t, func() { s.guard.RequireFresh(0, strings.Split(names, ",")...) })
	}
	require.Panics(t, func() { s.guard.RequireFactor("") })
	for field, change := range map[string]func(*sessionguard.Config[*user]){
		"FactorPath is missing": func(c *sessionguard.Config[*user]) { c.FactorPath = "" },
		"FactorPath":            func(c *sessionguard.Config[*user]) { c.FactorPath = "https://other.example" },
		"FactorTimeout":         func(c *sessionguard.Config[*user]) { c.FactorTimeout = time.Second - 1 },
	} {
		config := s.config
		change(&config)
		_, err := sessionguard.New(config)
		require.ErrorContains(t, err, field)
	}
	bad := factorSite(t, func(c *sessionguard.Config[*user]) { c.Factors = func(*user) []string { return []string{""} } })
	bad.browse().Post("/factor?user=ada&factors=pwd").Expect(http.StatusForbidden, "").Contains("Config.Factors")
}

// F1: the audit trail says which factors a session has.
func TestEventsNameTheFactors(t *testing.T) {
	s := factorSite(t, nil)
	b := s.browse()
	b.prove("ada", "pwd")
	b.prove("ada", "otp")
	b.prove("ada", "pwd")
	var got []string
	for _, e := range s.events.take(sessionguard.EventLogin, sessionguard.EventLoginPending, sessionguard.EventReauthenticated) {
		got = append(got, fmt.Sprint(e.Name, " ", e.UserID, e.Factors))
	}
	require.Equal(t, []string{"sessionguard.login_pending ada[pwd]", "sessionguard.logged_in ada[pwd otp]", "sessionguard.reauthenticated ada[otp pwd]"}, got)
}

// F1: whatever Config.Factors returns, nobody is logged in who lacks some of it, and a session
// goes on once it makes sense again.
func TestWhateverIsNeededLogsNobodyInWhoLacksIt(t *testing.T) {
	for lacks, wrong := range map[string][]string{
		"ada lacks ": {""}, "ada lacks a b": {"pwd", "a b"}, "ada lacks a,b,c,d,e,f,g,h,i": strings.Split("a,b,c,d,e,f,g,h,i", ","),
		"ada lacks otp": {"otp", "pwd", "otp", "pwd"},
	} {
		needs := []string{"pwd"}
		s := factorSite(t, func(c *sessionguard.Config[*user]) { c.Factors = func(*user) []string { return needs } })
		b, other := s.browse(), s.browse()
		b.prove("ada", "pwd")
		needs = wrong
		require.False(t, b.loggedIn(), lacks)
		require.Equal(t, lacks, b.Get("/factor").Body)
		for _, client := range []*browser{b, other} {
			client.Post("/factor?user=ada&factors=pwd")
			require.False(t, client.loggedIn(), lacks)
		}
		needs = []string{"pwd"}
		require.True(t, b.loggedIn(), lacks)
		require.False(t, other.loggedIn(), lacks)
	}
}

// F1: a login whose Config.Factors panics logs nobody in, and takes nothing away.
func TestALoginWhoseFactorsPanic(t *testing.T) {
	panics := false
	s := factorSite(t, func(c *sessionguard.Config[*user]) {
		c.Factors = func(u *user) []string {
			if panics {
				panic("Factors")
			}
			return neededFactors(u)
		}
	})
	s.mux.HandleFunc("POST /recovers", func(w http.ResponseWriter, r *http.Request) {
		defer func() { panics = false }()
		func() {
			defer func() { require.Equal(t, "Factors", recover()) }()
			s.loginWithFactors(w, r)
		}()
	})
	for _, factors := range []string{"", "pwd", "pwd,otp"} {
		b := s.browse()
		if factors != "" {
			b.prove("ada", factors)
		}
		before := b.loggedIn()
		page := b.Get("/factor").Body
		panics = true
		b.Post("/recovers?user=ada&factors=pwd,otp")
		require.Equal(t, before, b.loggedIn(), factors)
		require.Equal(t, page, b.Get("/factor").Body, factors)
	}
}

// L5: a panic of Config.Factors makes nobody a visitor.
func TestAPanicOfFactorsIsNoVisitor(t *testing.T) {
	panics := false
	s := factorSite(t, func(c *sessionguard.Config[*user]) {
		c.Factors = func(*user) []string {
			if panics {
				panic("Factors")
			}
			return nil
		}
	})
	b := s.browse()
	b.prove("ada", "pwd")
	require.True(t, b.loggedIn())
	panics = true
	s.mux.HandleFunc("GET /recovers", func(w http.ResponseWriter, r *http.Request) {
		func() {
			defer func() { recover() }()
			s.guard.User(r)
		}()
		fmt.Fprint(w, "a page for a visitor")
	})
	b.Get("/recovers").Expect(http.StatusServiceUnavailable, "")
	panics = false
	require.True(t, b.loggedIn())
}
