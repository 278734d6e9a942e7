package acceptance

import (
	"errors"
	"fmt"
	"net/http"
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
//	POST /login?user=…&factors=…  a login with these factors, separated by commas; else as newSite's
//	GET  /factor                  "<user> lacks <factors>", or "nobody"
//	POST /factor?user=…&factors=… as /login
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
