package frameworks

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"github.com/sessionguard-go/sessionguard"
)

func echoApp(guard *sessionguard.Guard[*User]) http.Handler {
	e := echo.New()
	e.Use(middleware.Recover())
	e.Use(echo.WrapMiddleware(guard.Handler))
	echoRoutes(e, guard)
	return e
}

func echoRoutes(e *echo.Echo, guard *sessionguard.Guard[*User]) {
	e.GET("/", func(c *echo.Context) error {
		session, _ := guard.Get(c.Request(), "flash")
		return c.String(http.StatusOK, fmt.Sprint(session.Flashes(), " Welcome."))
	})
	e.POST("/login", func(c *echo.Context) error {
		user, ok := verify(c.Request().PostFormValue("name"), c.Request().PostFormValue("password"))
		if !ok {
			return echo.NewHTTPError(http.StatusUnauthorized, "Wrong name or password.")
		}
		if err := guard.Login(c.Response(), c.Request(), user); err != nil {
			return echo.NewHTTPError(http.StatusForbidden, "You cannot log in.")
		}
		return c.Redirect(http.StatusSeeOther, guard.Next(c.Request(), "/home"))
	})
	e.POST("/logout", echo.WrapHandler(guard.Logout("/")))
	e.Any("/sessionguard/*", echo.WrapHandler(guard.Script()))

	login := echo.WrapMiddleware(guard.RequireLogin)
	e.GET("/home", func(c *echo.Context) error {
		user, _ := guard.User(c.Request()) // a *User
		return c.HTML(http.StatusOK, fmt.Sprintf("<!DOCTYPE html><head>%s</head>Hello, %s.", guard.ScriptTag(c.Request()), user.Name))
	}, login)
	admin := e.Group("/admin", echo.WrapMiddleware(guard.RequireRole("Admin")))
	admin.GET("/users", func(c *echo.Context) error { return c.String(http.StatusOK, "users") })

	passive, live := echo.WrapMiddleware(guard.Passive), echo.WrapMiddleware(guard.CancelOnEnd)
	e.GET("/stream", func(c *echo.Context) error {
		w := c.Response()
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: hello\n\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		<-c.Request().Context().Done() // or a message
		fmt.Fprintf(w, "event: ended\ndata: %s\n\n", reason(c.Request().Context()))
		return nil
	}, passive, login, live)

	p := pages{guard}
	e.GET("/public", echo.WrapHandler(http.HandlerFunc(p.public)))
	e.POST("/cart", echo.WrapHandler(http.HandlerFunc(p.cart)))
	e.GET("/files/style.css", func(c *echo.Context) error { return c.String(http.StatusOK, "css") }, login)
	e.GET("/events", echo.WrapHandler(http.HandlerFunc(p.events)), passive, login, live)
	e.GET("/socket", echo.WrapHandler(http.HandlerFunc(p.socket)), passive, login, live)
	e.GET("/panic", echo.WrapHandler(http.HandlerFunc(p.panics)), login)
	e.POST("/login-panic", echo.WrapHandler(http.HandlerFunc(p.loginThenPanic)))
}

func init() {
	wirings["echo"] = echoApp
	wirings["echo inside"] = func(guard *sessionguard.Guard[*User]) http.Handler {
		e := echo.New()
		e.Use(middleware.Recover())
		echoRoutes(e, guard)
		return guard.Handler(e)
	}
}
