package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/sessionguard-go/sessionguard/internal/e2e"
)

// chromium is a real browser with an authenticator, at the program.
type chromium struct {
	*testing.T
	*e2e.Browser
	site *site
}

// launch starts a browser. Without Chromium it skips the test; with CI set, it fails it.
func (s *site) launch(synced bool) *chromium {
	s.Helper()
	browser, err := e2e.LaunchChromium()
	if err != nil {
		if os.Getenv("CI") == "" && strings.Contains(err.Error(), "is not installed") {
			s.Skip(err)
		}
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := browser.Quit(); err != nil {
			s.Error(err)
		}
	})
	c := &chromium{T: s.T, Browser: browser, site: s}
	c.must(browser.AddAuthenticator(synced))
	return c
}

func (c *chromium) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// open opens a page of the application and waits until the browser is at path, which may be
// another one.
func (c *chromium) open(path, at string) {
	c.Helper()
	c.must(c.Open(c.site.url + path))
	c.at(at)
}

// at waits until a page at path is there.
func (c *chromium) at(path string) {
	c.Helper()
	c.must(c.Until(`return location.href.startsWith(arguments[0]) && document.readyState === "complete"`, c.site.url+path))
}

// shows waits until the page shows a text.
func (c *chromium) shows(text string) {
	c.Helper()
	c.must(c.Until(`return document.body.innerText.includes(arguments[0])`, text))
}

// submit fills in the fields of a form, name, value, name, value …, and presses its button.
func (c *chromium) submit(form string, fields ...string) {
	c.Helper()
	for i := 0; i < len(fields); i += 2 {
		c.must(c.Eval(`document.querySelector(arguments[0]).elements[arguments[1]].value = arguments[2]`, nil, form, fields[i], fields[i+1]))
	}
	c.must(c.Eval(`document.querySelector(arguments[0]).querySelector("button").click()`, nil, form))
}

func (c *chromium) logIn(next string) {
	c.Helper()
	c.open("/login?next="+next, "/login")
	c.submit(`form[action="/login"]`, "username", "ada", "password", "analytical-engine")
}

func (c *chromium) logOut() {
	c.Helper()
	c.submit("form.logout")
	c.at("/")
	c.shows("You have been logged out.")
}

var keyOnPage = regexp.MustCompile(`[A-Z2-7]{4}( [A-Z2-7]{4}){7}`)

// code returns a code of the app with this secret, so many time steps from now.
func (c *chromium) code(secret string, steps time.Duration) string {
	c.Helper()
	code, err := totp.GenerateCode(secret, time.Now().Add(steps*30*time.Second))
	c.must(err)
	return code
}

func TestChromiumAuthenticatorAppAndPasskey(t *testing.T) {
	s := start(t)
	c := s.launch(false)

	c.logIn("/account")
	c.at("/account")
	c.open("/account/totp", "/account/totp")
	var page string
	c.must(c.Eval(`return document.body.innerText`, &page))
	secret := strings.ReplaceAll(keyOnPage.FindString(page), " ", "")
	var width int
	c.must(c.Eval(`const image = document.querySelector("img.qr"); return image.complete ? image.naturalWidth : 0`, &width))
	if secret == "" || width == 0 {
		t.Fatalf("no key or image, of %d pixels, in\n%s", width, page)
	}
	c.submit(`form[action="/account/totp"]`, "code", c.code(secret, 0))
	c.at("/account")
	c.shows("Your authenticator app is set up.")
	c.logOut()

	c.logIn("/home")
	c.at("/factor")
	c.open("/home", "/factor")
	c.submit(`form[action="/factor"]`, "code", c.code(secret, 1)) // that of now is used
	c.at("/home")
	c.shows("Code of an authenticator app")

	// Step-up: the vault wants a key.
	c.open("/vault", "/factor?next=%2Fvault&factor=hwk")
	c.shows("You have none yet")
	c.open("/account", "/account")
	c.submit("#passkey")
	c.shows("Your passkey is registered.")
	c.open("/vault", "/vault")
	c.shows("Town Clock")
	c.logOut()

	// The passkey as the second factor, and then alone.
	c.logIn("/vault")
	c.at("/factor")
	c.submit("#passkey")
	c.at("/vault")
	c.logOut()
	c.open("/login?next=/home", "/login")
	c.submit("#passkey")
	c.at("/home")
	c.shows("Passkey that stays on its device")
	c.must(c.Until(`return !document.body.innerText.includes("Password")`))

	// Back shows nothing of it after the logout.
	c.logOut()
	c.must(c.Back())
	c.must(c.Until(`return location.pathname === "/login" && !document.body.innerText.includes("Ada Lovelace")`))
}

func TestChromiumAnotherDeviceWithoutThePasskey(t *testing.T) {
	s := start(t)
	c, other := s.launch(false), s.launch(false)
	c.logIn("/account")
	c.at("/account")
	c.submit("#passkey")
	c.shows("Your passkey is registered.")

	other.logIn("/account")
	other.at("/factor")
	other.submit("#passkey")
	other.shows("No passkey was used.")
	other.open("/home", "/factor")
}

func TestChromiumASyncedPasskey(t *testing.T) {
	s := start(t)
	c := s.launch(true)
	c.logIn("/account")
	c.at("/account")
	c.submit("#passkey")
	c.shows("Copied between your devices")
	c.open("/vault", "/factor?next=%2Fvault&factor=hwk")
	c.submit("#passkey")
	c.at("/factor?next=%2Fvault&factor=hwk")
	c.shows("That passkey is copied between devices.")
	c.open("/home", "/home") // is still open
}

func TestChromiumTheProvider(t *testing.T) {
	s := start(t)
	c, other := s.launch(false), s.launch(false)
	for _, c := range []*chromium{c, other} {
		c.open("/login?next=/account", "/login")
		c.submit("#openid")
		c.must(c.Until(`return location.href.startsWith(arguments[0] + "/login") && document.readyState === "complete"`, s.provider))
		c.submit(`form[action="/login"]`, "username", "ada", "password", "analytical-engine")
		c.at("/account")
	}

	// Logout here: through the provider and back.
	c.submit("form.logout")
	c.at("/")
	c.shows("You have been logged out.")
	c.must(c.Open(s.provider))
	c.shows("Log in to Example ID")

	// Logout there: the page here goes away, without a click.
	other.open("/home", "/home")
	here, err := other.Tab()
	other.must(err)
	there, err := other.NewTab()
	other.must(err)
	other.must(other.Switch(there))
	other.must(other.Open(s.provider))
	other.submit(`form[action="/logout"]`)
	other.shows("Log in to Example ID")
	other.must(other.Switch(here))
	other.at("/login")
	other.shows("such as by a logout at Example ID")
}

// TestChromiumPages writes pictures of the pages to the directory SCREENSHOTS, for people to
// look at, and checks that no page is wider than its window.
func TestChromiumPages(t *testing.T) {
	s := start(t)
	c := s.launch(false)
	for _, width := range []int{400, 1200} {
		c.must(c.Resize(width, 900))
		shot := func(name string) {
			t.Helper()
			var overflow int
			c.must(c.Eval(`return document.documentElement.scrollWidth - document.documentElement.clientWidth`, &overflow))
			if overflow > 0 {
				t.Errorf("%s is %d pixels wider than a window of %d", name, overflow, width)
			}
			c.picture(name, width)
		}
		c.open("/", "/")
		shot("welcome")
		c.open("/login?next=/account", "/login")
		shot("login")
		c.submit("#openid")
		c.must(c.Until(`return location.href.startsWith(arguments[0] + "/login") && document.readyState === "complete"`, s.provider))
		shot("provider-login")
		c.submit(`form[action="/login"]`, "username", "grace", "password", "nanoseconds-matter")
		c.at("/account")
		shot("account")
		c.open("/home", "/home")
		shot("home")
		c.open("/reauth?next=/home", "/reauth")
		shot("reauth")
		c.open("/vault", "/factor")
		shot("vault-refused")
		c.open("/account/totp", "/account/totp")
		shot("totp")
		c.submit(`form[action="/account/totp"]`, "code", "000000")
		c.shows("That code is wrong.")
		shot("totp-wrong")
		c.must(c.Open(s.provider))
		shot("provider")
		c.open("/home", "/home")
		c.logOut()
	}
	c.pagesWithAPasskey()
}

// pagesWithAPasskey takes pictures of the pages for whoever has an app and a passkey.
func (c *chromium) pagesWithAPasskey() {
	c.Helper()
	c.logIn("/account/totp")
	c.at("/account/totp")
	var page string
	c.must(c.Eval(`return document.body.innerText`, &page))
	secret := strings.ReplaceAll(keyOnPage.FindString(page), " ", "")
	c.submit(`form[action="/account/totp"]`, "code", c.code(secret, 0))
	c.at("/account")
	c.submit("#passkey")
	c.shows("Your passkey is registered.")
	for _, width := range []int{400, 1200} {
		c.must(c.Resize(width, 900))
		c.picture("account-full", width)
	}
	c.open("/vault", "/vault")
	for _, width := range []int{400, 1200} {
		c.must(c.Resize(width, 900))
		c.picture("vault", width)
	}
	c.logOut()
	c.logIn("/home")
	c.at("/factor")
	for _, width := range []int{400, 1200} {
		c.must(c.Resize(width, 900))
		c.picture("factor", width)
	}
}

func (c *chromium) picture(name string, width int) {
	c.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := c.Screenshot()
	c.must(err)
	c.must(os.WriteFile(filepath.Join(dir, name+"-"+map[int]string{400: "narrow", 1200: "wide"}[width]+".png"), png, 0o600))
}
