package sessionguardtest_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/sessionguardtest"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// serve returns the response to a request.
func serve(app http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	app.ServeHTTP(w, r)
	return w
}

// Every configuration that makes cookies or logins other than usual.
var configurations = map[string]func(*config){
	"default":        nil,
	"plain http":     func(c *config) { c.InsecureHTTP = true },
	"subdomains":     func(c *config) { c.CookieDomain = "example.com" },
	"strict cookies": func(c *config) { c.SameSite = http.SameSiteStrictMode },
	"cookie name":    func(c *config) { c.CookieName = "app" },
	"base path":      func(c *config) { c.BasePath = "/app" },
	"one session": func(c *config) {
		c.MaxSessions = func(*person) store.Limit { return store.Limit{Max: 1, Refuse: true} }
	},
	"factors":  needFactors,
	"acting":   func(c *config) { c.MayActAs = func(actor, _ *person) bool { return actor == grace } },
	"timeouts": func(c *config) { c.IdleTimeout, c.AbsoluteTimeout = time.Hour, 2*time.Hour },
	"closed to others": func(c *config) {
		c.CrossOrigin = http.NewCrossOriginProtection()
		c.CrossOrigin.SetDenyHandler(http.NotFoundHandler())
	},
}

func TestLoginWorksWithEveryConfiguration(t *testing.T) {
	for name, configure := range configurations {
		t.Run(name, func(t *testing.T) {
			guard, app := newApp(t, configure)
			r := sessionguardtest.Login(t, guard, httptest.NewRequest("GET", "/home", nil), lynn)
			w := serve(app, r)
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, "Hello, lynn.", w.Body.String())
			require.Same(t, lynn, sessionguardtest.LoggedIn(t, guard, r))

			client := sessionguardtest.NewClient(t, app)
			sessionguardtest.LoggedOut(t, guard, client, "")
			for _, user := range []*person{ada, grace, grace} {
				sessionguardtest.Login(t, guard, client, user)
				client.Get("/home").HasStatus(http.StatusOK).Contains("Hello, " + user.id)
				require.Same(t, user, sessionguardtest.LoggedIn(t, guard, client))
				client.Get("/fresh").HasStatus(http.StatusOK)
				sessionguardtest.Age(t, guard, client, 5*time.Minute)
				client.Get("/fresh").HasStatus(http.StatusUnauthorized) // there is no ReauthPath
				client.Get("/home").Contains("Hello, " + user.id)
				sessionguardtest.Idle(t, guard, client, 29*time.Minute)
				client.Get("/home").Contains("Hello, " + user.id)
				sessionguardtest.Idle(t, guard, client, time.Hour)
				sessionguardtest.LoggedOut(t, guard, client, store.ReasonIdle)
			}
		})
	}
}

// anyone is the user type of a guard for users of several types.
type anyone interface {
	sessionguard.User
	anyone()
}

func (p *person) anyone() {}

func TestLoginTakesAUserWhoseTypeIsAnInterface(t *testing.T) {
	guard, err := sessionguard.New(sessionguard.Config[anyone]{
		FindUser: func(context.Context, string) (anyone, error) {
			return ada, nil
		},
	})
	require.NoError(t, err)
	r := sessionguardtest.Login(t, guard, httptest.NewRequest("GET", "/", nil), anyone(ada))
	require.Equal(t, "ada", sessionguardtest.LoggedIn(t, guard, r).UserID())
}

func TestLoginHasTheOptionsAndTheRequestsDevice(t *testing.T) {
	guard, app := newApp(t, nil)
	r := httptest.NewRequest("GET", "/home", nil)
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0")
	r.Header.Set("Sec-Fetch-Site", "cross-site") // of the request that follows, and not of the login
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.RemoteAddr = "203.0.113.9:50000"
	sessionguardtest.Login(t, guard, r, ada, sessionguard.Label("laptop"), sessionguard.Factors("pwd"), sessionguard.Remember(), sessionguard.IdleTimeout(time.Minute))
	sessions, err := guard.Sessions(t.Context(), "ada")
	require.NoError(t, err)
	require.Len(t, sessions, 1)
	s := sessions[0]
	require.Equal(t, "laptop", s.Label)
	require.Equal(t, "Firefox on Linux", s.Client)
	require.Equal(t, "203.0.113.9", s.Address)
	require.Equal(t, "pwd", s.Factors[0].Name)
	require.False(t, s.RememberedUntil.IsZero())

	sessionguardtest.Idle(t, guard, r, 2*time.Minute)
	sessionguardtest.LoggedOut(t, guard, r, store.ReasonRemembered) // which revives nothing
	w := serve(app, r)
	require.Equal(t, http.StatusOK, w.Code) // as a person's request does
}

func TestLoginProvesWhatTheUserNeeds(t *testing.T) {
	guard, app := newApp(t, needFactors)
	for _, options := range [][]sessionguard.LoginOption{nil, {sessionguard.Factors("pwd")}, {sessionguard.Label("phone"), sessionguard.Factors("otp", "pwd")}} {
		client := sessionguardtest.Login(t, guard, sessionguardtest.NewClient(t, app), lynn, options...)
		client.Get("/fresh/otp").HasStatus(http.StatusOK)
		sessionguardtest.Age(t, guard, client, 5*time.Minute)
		client.Get("/fresh/otp").HasStatus(http.StatusUnauthorized)
	}
	sessions, err := guard.Sessions(t.Context(), "lynn")
	require.NoError(t, err)
	require.Len(t, sessions, 3)

	// A slice of the test's own stays as it is, also where there is room after it.
	options := append(make([]sessionguard.LoginOption, 0, 2), sessionguard.Factors("pwd"))
	sessionguardtest.Login(t, guard, sessionguardtest.NewClient(t, app), lynn, options...)
	require.Nil(t, options[:2][1])

	// A login that waits.
	client := sessionguardtest.NewClient(t, app)
	sessionguardtest.Serve(t, guard, client, func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, guard.Login(w, r, lynn, sessionguard.Factors("pwd")))
	})
	sessionguardtest.LoggedOut(t, guard, client, "")
	client.Get("/home").RedirectsTo("/code?next=%2Fhome")
	sessionguardtest.Age(t, guard, client, 4*time.Minute)
	client.Get("/home").RedirectsTo("/code?next=%2Fhome")
	sessionguardtest.Age(t, guard, client, time.Minute)
	client.Get("/home").RedirectsTo("/login?next=%2Fhome&reason=idle")
}

func TestALoginTakesTheVisitorsValuesAlong(t *testing.T) {
	guard, app := newApp(t, nil)
	setAndGet(t, guard, sessionguardtest.NewClient(t, app))
	setAndGet(t, guard, httptest.NewRequest("GET", "/", nil))
}

func setAndGet[R *http.Request | *sessionguardtest.Client](t *testing.T, guard *sessionguard.Guard[*person], r R) {
	t.Helper()
	sessionguardtest.Serve(t, guard, r, func(w http.ResponseWriter, r *http.Request) {
		session, err := guard.Get(r, "cart")
		require.NoError(t, err)
		session.Values["items"] = 3
	})
	check := func(w http.ResponseWriter, r *http.Request) {
		session, err := guard.Get(r, "cart")
		require.NoError(t, err)
		require.Equal(t, 3, session.Values["items"])
		require.Len(t, r.Cookies(), 1) // of the visitor, then of the session
	}
	sessionguardtest.Serve(t, guard, r, check)
	sessionguardtest.Login(t, guard, r, ada)
	sessionguardtest.Serve(t, guard, r, check)
	sessionguardtest.Age(t, guard, r, time.Minute)
	sessionguardtest.Serve(t, guard, r, check)
}

func TestServeCanActAsSomebody(t *testing.T) {
	guard, app := newApp(t, configurations["acting"])
	client := sessionguardtest.Login(t, guard, sessionguardtest.NewClient(t, app), grace)
	sessionguardtest.Serve(t, guard, client, func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, guard.ActAs(w, r, ada))
	})
	require.Same(t, ada, sessionguardtest.LoggedIn(t, guard, client))
	sessionguardtest.Age(t, guard, client, 10*time.Minute)
	require.Same(t, ada, sessionguardtest.LoggedIn(t, guard, client))
}

func TestAgeMovesAllTimesButThatOfTheLastActivity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, _ := newApp(t, func(c *config) { c.RememberFor = 24 * time.Hour })
		r := sessionguardtest.Login(t, guard, httptest.NewRequest("GET", "/", nil), ada, sessionguard.Remember(), sessionguard.Factors("pwd"))
		one := func() sessionguard.Session {
			sessions, err := guard.Sessions(t.Context(), "ada")
			require.NoError(t, err)
			require.Len(t, sessions, 1)
			return sessions[0]
		}
		before := one()
		sessionguardtest.Age(t, guard, r, 3*time.Hour)
		want := before
		want.Factors = append([]sessionguard.Factor(nil), before.Factors...)
		for _, moved := range []*time.Time{&want.Created, &want.Authenticated, &want.Expires, &want.RememberedUntil, &want.Factors[0].At} {
			*moved = moved.Add(-3 * time.Hour)
		}
		require.Equal(t, want, one())
		require.NotEqual(t, want.Authenticated, want.LastSeen)

		sessionguardtest.Idle(t, guard, r, time.Minute)
		require.Equal(t, want.LastSeen.Add(-time.Minute), one().LastSeen)
		require.Equal(t, want.Created.Add(-time.Minute), one().Created)
	})
}

func TestAgeEndsASessionWhoseTimeIsUp(t *testing.T) {
	guard, app := newApp(t, nil)
	client := sessionguardtest.Login(t, guard, sessionguardtest.NewClient(t, app), ada)
	sessionguardtest.Age(t, guard, client, 12*time.Hour-time.Minute)
	client.Get("/home").HasStatus(http.StatusOK)
	sessionguardtest.Age(t, guard, client, time.Minute)
	sessionguardtest.LoggedOut(t, guard, client, store.ReasonAbsolute)
	client.Get("/home").RedirectsTo("/login?next=%2Fhome&reason=absolute")
}

// A stream notices that its session has aged, and is not cut before the time is up.
func TestAgeEndsTheStreamsOfASessionWhoseTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, _ := newApp(t, nil)
		var ended error
		stream := guard.RequireLogin(guard.CancelOnEnd(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			ended = context.Cause(r.Context())
		})))
		r := sessionguardtest.Login(t, guard, httptest.NewRequest("GET", "/", nil), ada)
		go serve(stream, r.Clone(t.Context()))
		synctest.Wait()
		sessionguardtest.Age(t, guard, r, 11*time.Hour)
		synctest.Wait()
		require.NoError(t, ended)
		sessionguardtest.Age(t, guard, r, time.Hour)
		synctest.Wait()
		require.Equal(t, &sessionguard.SessionEndedError{Reason: store.ReasonAbsolute}, ended)
	})
}

func TestTheCookieFromBeforeAgeIsDead(t *testing.T) {
	guard, _ := newApp(t, nil)
	r := sessionguardtest.Login(t, guard, httptest.NewRequest("GET", "/", nil), ada)
	before := r.Clone(t.Context())
	sessionguardtest.Age(t, guard, r, time.Minute)
	sessionguardtest.LoggedOut(t, guard, before, "")
	sessionguardtest.LoggedIn(t, guard, r)
}

func TestLoggedInIsNoActivity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, app := newApp(t, nil)
		client := sessionguardtest.Login(t, guard, sessionguardtest.NewClient(t, app), ada)
		client.Wait(20 * time.Minute)
		sessionguardtest.LoggedIn(t, guard, client)
		client.Wait(10 * time.Minute)
		sessionguardtest.LoggedOut(t, guard, client, store.ReasonIdle)
	})
}

func TestWhatCannotBeDoneEndsTheTest(t *testing.T) {
	guard, app := newApp(t, func(c *config) {
		c.MaxSessions = func(p *person) store.Limit { return store.Limit{Max: 1, Refuse: true} }
	})
	broken, _ := newApp(t, func(c *config) {
		c.Backend, c.Keys = brokenBackend{store.NewMemory()}, [][]byte{bytes.Repeat([]byte("k"), 32)}
	})
	immovable, _ := newApp(t, func(c *config) {
		c.Backend, c.Keys = immovableBackend{store.NewMemory()}, [][]byte{bytes.Repeat([]byte("k"), 32)}
	})
	request := func() *http.Request { return httptest.NewRequest("GET", "/", nil) }
	sessionguardtest.Login(t, guard, request(), ada)
	for want, test := range map[string]func(testing.TB){
		"Login: sessionguard: the user is not active":           func(t testing.TB) { sessionguardtest.Login(t, guard, request(), eve) },
		"Login: sessionguard: no such user":                     func(t testing.TB) { sessionguardtest.Login(t, guard, request(), nil) },
		"Login: sessionguard: the user has too many sessions":   func(t testing.TB) { sessionguardtest.Login(t, guard, request(), ada) },
		"Login: sessionguard: sessions are unavailable: broken": func(t testing.TB) { sessionguardtest.Login(t, broken, request(), ada) },
		"the request or client is nil":                          func(t testing.TB) { sessionguardtest.Login(t, guard, (*http.Request)(nil), ada) },
		"Age: -1ns is negative":                                 func(t testing.TB) { sessionguardtest.Age(t, guard, request(), -1) },
		"Age: sessionguard: no such session":                    func(t testing.TB) { sessionguardtest.Age(t, guard, request(), 1) },
		"who is logged in cannot be known: the response is 503": func(t testing.TB) {
			sessionguardtest.LoggedOut(t, broken, sessionguardtest.Login(t, immovable, request(), ada), "")
		},
		"Age: immovable": func(t testing.TB) {
			sessionguardtest.Age(t, immovable, sessionguardtest.Login(t, immovable, request(), ada), 1)
		},
		"Idle: sessionguard: no such session": func(t testing.TB) {
			sessionguardtest.Idle(t, guard, sessionguardtest.NewClient(t, app), 1)
		},
		"Serve: the response is 418\nshort and stout": func(t testing.TB) {
			sessionguardtest.Serve(t, guard, request(), func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "short and stout", http.StatusTeapot) })
		},
		`nobody is logged in (no session has ended)`: func(t testing.TB) { sessionguardtest.LoggedIn(t, guard, request()) },
		`"grace" is logged in`: func(t testing.TB) {
			sessionguardtest.LoggedOut(t, guard, sessionguardtest.Login(t, guard, request(), grace), "")
		},
		`nobody is logged in (no session has ended), want the reason "idle"`: func(t testing.TB) { sessionguardtest.LoggedOut(t, guard, request(), store.ReasonIdle) },
	} {
		require.Contains(t, failureOf(t, test), want)
	}
}

type brokenBackend struct{ *store.Memory }

func (brokenBackend) Create(_ context.Context, _ store.Record, _ store.Limit) ([]store.Record, error) {
	return nil, errors.New("broken")
}

func (brokenBackend) Load(context.Context, store.Key) (store.Record, error) {
	return store.Record{}, errors.New("broken")
}

type immovableBackend struct{ *store.Memory }

func (immovableBackend) Replace(context.Context, store.Key, uint64, store.Record) error {
	return errors.New("immovable")
}
