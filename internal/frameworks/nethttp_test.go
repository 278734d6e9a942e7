package frameworks

import (
	"net/http"

	"github.com/sessionguard-go/sessionguard"
)

func netHTTPApp(guard *sessionguard.Guard[*User]) http.Handler {
	h, p := plain{guard}, pages{guard}
	socket := http.HandlerFunc(p.socket)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", h.login)
	mux.Handle("POST /logout", guard.Logout("/"))
	mux.Handle("/sessionguard/", guard.Script())
	mux.Handle("GET /home", guard.RequireLogin(http.HandlerFunc(h.home)))

	admin := http.NewServeMux()
	admin.HandleFunc("GET /admin/users", h.users)
	mux.Handle("/admin/", guard.RequireRole("Admin")(admin)) // one gate for all pages below /admin/

	mux.Handle("GET /socket", guard.Passive(guard.RequireLogin(guard.CancelOnEnd(socket))))

	live := func(serve http.HandlerFunc) http.Handler {
		return guard.Passive(guard.RequireLogin(guard.CancelOnEnd(serve)))
	}
	mux.Handle("GET /events", live(p.events))
	mux.Handle("GET /stream", live(p.events))
	mux.HandleFunc("GET /{$}", h.welcome)
	mux.HandleFunc("GET /public", p.public)
	mux.HandleFunc("POST /cart", p.cart)
	mux.HandleFunc("POST /login-panic", p.loginThenPanic)
	mux.Handle("GET /panic", guard.RequireLogin(http.HandlerFunc(p.panics)))
	mux.Handle("GET /files/", guard.RequireLogin(http.StripPrefix("/files", http.HandlerFunc(h.file))))
	return recoverAround(guard.Handler(mux))
}

// recoverAround is the recoverer of an application that uses no router of others.
func recoverAround(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				http.Error(w, "Something went wrong.", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func init() { wirings["net/http"] = netHTTPApp }
