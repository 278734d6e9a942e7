package frameworks

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	echo4 "github.com/labstack/echo/v4"
	"github.com/labstack/echo/v5"
	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// A hasty adapter makes a wrapper a middleware, and drops the ResponseWriter that it gets: h
// is called with the framework's.
type hasty func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler

var hastyAdapters = map[string]hasty{
	"gin": func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler {
		r := gin.New()
		r.Use(use(wrap))
		r.NoRoute(func(c *gin.Context) { c.Status(http.StatusOK); h(c.Writer, c.Request) })
		return r
	},
	"echo": func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler {
		e := echo.New()
		e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c *echo.Context) (err error) {
				wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					c.SetRequest(r)
					err = next(c)
				})).ServeHTTP(c.Response(), c.Request())
				return err
			}
		})
		e.Any("/*", echo.WrapHandler(h))
		return e
	},
	"echo v4": func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler {
		e := echo4.New()
		e.Use(func(next echo4.HandlerFunc) echo4.HandlerFunc {
			return func(c echo4.Context) (err error) {
				wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					c.SetRequest(r)
					err = next(c)
				})).ServeHTTP(c.Response(), c.Request())
				return err
			}
		})
		e.Any("/*", echo4.WrapHandler(h))
		return e
	},
	"chi": func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler {
		r := chi.NewRouter()
		r.Use(chimiddleware.Logger, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, r) })).ServeHTTP(w, r)
			})
		})
		r.Handle("/*", h)
		return r
	},
	"net/http": func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { h(w, r) })).ServeHTTP(w, r)
		})
	},
}

// hidden is the ResponseWriter of a middleware that has no Unwrap method.
type hidden struct{ http.ResponseWriter }

const goesAround = "a response goes around the guard"

func TestALoginWhoseCookieCannotBeSentIsRefused(t *testing.T) {
	for name, adapt := range hastyAdapters {
		for _, proto := range []int{1, 2} {
			t.Run(name, func(t *testing.T) {
				s := newSite(t)
				b := serve(t, proto, adapt(s.guard.Handler, func(w http.ResponseWriter, r *http.Request) {
					err := s.guard.Login(w, r, people["ada"])
					require.ErrorIs(t, err, sessionguard.ErrNotWrapped)
					fmt.Fprint(w, err)
				}))
				b.Get("/").Contains("pass on the ResponseWriter")
				require.Empty(t, sessions(s, "ada"))
				require.Contains(t, s.log.String(), goesAround)
			})
		}
	}
}

// Login cannot see that the ResponseWriter is another one if a middleware in between hides
// that. At the end, the framework's own ResponseWriter tells that it was written to.
func TestALoginThatWasLostIsUndoneAndLogged(t *testing.T) {
	for name, adapt := range hastyAdapters {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			b := serve(t, 1, adapt(s.guard.Handler, func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, s.guard.Login(hidden{w}, r, people["ada"]))
				fmt.Fprint(w, "welcome")
			}))
			require.Empty(t, b.Get("/").Contains("welcome").Cookies())
			if name == "net/http" { // whose ResponseWriter does not tell
				require.NotContains(t, s.log.String(), goesAround)
				return
			}
			require.Empty(t, sessions(s, "ada"))
			require.Contains(t, s.log.String(), goesAround)
		})
	}
}

func TestAPageThatGoesAroundItsGateIsLogged(t *testing.T) {
	for name, adapt := range hastyAdapters {
		for nested := range 2 {
			t.Run(fmt.Sprint(name, nested), func(t *testing.T) {
				s := newSite(t)
				page := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "secret") }
				gated := adapt(s.guard.RequireLogin, page)
				if nested == 1 { // Handler in the same manner
					gated = adapt(func(h http.Handler) http.Handler { return s.guard.Handler(h) }, s.guard.RequireLogin(http.HandlerFunc(page)).ServeHTTP)
				}
				mux := http.NewServeMux()
				mux.Handle("/", gated)
				mux.Handle("POST /login", s.guard.Handler(http.HandlerFunc(plain{s.guard}.login)))
				b := serve(t, 1, mux)
				b.PostForm("/login?next=/", "name", "ada", "password", "pw").Expect(http.StatusSeeOther, "/")
				b.Get("/").Contains("secret")
				if name == "net/http" && nested == 0 { // nobody can tell
					return
				}
				require.Contains(t, s.log.String(), goesAround)
			})
		}
	}
}

func TestNothingIsLoggedOfPagesThatDoNotUseTheSession(t *testing.T) {
	for name, adapt := range hastyAdapters {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			serve(t, 1, adapt(s.guard.Handler, pages{s.guard}.public)).Get("/").Has("Cache-Control", "public, max-age=60")
			require.Empty(t, s.log.String())
		})
	}
}
