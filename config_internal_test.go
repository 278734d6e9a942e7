package sessionguard

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/localpath"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

type configUser struct{}

func (*configUser) UserID() string      { return "ada" }
func (*configUser) IsActive() bool      { return true }
func (*configUser) HasRole(string) bool { return false }

func findConfigUser(context.Context, string) (*configUser, error) { return &configUser{}, nil }

type remoteBackend struct{ store.Backend }

func keyOf(n int) []byte { return bytes.Repeat([]byte("k"), n) }

func TestNewReportsConfigurationErrors(t *testing.T) {
	for _, test := range []struct {
		name, err string
		change    func(*Config[*configUser])
	}{
		{"no FindUser", "FindUser is missing", func(c *Config[*configUser]) { c.FindUser = nil }},
		{"negative idle", "must be positive", func(c *Config[*configUser]) { c.IdleTimeout = -time.Minute }},
		{"negative absolute", "must be positive", func(c *Config[*configUser]) { c.AbsoluteTimeout = -time.Minute }},
		{"idle too short", "shorter than a second", func(c *Config[*configUser]) { c.IdleTimeout = time.Second - 1 }},
		{"idle > absolute", "longer than the AbsoluteTimeout", func(c *Config[*configUser]) { c.AbsoluteTimeout = time.Minute }},
		{"idle > absolute, both set", "longer than the AbsoluteTimeout", func(c *Config[*configUser]) { c.IdleTimeout, c.AbsoluteTimeout = time.Hour, time.Minute }},
		{"base path without a slash", "BasePath", func(c *Config[*configUser]) { c.BasePath = "app" }},
		{"base path that ends in a slash", "BasePath", func(c *Config[*configUser]) { c.BasePath = "/app/" }},
		{"base path that is a slash", "BasePath", func(c *Config[*configUser]) { c.BasePath = "/" }},
		{"base path on another host", "BasePath", func(c *Config[*configUser]) { c.BasePath = "//evil.example" }},
		{"base path with a query", "BasePath", func(c *Config[*configUser]) { c.BasePath = "/app?a=b" }},
		{"fewer bytes than a visitor has", "MaxValuesBytes of 4095", func(c *Config[*configUser]) { c.MaxValuesBytes = 4095 }},
		{"negative bytes", "MaxValuesBytes of -1", func(c *Config[*configUser]) { c.MaxValuesBytes = -1 }},
		{"remembered for less than a second", "RememberFor", func(c *Config[*configUser]) { c.RememberFor = time.Second - 1 }},
		{"remembered for a negative time", "RememberFor", func(c *Config[*configUser]) { c.RememberFor = -time.Hour }},
		{"negative grace", "RememberGrace", func(c *Config[*configUser]) { c.RememberGrace = -1 }},
		{"grace > idle", "RememberGrace", func(c *Config[*configUser]) { c.RememberGrace = defaultIdleTimeout + 1 }},
		{"grace > idle, both set", "RememberGrace", func(c *Config[*configUser]) { c.IdleTimeout, c.RememberGrace = 10*time.Second, 11*time.Second }},
		{"login on another server", "LoginPath", func(c *Config[*configUser]) { c.LoginPath = "https://evil.example/" }},
		{"login on another host, without a scheme", "LoginPath", func(c *Config[*configUser]) { c.LoginPath = "//evil.example" }},
		{"login behind a fragment", "LoginPath", func(c *Config[*configUser]) { c.LoginPath = "/app#/login" }},
		{"login relative", "LoginPath", func(c *Config[*configUser]) { c.LoginPath = "login" }},
		{"reauth on another host", "ReauthPath", func(c *Config[*configUser]) { c.ReauthPath = `/\evil.example` }},
		{"welcome is a javascript: URL", "WelcomePath", func(c *Config[*configUser]) { c.WelcomePath = "javascript:alert(1)" }},
		{"short key", "Keys[0] has 31 bytes", func(c *Config[*configUser]) { c.Keys = [][]byte{keyOf(31)} }},
		{"empty key", "Keys[0]", func(c *Config[*configUser]) { c.Keys = [][]byte{nil, keyOf(32)} }},
		{"short old key", "Keys[1] has 31 bytes", func(c *Config[*configUser]) { c.Keys = [][]byte{keyOf(32), keyOf(31)} }},
		{"remote without keys", "Keys is missing", func(c *Config[*configUser]) { c.Keys, c.Backend = nil, remoteBackend{} }},
		{"remote with empty keys", "Keys is missing", func(c *Config[*configUser]) { c.Keys, c.Backend = [][]byte{}, remoteBackend{} }},
		{"invalid cookie name", "CookieName", func(c *Config[*configUser]) { c.CookieName = "a b" }},
		{"cookie name with =", "CookieName", func(c *Config[*configUser]) { c.CookieName = "a=b" }},
		{"cookie name with ;", "CookieName", func(c *Config[*configUser]) { c.CookieName = "a;b" }},
		{"cookie name too long", "longer than 64", func(c *Config[*configUser]) { c.CookieName = strings.Repeat("n", 65) }},
		{"__Host- with a domain", "__Host-", func(c *Config[*configUser]) { c.CookieName, c.CookieDomain = "__Host-s", "app.example" }},
		{"__hOST- with a domain", "__Host-", func(c *Config[*configUser]) { c.CookieName, c.CookieDomain = "__hOST-s", "app.example" }},
		{"__Host- over http", "plain http", func(c *Config[*configUser]) { c.CookieName, c.InsecureHTTP = "__Host-s", true }},
		{"__secure- over http", "plain http", func(c *Config[*configUser]) { c.CookieName, c.InsecureHTTP = "__secure-s", true }},
		{"__Http- over http", "plain http", func(c *Config[*configUser]) { c.CookieName, c.InsecureHTTP = "__Http-s", true }},
		{"__Host-Http- with a domain", "__Host-", func(c *Config[*configUser]) { c.CookieName, c.CookieDomain = "__Host-Http-s", "app.example" }},
		{"Partitioned without SameSite=None", "Config.Partitioned", func(c *Config[*configUser]) { c.Partitioned = true }},
		{"Partitioned over http", "Config.Partitioned", func(c *Config[*configUser]) {
			c.Partitioned, c.SameSite, c.InsecureHTTP = true, http.SameSiteNoneMode, true
		}},
		{"invalid domain", "CookieDomain", func(c *Config[*configUser]) { c.CookieDomain = "app example" }},
		{"SameSite=None over http", "SameSite", func(c *Config[*configUser]) { c.SameSite, c.InsecureHTTP = http.SameSiteNoneMode, true }},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := Config[*configUser]{FindUser: findConfigUser, Keys: [][]byte{keyOf(32)}}
			test.change(&config)
			guard, err := New(config)
			require.ErrorContains(t, err, test.err)
			require.ErrorContains(t, err, "sessionguard: Config")
			require.Nil(t, guard)
		})
	}
}

// The zero value of every field is the secure choice.
func TestZeroConfigIsTheSecureDefault(t *testing.T) {
	var log bytes.Buffer
	guard, err := New(Config[*configUser]{FindUser: findConfigUser, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	c := &guard.core
	require.IsType(t, store.NewMemory(), c.backend)
	require.True(t, c.local)
	require.Equal(t, 30*time.Minute, c.idleTimeout)
	require.Equal(t, 12*time.Hour, c.absoluteTimeout)
	require.Equal(t, []localpath.Page{{Target: "/login", Path: "/login"}, {}, {Target: "/", Path: "/"}}, []localpath.Page{c.login, c.reauth, c.welcome})
	require.Equal(t, "flash", c.flashSession)
	require.Equal(t, "You have been logged out.", c.logoutFlash)
	require.Equal(t, "You may not see that page.", c.forbiddenFlash)
	require.NotNil(t, c.crossOrigin)
	require.Equal(t, Refusals{}, c.refusals)
	want := http.Cookie{Name: "__Host-Http-session", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	require.Equal(t, want, c.cookies.Session, "ASVS 3.3.1 to 3.3.4")
	want.Name += "-anonymous"
	require.Equal(t, want, c.cookies.Visitor)
	require.Equal(t, 1, strings.Count(log.String(), "\n"), "one warning: %s", &log)
	require.Contains(t, log.String(), "Config.Keys is missing")

	other, err := New(Config[*configUser]{FindUser: findConfigUser, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	value, _ := c.cookies.NewToken(nil)
	require.NoError(t, err)
	require.True(t, c.cookies.Verify(value))
	require.False(t, other.cookies.Verify(value), "the keys are random")

	guard, err = New(Config[*configUser]{FindUser: findConfigUser, Keys: [][]byte{keyOf(32)}})
	require.NoError(t, err)
	require.Same(t, slog.Default(), guard.log)
}

func TestDefaultsThatDependOnOtherFields(t *testing.T) {
	with := func(change func(*Config[*configUser])) *core {
		config := Config[*configUser]{FindUser: findConfigUser, Keys: [][]byte{keyOf(32), keyOf(64)}}
		change(&config)
		guard, err := New(config)
		require.NoError(t, err)
		return &guard.core
	}
	require.Equal(t, 24*time.Hour, with(func(c *Config[*configUser]) { c.IdleTimeout = 24 * time.Hour }).absoluteTimeout)
	require.Equal(t, time.Hour, with(func(c *Config[*configUser]) { c.AbsoluteTimeout = time.Hour }).absoluteTimeout)
	require.Equal(t, 30*time.Second, with(func(*Config[*configUser]) {}).rememberGrace)
	require.Equal(t, 10*time.Second, with(func(c *Config[*configUser]) { c.IdleTimeout = 10 * time.Second }).rememberGrace)
	require.Equal(t, time.Minute, with(func(c *Config[*configUser]) { c.IdleTimeout, c.RememberGrace = time.Minute, time.Minute }).rememberGrace)
	require.Equal(t, "/again", with(func(c *Config[*configUser]) { c.LoginPath, c.ReauthPath = "/in", "/again" }).reauth.Target)
	require.False(t, with(func(c *Config[*configUser]) { c.Backend = remoteBackend{} }).local)

	domain := with(func(c *Config[*configUser]) { c.CookieDomain = "app.example" }).cookies.Session
	require.Equal(t, []string{"__Secure-session", "app.example"}, []string{domain.Name, domain.Domain})
	insecure := with(func(c *Config[*configUser]) { c.InsecureHTTP = true }).cookies.Session
	require.Equal(t, "session", insecure.Name)
	require.False(t, insecure.Secure)
	require.True(t, insecure.HttpOnly)
	strict := with(func(c *Config[*configUser]) { c.SameSite = http.SameSiteStrictMode }).cookies
	require.Equal(t, http.SameSiteStrictMode, strict.Session.SameSite)
	require.Equal(t, http.SameSiteStrictMode, strict.Visitor.SameSite)
	partitioned := with(func(c *Config[*configUser]) { c.Partitioned, c.SameSite = true, http.SameSiteNoneMode }).cookies
	require.True(t, partitioned.Session.Partitioned && partitioned.Visitor.Partitioned)
}

// I1: a nil user is no user, whatever the kind of its type.
func TestNilOfEveryKindIsNoUser(t *testing.T) {
	var none User
	for _, u := range []User{none, (*configUser)(nil), mapUser(nil), funcUser(nil), sliceUser(nil)} {
		require.True(t, isNil(u), "%T", u)
	}
	for _, u := range []User{&configUser{}, mapUser{}, sliceUser{}, valueUser{}} {
		require.False(t, isNil(u), "%T", u)
	}
}

type (
	mapUser   map[string]bool
	sliceUser []string
	funcUser  func()
	valueUser struct{ _ string }
)

func (mapUser) UserID() string        { return "map" }
func (mapUser) IsActive() bool        { return true }
func (mapUser) HasRole(string) bool   { return true }
func (sliceUser) UserID() string      { return "slice" }
func (sliceUser) IsActive() bool      { return true }
func (sliceUser) HasRole(string) bool { return true }
func (funcUser) UserID() string       { return "func" }
func (funcUser) IsActive() bool       { return true }
func (funcUser) HasRole(string) bool  { return true }
func (valueUser) UserID() string      { return "value" }
func (valueUser) IsActive() bool      { return true }
func (valueUser) HasRole(string) bool { return true }

// stampUser is a valid user without a stamp, of which the types below have wrong ones.
type stampUser struct{}

func (stampUser) UserID() string      { return "ada" }
func (stampUser) IsActive() bool      { return true }
func (stampUser) HasRole(string) bool { return false }

type (
	stampByPointer  struct{ stampUser }
	stampOfInt      struct{ stampUser }
	stampOfContext  struct{ stampUser }
	stampByValue    struct{ stampUser }
	stampOfEmbedded struct{ *stampByPointer }
)

func (*stampByPointer) SessionStamp() string               { return "" }
func (stampOfInt) SessionStamp() int                       { return 0 }
func (stampOfContext) SessionStamp(context.Context) string { return "" }
func (stampByValue) SessionStamp() string                  { return "" }

func newWithUsersOf[U User]() error {
	_, err := New(Config[U]{FindUser: func(context.Context, string) (U, error) { panic("unused") }, Keys: [][]byte{keyOf(32)}})
	return err
}

// I2: a stamp that is never asked for would end nothing when it changes.
func TestSessionStampThatIsNeverCalledIsRefused(t *testing.T) {
	require.ErrorContains(t, newWithUsersOf[stampByPointer](), "receiver must not be a pointer")
	for _, err := range []error{
		newWithUsersOf[stampOfInt](), newWithUsersOf[*stampOfInt](), newWithUsersOf[stampOfContext](),
		newWithUsersOf[interface {
			User
			SessionStamp() []byte
		}](),
	} {
		require.ErrorContains(t, err, "signature must be SessionStamp() string")
	}
	for _, err := range []error{
		newWithUsersOf[stampUser](), newWithUsersOf[*stampUser](), newWithUsersOf[*stampByPointer](),
		newWithUsersOf[stampByValue](), newWithUsersOf[*stampByValue](), newWithUsersOf[stampOfEmbedded](), newWithUsersOf[User](),
	} {
		require.NoError(t, err)
	}

	guard, err := New(Config[User]{FindUser: func(context.Context, string) (User, error) { return nil, nil }, Keys: [][]byte{keyOf(32)}})
	require.NoError(t, err)
	guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.ErrorContains(t, guard.Login(w, r, stampByPointer{}), "receiver must not be a pointer", "only the value tells")
		require.NoError(t, guard.Login(w, r, &stampByPointer{}))
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/login", nil))
}
