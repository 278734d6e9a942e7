package frameworks

import (
	"fmt"
	"io"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/sessionguard-go/sessionguard"
)

// use makes a wrapper of the guard a middleware of gin.
func use(wrap func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort()
		}
	}
}

func ginApp(guard *sessionguard.Guard[*User]) http.Handler {
	router := gin.Default()
	ginRoutes(router, guard)
	return guard.Handler(router)
}

func ginRoutes(router *gin.Engine, guard *sessionguard.Guard[*User]) {
	router.GET("/", func(c *gin.Context) {
		session, _ := guard.Get(c.Request, "flash")
		c.String(http.StatusOK, "%v Welcome.", session.Flashes())
	})
	router.POST("/login", func(c *gin.Context) {
		user, ok := verify(c.PostForm("name"), c.PostForm("password"))
		if !ok {
			c.String(http.StatusUnauthorized, "Wrong name or password.")
			return
		}
		if err := guard.Login(c.Writer, c.Request, user); err != nil {
			c.String(http.StatusForbidden, "You cannot log in.")
			return
		}
		c.Redirect(http.StatusSeeOther, guard.Next(c.Request, "/home"))
	})
	router.POST("/logout", gin.WrapH(guard.Logout("/")))
	router.Any("/sessionguard/*path", gin.WrapH(guard.Script()))

	members := router.Group("/", use(guard.RequireLogin))
	members.GET("/home", func(c *gin.Context) {
		user, _ := guard.User(c.Request) // a *User
		c.Header("Content-Type", "text/html; charset=utf-8")
		c.String(http.StatusOK, "<!DOCTYPE html><head>%s</head>Hello, %s.", guard.ScriptTag(c.Request), user.Name)
	})
	admin := router.Group("/admin", use(guard.RequireRole("Admin")))
	admin.GET("/users", func(c *gin.Context) { c.String(http.StatusOK, "users") })

	live := router.Group("/", use(guard.Passive), use(guard.RequireLogin), use(guard.CancelOnEnd))
	live.GET("/stream", func(c *gin.Context) {
		messages := subscribe(c.Request.Context())
		c.Stream(func(io.Writer) bool {
			select {
			case m := <-messages:
				c.SSEvent("message", m)
				return true
			case <-c.Request.Context().Done():
				c.SSEvent("ended", reason(c.Request.Context())) // there is a second for this
				return false
			}
		})
	})

	p := pages{guard}
	router.GET("/public", gin.WrapF(p.public))
	router.POST("/cart", gin.WrapF(p.cart))
	members.GET("/files/style.css", gin.WrapF(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "css") }))
	live.GET("/events", gin.WrapF(p.events))
	live.GET("/socket", gin.WrapF(p.socket))
	members.GET("/panic", gin.WrapF(p.panics))
	router.POST("/login-panic", gin.WrapF(p.loginThenPanic))
}

func init() { wirings["gin"] = ginApp }
