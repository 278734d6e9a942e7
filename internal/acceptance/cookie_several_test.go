package acceptance

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// cookiesNamed returns a Cookie header with these values of one cookie.
func cookiesNamed(name string, values ...string) string {
	return name + "=" + strings.Join(values, "; "+name+"=")
}

// K2, over a network, with a client that sends several Cookie headers.
func TestOfSeveralSessionCookiesTheOneOfALiveSessionCounts(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s, backend, b := writerSite(t, proto, nil)
		b.login("ada")
		live := b.Cookies()[sessionCookie]
		ended := s.browse()
		ended.login("ada")
		old := ended.Cookies()[sessionCookie]
		ended.Post("/logout")
		b.Client.Jar = nil
		real, forged := sessionCookie+"="+live, sessionCookie+"="+flip(live, 40, 1)
		s.events.take()
		for _, test := range []struct {
			lines []string
			loads int
		}{
			{[]string{real + "; " + real}, 1}, {[]string{real, real}, 1}, {[]string{"a=b", real, "c=d; " + real}, 1},
			{[]string{real, sessionCookie + "=x"}, 1}, {[]string{sessionCookie + "=x", real}, 1},
			{[]string{real + "; " + sessionCookie + "="}, 1}, {[]string{sessionCookie + "=; " + real}, 1},
			{[]string{real + "; " + forged}, 1}, {[]string{forged, real}, 1},
			{[]string{cookiesNamed(sessionCookie, old, live)}, 3}, {[]string{real, sessionCookie + "=" + old}, 3},
			{[]string{cookiesNamed(sessionCookie, "x", old, "y", live, "z", live, flip(live, 40, 1))}, 3},
		} {
			before := backend.callCounts()
			req := b.Request("GET", "/home")
			req.Header["Cookie"] = test.lines
			resp := b.Do(req)
			require.Equal(t, "secret of ada", resp.Body, "%q", test.lines)
			require.Empty(t, resp.Header["Set-Cookie"])
			require.Equal(t, map[string]int{"Load": test.loads}, callsSince(backend, before), "%q", test.lines)
		}
		require.Empty(t, s.events.take())
		require.Empty(t, s.log.String())
	})
}

// K2, I1: somebody who can set cookies for the domain plants a live session of their own. It
// is of no use beside the user's: neither counts. A login ends both.
func TestTwoCookiesOfLiveSessionsCountAsNone(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		for _, dormant := range []bool{false, true} {
			ada, grace := s.browse(), s.browse()
			ada.login("ada")
			grace.login("grace")
			mine, planted := ada.Cookies()[sessionCookie], grace.Cookies()[sessionCookie]
			if dormant {
				advance(idle)
				grace.login("grace")
				planted = grace.Cookies()[sessionCookie]
			}
			s.events.take()
			for _, both := range []string{cookiesNamed(sessionCookie, mine, planted), cookiesNamed(sessionCookie, planted, mine, planted)} {
				advance(time.Second)
				resp := s.browse().Get("/home", "Cookie", both)
				require.Equal(s.T, http.StatusSeeOther, resp.StatusCode)
				require.Equal(s.T, "/login?next=%2Fhome", resp.Header.Get("Location"), "and no reason")
				require.Empty(s.T, resp.Header["Set-Cookie"])
				require.Equal(s.T, "welcome nobody []", s.browse().Get("/", "Cookie", both).Body)
				events := s.events.take(sessionguard.EventSeveralCookies, sessionguard.EventUnverifiedCookie, sessionguard.EventTheftSuspected)
				require.Len(s.T, events, 1)
				require.Equal(s.T, sessionguard.EventSeveralCookies, events[0].Name)
				var b bytes.Buffer
				events[0].Log(s.T.Context(), slog.New(slog.NewTextHandler(&b, nil)))
				require.Contains(s.T, b.String(), "WARN")
				require.Contains(s.T, b.String(), "two cookies named "+sessionCookie)
			}
			resp := s.browse().Post("/login?user=ada", "Cookie", cookiesNamed(sessionCookie, planted, mine))
			fresh := resp.Cookie(sessionCookie).Value
			require.Equal(s.T, "secret of ada", s.browse().Get("/home", "Cookie", cookiesNamed(sessionCookie, planted, fresh, mine)).Body)
			require.False(s.T, ada.loggedIn())
			require.False(s.T, grace.loggedIn())
		}
		require.Equal(s.T, 1, strings.Count(s.log.String(), "two cookies named "+sessionCookie))
		require.NotContains(s.T, s.log.String(), "did not sign")
	})
}

// K2: nor do more than eight different ones that could be ours.
func TestMoreThanEightSessionCookiesCountAsNone(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		b := s.browse()
		b.login("ada")
		live := b.Cookies()[sessionCookie]
		values := []string{live}
		for i := range 7 {
			values = append(values, flip(live, 40+i, 1))
		}
		require.Equal(s.T, http.StatusOK, s.browse().Get("/home", "Cookie", cookiesNamed(sessionCookie, values...)).StatusCode)
		values = append(values, flip(live, 60, 1))
		var before map[string]int
		if backend != nil {
			before = backend.callCounts()
		}
		s.events.take()
		require.Equal(s.T, http.StatusSeeOther, s.browse().Get("/home", "Cookie", cookiesNamed(sessionCookie, values...)).StatusCode)
		require.Len(s.T, s.events.take(sessionguard.EventSeveralCookies), 1)
		if backend != nil {
			require.Equal(s.T, before, backend.callCounts())
		}
	})
}

// L5: if the backend fails, the choice is not made without it.
func TestSeveralCookiesWhileTheBackendFails(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b, other := s.browse(), s.browse()
		b.login("ada")
		other.login("ada")
		ended := other.Cookies()[sessionCookie]
		other.Post("/logout")
		both := cookiesNamed(sessionCookie, b.Cookies()[sessionCookie], ended)
		backend.failOn("Load")
		resp := s.browse().Get("/home", "Cookie", both)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Empty(t, resp.Header["Set-Cookie"])
		backend.failOn()
		require.Equal(t, "secret of ada", s.browse().Get("/home", "Cookie", both).Body)
	})
}

// A login page says why the one session ended that the guard knows, whatever else is there.
func TestTheEndReasonBesideACookieOfSomebodyElse(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		advance(idle)
		both := cookiesNamed(sessionCookie, "PHPSESSID", b.Cookies()[sessionCookie], strings.Repeat("x", 64))
		require.Equal(s.T, "/login?next=%2Fhome&reason=idle", s.browse().Get("/home", "Cookie", both).Header.Get("Location"))
	})
}

// Applications of one domain that have one name for their cookies log nobody out: another
// deployment of the same one, with other keys, and a framework that knows nothing of guards.
func TestOtherApplicationsOfTheDomainWithTheSameCookieName(t *testing.T) {
	const name = "session"
	onBoth(t, func(prod *site, _ *failingBackend) {
		configure := func(keys byte, domain string) func(*sessionguard.Config[*user]) {
			return func(c *sessionguard.Config[*user]) {
				c.CookieName, c.CookieDomain, c.Keys = name, domain, [][]byte{bytes.Repeat([]byte{keys}, 32)}
				c.Backend = prod.config.Backend
			}
		}
		for _, domains := range [][2]string{{"", "app.example"}, {"app.example", ""}} {
			prod, staging := newSite(prod.T, configure('p', domains[0])), newSite(prod.T, configure('s', domains[1]))
			onProd, onStaging := prod.browse(), staging.browse()
			onProd.Browser, onStaging.Browser = onProd.At("https://www.app.example"), onStaging.At("https://staging.app.example")
			onStaging.Client.Jar = onProd.Client.Jar // one browser
			old := &http.Cookie{Name: name, Value: "PHPSESSID", Domain: "app.example", Path: "/home"}
			onProd.Client.Jar.SetCookies(onProd.Request("GET", "/").URL, []*http.Cookie{old})

			onStaging.login("ada")
			onProd.login("ada")
			require.Equal(prod.T, "secret of ada", onProd.Get("/home").Body)
			require.Equal(prod.T, "secret of ada", onStaging.Get("/home").Body, "nothing of it is ended or deleted")
			onProd.Post("/logout")
			require.Equal(prod.T, http.StatusSeeOther, onProd.Get("/home").StatusCode)
			require.True(prod.T, onStaging.loggedIn())
		}
	})
}

// A CookieDomain that an application gets later leaves nobody with two cookies of which none
// counts: not who was logged in before, not who was remembered, and not a visitor.
func TestACookieDomainThatIsAddedLater(t *testing.T) {
	onBothRemembered(t, func(before *site, backend *failingBackend) {
		configure := func(domain string) func(*sessionguard.Config[*user]) {
			return func(c *sessionguard.Config[*user]) {
				c.CookieName, c.CookieDomain, c.Backend, c.RememberFor = "session", domain, before.config.Backend, twoWeeks
			}
		}
		if backend == nil {
			return // it needs a backend that both have
		}
		options := before.loginOptions
		before, after := newSite(before.T, configure("")), newSite(before.T, configure("app.example"))
		before.loginOptions, after.loginOptions = options, options
		site := func() (b, later *browser) {
			b, later = before.browse(), after.browse()
			b.Browser, later.Browser = b.At("https://www.app.example"), later.At("https://www.app.example")
			later.Client.Jar = b.Client.Jar
			return b, later
		}
		count := func(b *browser, name string) (n int) {
			for _, c := range b.Client.Jar.Cookies(b.Request("GET", "/").URL) {
				if c.Name == name {
					n++
				}
			}
			return n
		}

		b, later := site()
		b.login("ada")
		require.True(before.T, later.loggedIn())
		later.login("ada")
		require.True(before.T, later.loggedIn())
		require.Equal(before.T, 1, count(later, "session"), "the host's own is deleted")
		later.Post("/logout")
		require.Zero(before.T, count(later, "session"))

		b, later = site()
		b.login("ada")
		after.events.take()
		for range 3 {
			advance(idle)
			require.Equal(before.T, "secret of ada", later.Get("/home").Body, "revived")
			require.Equal(before.T, 2, count(later, "session"), "the superseded one stays until the next login or logout")
			require.True(before.T, later.loggedIn())
		}
		require.Len(before.T, after.events.take(), 3, "no theft is suspected")
		later.Post("/logout")
		require.Zero(before.T, count(later, "session"))
		require.Equal(before.T, "/login?next=%2Fhome", later.Get("/home").Header.Get("Location"))

		b, later = site()
		b.Post("/value?k=a&v=1")
		require.Equal(before.T, "1 <nil>", later.Get("/value?k=a").Body)
		later.Post("/value?k=b&v=2")
		require.Equal(before.T, "1 <nil>", later.Get("/value?k=a").Body)
		require.Equal(before.T, "2 <nil>", later.Get("/value?k=b").Body)
		require.Equal(before.T, 1, count(later, "session-anonymous"))
	})
}

// K2: whoever has an account sends eight of its cookies. A page makes few calls for them.
func TestEightCookiesOfEndedSessionsTakeFewCalls(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		var values []string
		for range 8 {
			b := s.browse()
			b.login("ada")
			values = append(values, b.Cookies()[sessionCookie])
			b.Post("/logout")
		}
		for _, path := range []string{"/home", "/", "/status"} {
			before := backend.callCounts()
			s.browse().Get(path, "Cookie", cookiesNamed(sessionCookie, values...))
			require.Equal(t, map[string]int{"Load": 9}, callsSince(backend, before), path)
		}
	})
}

// A request has the cookies that came with it, in their order.
func TestARequestWithAnotherOrderOfTwoCookiesIsAnotherOne(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	live := b.Cookies()[sessionCookie]
	s.mux.HandleFunc("GET /other", func(w http.ResponseWriter, r *http.Request) {
		other := r.Clone(r.Context())
		other.Header.Set("Cookie", cookiesNamed(sessionCookie, strings.Split(r.URL.RawQuery, ",")...))
		_, ok := s.guard.User(other)
		fmt.Fprint(w, ok)
	})
	get := func(query string) string {
		return s.browse().Get("/other?"+query, "Cookie", cookiesNamed(sessionCookie, "x", live)).Body
	}
	require.Equal(t, "true", get("x,"+live))
	require.Equal(t, "false", get(live+",x"))
	require.Equal(t, "false", get(live))
}
