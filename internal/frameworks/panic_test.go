package frameworks

import (
	"io"
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/handlers"
	echo4 "github.com/labstack/echo/v4"
	echo4middleware "github.com/labstack/echo/v4/middleware"
	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

// recovered are servers with recoverers around wrap, in which h panics.
var recovered = map[string]func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler{
	"echo": func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler {
		e := echo.New()
		e.Use(middleware.Recover(), echo.WrapMiddleware(wrap))
		e.Any("/*", echo.WrapHandler(h))
		return e
	},
	"echo, with an error page": func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler {
		e := echo.New()
		e.HTTPErrorHandler = func(c *echo.Context, err error) {
			c.Response().Header().Set("X-Error", "bug")
			_ = c.HTML(http.StatusInternalServerError, "Internal Server Error")
		}
		e.Use(middleware.Recover(), echo.WrapMiddleware(wrap))
		e.Any("/*", echo.WrapHandler(h))
		return e
	},
	"echo v4": func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler {
		e := echo4.New()
		e.Use(echo4middleware.Recover(), echo4.WrapMiddleware(wrap))
		e.Any("/*", echo4.WrapHandler(h))
		return e
	},
	"echo v4, the route's middleware": func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler {
		e := echo4.New()
		e.Use(echo4middleware.RecoverWithConfig(echo4middleware.RecoverConfig{DisableErrorHandler: true}))
		e.Any("/*", echo4.WrapHandler(h), echo4.WrapMiddleware(wrap), echo4.WrapMiddleware(sessionguard.NoCache))
		return e
	},
	"gin": func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler {
		r := gin.New()
		r.Use(gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, _ any) {
			c.String(http.StatusInternalServerError, "Internal Server Error")
		}), handOn(r, wrap))
		r.Any("/*path", gin.WrapF(h))
		return r
	},
	"chi": func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler {
		r := chi.NewRouter()
		r.Use(chimiddleware.Recoverer, wrap)
		r.Handle("/*", h)
		return r
	},
	"gorilla/handlers": func(wrap func(http.Handler) http.Handler, h http.HandlerFunc) http.Handler {
		return handlers.RecoveryHandler()(wrap(h))
	},
}

// handOn makes a wrapper a middleware of gin that hands on the wrapper's ResponseWriter.
func handOn(engine *gin.Engine, wrap func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		before := c.Writer
		wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.Request = r
			c.Writer = gin.CreateTestContextOnly(w, engine).Writer
			c.Next()
			c.Writer.WriteHeaderNow()
		})).ServeHTTP(before, c.Request)
	}
}

// L6: echo leaves the guard's ResponseWriter in place, so an error page is written to it.
func TestAPanicOutsideOfWhichARecovererStandsIsA500(t *testing.T) {
	for name, build := range recovered {
		for wrapped, wrap := range map[string]func(*sessionguard.Guard[*User]) func(http.Handler) http.Handler{
			"Handler": func(g *sessionguard.Guard[*User]) func(http.Handler) http.Handler { return g.Handler },
			"NoCache": func(*sessionguard.Guard[*User]) func(http.Handler) http.Handler { return sessionguard.NoCache },
			"NoCache within Handler": func(g *sessionguard.Guard[*User]) func(http.Handler) http.Handler {
				return func(h http.Handler) http.Handler { return g.Handler(sessionguard.NoCache(h)) }
			},
		} {
			for _, proto := range []int{1, 2} {
				t.Run(name+", "+wrapped, func(t *testing.T) {
					s := newSite(t)
					b := serve(t, proto, build(wrap(s.guard), func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("X-Left", "behind")
						panic("bug")
					}))
					resp := b.Get("/panic").Expect(http.StatusInternalServerError, "")
					if wrapped != "Handler" {
						resp.NoStore()
					}
					if name != "chi" && name != "gorilla/handlers" {
						require.Contains(t, resp.Body, "Internal Server Error")
					}
					if name == "echo, with an error page" {
						resp.Has("X-Error", "bug")
					}
				})
			}
		}
	}
}

func TestAPanicAfterALoginLeavesNobodyLoggedIn(t *testing.T) {
	for name, build := range recovered {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			b := serve(t, 1, build(s.guard.Handler, pages{s.guard}.loginThenPanic))
			resp := b.Get("/").Expect(http.StatusInternalServerError, "").NoStore()
			require.Empty(t, resp.Cookies())
			require.Empty(t, sessions(s, "ada"))
		})
	}
}

// Echo's own ResponseWriter takes a 103 for the response.
func TestAnInformationalResponseUndoesNoLogin(t *testing.T) {
	for name, build := range recovered {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			b := serve(t, 1, build(s.guard.Handler, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusEarlyHints)
				require.NoError(t, s.guard.Login(w, r, people["ada"]))
			}))
			require.Len(t, b.Get("/").Cookies(), 1)
			require.Len(t, sessions(s, "ada"), 1)
			require.Empty(t, s.log.String())
		})
	}
}

func sessions(s *site, id string) []sessionguard.Session {
	s.Helper()
	all, err := s.guard.Sessions(s.Context(), id)
	require.NoError(s, err)
	return all
}

// Some recoverers recover from http.ErrAbortHandler too: the guard changes nothing.
func TestAnAbortedHandlerEndsAsWithoutTheGuard(t *testing.T) {
	outcome := func(b *testbrowser.Browser) (int, string) {
		resp, err := b.Send(b.Request("GET", "/"))
		if err != nil {
			return 0, ""
		}
		return resp.StatusCode, resp.Body
	}
	abort := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for name, build := range recovered {
		t.Run(name, func(t *testing.T) {
			status, body := outcome(serve(t, 1, build(func(h http.Handler) http.Handler { return h }, abort)))
			guarded, guardedBody := outcome(serve(t, 1, build(newSite(t).guard.Handler, abort)))
			require.Equal(t, status, guarded)
			require.Equal(t, body, guardedBody)
		})
	}
}
