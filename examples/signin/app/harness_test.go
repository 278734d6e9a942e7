package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	dashboard "github.com/sessionguard-go/sessionguard/examples/dashboard/app"
	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
)

// demoAccounts are shared: hashing their passwords takes long.
var demoAccounts *dashboard.Directory

func TestMain(m *testing.M) {
	var err error
	if demoAccounts, err = dashboard.NewDirectory(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// quickAccounts compares passwords without hashing them.
type quickAccounts struct{ *dashboard.Directory }

func (a quickAccounts) Verify(ctx context.Context, id, password string) (*dashboard.User, error) {
	user, err := a.Find(ctx, id)
	if err != nil || !user.Active || password != apptest.Passwords[id] {
		return nil, errors.New("wrong name or password")
	}
	return user, nil
}

// site is the application and its provider. Browsers call the handler, so that it can be used
// where testing/synctest holds the clock.
type site struct {
	*testing.T
	app      *App
	handler  http.Handler
	provider *fakeProvider
}

func newSite(t *testing.T) *site {
	t.Helper()
	p := newFakeProvider(t)
	a, err := New(t.Context(), Options{
		Origin:   testOrigin,
		Accounts: quickAccounts{demoAccounts},
		Log:      slog.New(slog.DiscardHandler),
		Provider: ProviderOptions{
			Issuer: testIssuer, ClientID: testClient, ClientSecret: "secret",
			Subjects:  map[string]string{"ada": "person-ada", "grace": "person-grace", "eve": "person-eve"},
			Transport: testbrowser.HandlerTransport{Handler: p},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &site{T: t, app: a, handler: a.Handler(), provider: p}
}

func (s *site) browse() *testbrowser.Browser {
	return testbrowser.New(s.T, testOrigin, testbrowser.HandlerTransport{Handler: s.handler})
}

// as returns a browser that has logged in with a password, which must be enough.
func (s *site) as(name string) *testbrowser.Browser {
	s.Helper()
	b := s.browse()
	apptest.Login(b, name).Expect(http.StatusSeeOther, "/home")
	return b
}

// halfway returns a browser that has given the password of an account that needs more.
func (s *site) halfway(name string) *testbrowser.Browser {
	s.Helper()
	b := s.browse()
	apptest.Login(b, name).Expect(http.StatusSeeOther, "/factor?next=%2Fhome")
	return b
}

// enrol sets an authenticator app up and returns its secret. Its code of now is used.
func enrol(b *testbrowser.Browser) string {
	b.T.Helper()
	secret := shownSecret(b.Get("/account/totp").Expect(http.StatusOK, ""))
	b.PostForm("/account/totp", "code", code(b.T, secret, 0)).Expect(http.StatusSeeOther, "/account")
	b.Get("/account").Expect(http.StatusOK, "").Contains("Your authenticator app is set up.")
	return secret
}

// shownSecret returns the secret that the page shows as text.
func shownSecret(page testbrowser.Response) string {
	_, rest, _ := strings.Cut(page.Body, `<code class="key">`)
	shown, _, _ := strings.Cut(rest, "</code>")
	return strings.ReplaceAll(shown, " ", "")
}

// code returns the code of an authenticator app, so many time steps from now.
func code(t testbrowser.T, secret string, steps int) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, time.Now().Add(time.Duration(steps)*totpPeriod))
	if err != nil {
		t.Errorf("%v", err)
		t.FailNow()
	}
	return code
}

// register registers a passkey.
func (s *site) register(b *testbrowser.Browser, k *key) {
	s.Helper()
	o := parseOptions(s.T, b.Post("/account/passkeys/options").Expect(http.StatusOK, "").Body)
	b.PostForm("/account/passkeys", "credential", k.register(o)).Expect(http.StatusSeeOther, "/account")
	b.Get("/account").Expect(http.StatusOK, "").Contains("Your passkey is registered.")
}

// use logs in with a passkey, from whatever page.
func (s *site) use(b *testbrowser.Browser, k *key, fields ...string) testbrowser.Response {
	s.Helper()
	o := parseOptions(s.T, b.Post("/passkey/options").Expect(http.StatusOK, "").Body)
	return b.PostForm("/passkey", append(fields, "credential", k.logIn(o))...)
}

// toProvider begins a login with the provider, and returns where the browser is sent.
func (s *site) toProvider(b *testbrowser.Browser, fields ...string) *url.URL {
	s.Helper()
	to, err := b.PostForm("/openid/login", fields...).Location()
	if err != nil || !strings.HasPrefix(to.String(), testIssuer+"/authorize?") {
		s.Fatalf("sent to %v: %v", to, err)
	}
	return to
}

// openID returns a browser that has logged in with the provider, as changes say.
func (s *site) openID(changes claims) *testbrowser.Browser {
	s.Helper()
	b := s.browse()
	b.Get(s.provider.issue(s.toProvider(b), changes)).Expect(http.StatusSeeOther, "/home")
	return b
}

// isIn checks that somebody is logged in.
func isIn(b *testbrowser.Browser, name string) {
	b.T.Helper()
	b.Get("/home").Expect(http.StatusOK, "").Contains("Good to see you, " + name)
}

// isOut checks that nobody is logged in.
func isOut(b *testbrowser.Browser) {
	b.T.Helper()
	if to := b.Get("/home").Header.Get("Location"); !strings.HasPrefix(to, "/login?") {
		b.T.Errorf("sent to %q", to)
	}
	b.Get("/session").Lacks(`"authenticated":true`)
}
