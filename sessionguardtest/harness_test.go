package sessionguardtest_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

type person struct {
	id      string
	factors []string
}

func (p *person) UserID() string           { return p.id }
func (p *person) IsActive() bool           { return p.id != "eve" }
func (p *person) HasRole(role string) bool { return p.id == "grace" && role == "Admin" }

var (
	ada   = &person{id: "ada"}
	grace = &person{id: "grace"}
	lynn  = &person{id: "lynn", factors: []string{"pwd", "otp"}}
	eve   = &person{id: "eve"}
)

type config = sessionguard.Config[*person]

// newApp returns a guard and an application behind it.
//
//	GET /home        the user's ID, for whoever is logged in
//	GET /admin       for an Admin
//	GET /fresh       for a login less than 5 minutes ago
//	GET /fresh/otp   the same for a code
//	/seen            method, Accept, Origin and the Sec-Fetch headers
func newApp(t testing.TB, configure func(*config)) (*sessionguard.Guard[*person], http.Handler) {
	t.Helper()
	c := config{
		FindUser: func(_ context.Context, id string) (*person, error) {
			for _, p := range []*person{ada, grace, lynn, eve} {
				if p.id == id {
					return p, nil
				}
			}
			return nil, sessionguard.ErrNoUser
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	if configure != nil {
		configure(&c)
	}
	guard, err := sessionguard.New(c)
	require.NoError(t, err)
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		fmt.Fprintf(w, "Hello, %s.", user.id)
	})
	mux := http.NewServeMux()
	mux.Handle("/home", guard.RequireLogin(hello))
	mux.Handle("/admin", guard.RequireRole("Admin")(hello))
	mux.Handle("/fresh", guard.RequireFresh(5*time.Minute)(hello))
	mux.Handle("/fresh/otp", guard.RequireFresh(5*time.Minute, "otp")(hello))
	mux.HandleFunc("/seen", func(w http.ResponseWriter, r *http.Request) {
		h := r.Header
		fmt.Fprintf(w, "%s %.9s|%s|%s %s %s|%s", r.Method, h.Get("Accept"), h.Get("Origin"), h.Get("Sec-Fetch-Site"), h.Get("Sec-Fetch-Mode"),
			h.Get("Sec-Fetch-Dest"), h.Get("User-Agent"))
	})
	return guard, guard.Handler(mux)
}

func needFactors(c *config) {
	c.Factors = func(p *person) []string { return p.factors }
	c.FactorPath = "/code"
}

// failing is a test that may fail. Like that of a real one, its Fatalf ends the goroutine.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (f *failing) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }

// failureOf returns with what message test ends itself.
func failureOf(t *testing.T, test func(t testing.TB)) string {
	t.Helper()
	f, done := &failing{TB: t}, make(chan struct{})
	go func() {
		defer close(done)
		test(f)
	}()
	<-done
	return cmp.Or(f.message, "it did not fail")
}
