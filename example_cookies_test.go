package sessionguard_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/sessionguard-go/sessionguard"
)

// Two guards on one host, such as one for customers and one for staff, need different cookie
// names. Otherwise each login would replace the cookie of the other guard.
func ExampleConfig_cookieName() {
	guardWith := func(name string) *sessionguard.Guard[*exampleUser] {
		guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
			FindUser:   exampleFind,
			CookieName: name,
			Logger:     slog.New(slog.DiscardHandler),
		})
		if err != nil {
			panic(err)
		}
		return guard
	}
	customers, staff := guardWith("__Host-Http-session"), guardWith("__Host-Http-staff")
	mux := http.NewServeMux()
	mux.Handle("GET /shop", customers.RequireLogin(examplePage("Your orders")))
	mux.Handle("GET /orders", staff.RequireLogin(examplePage("Everyone's orders")))

	ada := exampleVisitAs("ada", customers, mux)
	fmt.Println(ada.get("/shop"))
	fmt.Println(ada.get("/orders"))
	// Output:
	// 200 Your orders
	// 303 to /login?next=%2Forders
}

// Another site shows the application's pages in a frame. Browsers then keep the session for
// this site alone: at the application itself, and in a frame of a third site, the user has to
// log in again. The header frame-ancestors says which site may do that. The cookies come with
// the requests of other sites too, so let Config.CrossOrigin refuse those, as by default.
func ExampleConfig_partitioned() {
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser:    exampleFind,
		SameSite:    http.SameSiteNoneMode,
		Partitioned: true,
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	app := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "frame-ancestors https://portal.example")
		if err := guard.Login(w, r, exampleUsers["ada"]); err != nil {
			http.Error(w, "Please try again later.", http.StatusServiceUnavailable)
		}
	}))
	line := exampleVisit(app).Post("/login").Header.Get("Set-Cookie")
	name, rest, _ := strings.Cut(line, "=")
	_, attributes, _ := strings.Cut(rest, ";")
	fmt.Println(name + "=…;" + attributes)
	// Output:
	// __Host-Http-session=…; Path=/; HttpOnly; Secure; SameSite=None; Partitioned
}
