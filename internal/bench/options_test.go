package bench

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
)

// An optionSubject is a site with one option of Config, and a request for its page.
type optionSubject struct {
	subject
	page *http.Request
}

// optionSubjects are constructors of sites with a new store each, the first without any option.
var optionSubjects = []func(*testing.T) optionSubject{
	func(t *testing.T) optionSubject { return withPlainLogin(t, guardName, nil) },
	func(t *testing.T) optionSubject {
		return withPlainLogin(t, "`Partitioned`", func(c *sessionguard.Config[*user]) {
			c.Partitioned, c.SameSite = true, http.SameSiteNoneMode
		})
	},
	withFactors,
	withDeviceProof,
}

func withPlainLogin(t *testing.T, name string, configure func(*sessionguard.Config[*user])) optionSubject {
	s := guardSubject(name, newGuard(t, store.NewMemory(), configure))
	return optionSubject{s, s.loggedIn(t, 1)[0]}
}

// withFactors returns a site where users log in with a password and then with a code. Its login
// is both.
func withFactors(t *testing.T) optionSubject {
	needed := []string{"pwd", "otp"}
	guard := newGuard(t, store.NewMemory(), func(c *sessionguard.Config[*user]) {
		c.Factors, c.FactorPath = func(*user) []string { return needed }, "/factor"
	})
	password := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := guard.Login(w, r, userLoggingIn(r), sessionguard.Factors("pwd"))
		check(err == nil)
	}))
	code := guardLogin(guard, sessionguard.Factors("otp"))
	s := guardSubject("`Factors`, two needed", guard)
	s.login = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pending := newDiscardWriter()
		password.ServeHTTP(pending, r)
		cookie, _, _ := strings.Cut(pending.Header().Get("Set-Cookie"), ";")
		next := *r
		next.Header = http.Header{"Cookie": {cookie}}
		code.ServeHTTP(w, &next)
	})
	return optionSubject{s, s.loggedIn(t, 1)[0]}
}

// withDeviceProof returns a site where the session is bound to a device whose proof counts. Its
// login offers to bind the session. The device's own requests do not count.
func withDeviceProof(t *testing.T) optionSubject {
	guard := newGuard(t, store.NewMemory(), func(c *sessionguard.Config[*user]) { c.DeviceProof = 10 * time.Minute })
	s := guardSubject("`DeviceProof`, a bound session", guard)
	mux := http.NewServeMux()
	mux.Handle("POST /sessionguard/", guard.Script())
	mux.Handle("POST /login", s.login)
	mux.Handle("GET /{$}", s.page)
	browser := testbrowser.New(t, "https://example.com", testbrowser.HandlerTransport{Handler: guard.Handler(mux)})
	browser.Device = testbrowser.NewDevice()
	browser.Post("/login")
	browser.Get("/") // after which the device is proven

	bound := s.loggedIn(t, 1)[0] // has the cookie of another session
	bound.Header.Set("Cookie", browserCookies(browser))
	seen := httptest.NewRecorder()
	guard.RequireBound(0)(http.HandlerFunc(page)).ServeHTTP(seen, bound)
	check(seen.Code == http.StatusOK)
	return optionSubject{s, bound}
}

func browserCookies(browser *testbrowser.Browser) string {
	var pairs []string
	for _, c := range browser.Client.Jar.Cookies(&url.URL{Scheme: "https", Host: "example.com", Path: "/"}) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// TestOptions compares what options of Config add to the cost of a protected request and of a
// login.
func TestOptions(t *testing.T) {
	requests, logins := make([][]cost, len(optionSubjects)), make([][]cost, len(optionSubjects))
	names := make([]string, len(optionSubjects))
	for round := range *rounds {
		for i := range optionSubjects {
			i = (i + round) % len(optionSubjects) // another one begins each round
			s := optionSubjects[i](t)
			names[i] = s.name
			got := measureCost(*turnLength, client{handler: s.subject.page, writer: newDiscardWriter(), requests: []*http.Request{s.page}})
			check(got.status == http.StatusOK)
			requests[i] = append(requests[i], got)
			got = measureCost(*turnLength, client{handler: s.login, writer: newDiscardWriter(), requests: []*http.Request{loginRequest}, logsIn: true})
			check(got.status == http.StatusOK)
			logins[i] = append(logins[i], got)
		}
	}
	var table strings.Builder
	table.WriteString("| | protected request: CPU | × sessionguard | allocations | | login: CPU | × sessionguard |\n|---|---|---|---|---|---|---|\n")
	for i, name := range names {
		fmt.Fprintf(&table, "| %s | %s | %s | %.0f | %.0f B | %s | %s |\n", name,
			formatCPU(requests[i]), formatRatio(ratios(requests[i], requests[0], cpu)),
			medianOf(requests[i], func(c cost) float64 { return c.allocs }), medianOf(requests[i], func(c cost) float64 { return c.bytes }),
			formatCPU(logins[i]), formatRatio(ratios(logins[i], logins[0], cpu)))
	}
	publish(t, "options", describeTurns(*rounds, *turnLength), table.String())
}
