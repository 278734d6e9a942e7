package frameworks

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	gingzip "github.com/gin-contrib/gzip"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/handlers"
	"github.com/gorilla/websocket"
	"github.com/klauspost/compress/gzhttp"
	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

// middlewares are those of others, as func(http.Handler) http.Handler.
var middlewares = map[string]func(http.Handler) http.Handler{
	"gzhttp":             func(h http.Handler) http.Handler { return gzhttp.GzipHandler(h) },
	"chi's Compress":     chimiddleware.Compress(5),
	"handlers.Compress":  handlers.CompressHandler,
	"otelhttp":           otelhttp.NewMiddleware("server"),
	"handlers.Logging":   func(h http.Handler) http.Handler { return handlers.CombinedLoggingHandler(io.Discard, h) },
	"handlers.Proxy":     handlers.ProxyHeaders,
	"http.MaxBytes":      func(h http.Handler) http.Handler { return http.MaxBytesHandler(h, 1<<20) },
	"chi's Timeout":      chimiddleware.Timeout(time.Hour),
	"chi's Throttle":     chimiddleware.Throttle(10),
	"chi's StripSlashes": chimiddleware.StripSlashes,
	"http.Timeout":       func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Hour, "") },
}

// buffering middlewares can neither flush nor hand over the connection.
func buffering(name string) bool { return name == "http.Timeout" }

// placed returns applications with each middleware outside and inside of the guard.
func placed() map[string]func(*sessionguard.Guard[*User]) http.Handler {
	routes := func(guard *sessionguard.Guard[*User], around ...func(http.Handler) http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Use(around...)
		chiRoutes(r, guard)
		return r
	}
	all := map[string]func(*sessionguard.Guard[*User]) http.Handler{}
	for name, m := range middlewares {
		all[name+" outside"] = func(g *sessionguard.Guard[*User]) http.Handler { return routes(g, m, g.Handler) }
		all[name+" inside"] = func(g *sessionguard.Guard[*User]) http.Handler { return routes(g, g.Handler, m) }
	}
	all["gin's gzip inside"] = func(g *sessionguard.Guard[*User]) http.Handler {
		r := gin.New()
		r.Use(gingzip.Gzip(gingzip.DefaultCompression))
		ginRoutes(r, g)
		return g.Handler(r)
	}
	all["echo's Gzip outside"] = func(g *sessionguard.Guard[*User]) http.Handler {
		e := echo.New()
		e.Use(middleware.Gzip(), echo.WrapMiddleware(g.Handler))
		echoRoutes(e, g)
		return e
	}
	all["echo's Gzip inside"] = func(g *sessionguard.Guard[*User]) http.Handler {
		e := echo.New()
		e.Use(echo.WrapMiddleware(g.Handler), middleware.Gzip())
		echoRoutes(e, g)
		return e
	}
	return all
}

func TestTheRulesHoldWithMiddlewareOutsideAndInside(t *testing.T) {
	for name, build := range placed() {
		for _, proto := range []int{1, 2} {
			t.Run(name, func(t *testing.T) {
				s := newSite(t)
				b := serve(t, proto, build(s.guard))
				b.Header.Set("Accept-Encoding", "gzip") // so that the client does not decode
				get := func(path string) testbrowser.Response { return decoded(b.Get(path)) }

				compresses := strings.Contains(strings.ToLower(name), "gz") || strings.Contains(name, "ompress")
				require.Equal(t, compresses, get("/public").Has("Cache-Control", "public, max-age=60").Header.Get("Content-Encoding") == "gzip")
				get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome").NoStore()
				b.Post("/cart").NoStore()
				login(b, "ada").Expect(http.StatusSeeOther, "/home").NoStore()
				page := get("/home").Expect(http.StatusOK, "").Contains("Hello, ada.").NoStore()
				require.Contains(t, page.Header.Get("Vary"), "Cookie")
				decoded(b.Post("/cart")).Contains("2 in the cart")
				get("/admin/users").Expect(http.StatusSeeOther, "/?reason=forbidden").NoStore()
				copied := b.Copy()
				b.Post("/logout").Expect(http.StatusSeeOther, "/").NoStore()
				require.Contains(t, b.Copy().Get("/home").Header.Get("Location"), "/login")
				get("/").Contains("You have been logged out.").NoStore()
				copied.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome&reason=expired").NoStore()
				require.Empty(t, s.log.String())
			})
		}
	}
}

// decoded returns the response without its Content-Encoding.
func decoded(r testbrowser.Response) testbrowser.Response {
	r.T.Helper()
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(strings.NewReader(r.Body))
		if err != nil {
			r.T.Errorf("%s: %v", r.Request.URL, err)
			r.T.FailNow()
		}
		body, err := io.ReadAll(z)
		if err != nil {
			r.T.Errorf("%s: %v", r.Request.URL, err)
		}
		r.Body = string(body)
	}
	return r
}

func TestStreamsAndWebSocketsEndWithMiddlewareOutsideAndInside(t *testing.T) {
	for name, build := range placed() {
		if buffering(strings.Fields(name)[0]) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a connection is closed a second later
			s := newSite(t)
			b := serve(t, 1, build(s.guard))
			login(b, "ada")
			stream, err := b.Client.Do(b.Request("GET", "/events"))
			require.NoError(t, err)
			defer stream.Body.Close()
			first := make([]byte, len("data: hello"))
			_, err = io.ReadFull(stream.Body, first)
			require.NoError(t, err)

			transport := b.Client.Transport.(*http.Transport)
			dialer := websocket.Dialer{TLSClientConfig: transport.TLSClientConfig.Clone(), Jar: b.Client.Jar}
			dialer.TLSClientConfig.NextProtos = nil
			conn, _, err := dialer.Dial("wss"+strings.TrimPrefix(b.URL, "https")+"/socket", nil)
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.WriteMessage(websocket.TextMessage, []byte("hello")))
			_, message, err := conn.ReadMessage()
			require.NoError(t, err)
			require.Equal(t, "hello", string(message))

			b.Post("/logout")
			rest, err := io.ReadAll(stream.Body)
			require.NoError(t, err)
			require.Contains(t, string(rest), "event: ended\ndata: logged_out")
			_, _, err = conn.ReadMessage()
			require.Error(t, err)
		})
	}
}

// gorilla's upgrader asserts http.Hijacker and does not unwrap.
func TestGorillaWebSocketUpgradesBehindTheGuard(t *testing.T) {
	s := newSite(t)
	upgrader := websocket.Upgrader{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", plain{s.guard}.login)
	mux.Handle("/socket", s.guard.RequireLogin(s.guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil || conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	}))))
	b := serve(t, 1, s.guard.Handler(mux))
	login(b, "ada")
	transport := b.Client.Transport.(*http.Transport)
	dialer := websocket.Dialer{TLSClientConfig: transport.TLSClientConfig, Jar: b.Client.Jar}
	conn, _, err := dialer.Dial("wss"+strings.TrimPrefix(b.URL, "https")+"/socket", nil)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.WriteMessage(websocket.TextMessage, []byte("hello")))
	_, _, err = conn.ReadMessage()
	require.NoError(t, err)
	require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
	_, _, err = conn.ReadMessage()
	require.Error(t, err)
}

// gin's c.Stream ignores the errors of its writes, so a step that does not look at the context
// must be ended by the channel of http.CloseNotifier.
func TestGinsStreamEndsThoughItsStepLooksAtNothing(t *testing.T) {
	s := newSite(t)
	ended := make(chan bool)
	engine := gin.New()
	engine.POST("/login", gin.WrapF(plain{s.guard}.login))
	engine.GET("/stream", use(s.guard.RequireLogin), use(s.guard.CancelOnEnd), func(c *gin.Context) {
		ended <- c.Stream(func(io.Writer) bool { c.SSEvent("message", "hello"); return true })
	})
	engine.GET("/gone", func(c *gin.Context) {
		ended <- c.Stream(func(io.Writer) bool { c.SSEvent("message", "hello"); return true })
	})
	b := serve(t, 1, s.guard.Handler(engine))
	login(b, "ada")
	resp, err := b.Client.Do(b.Request("GET", "/stream"))
	require.NoError(t, err)
	defer resp.Body.Close()
	require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
	require.True(t, <-ended)

	resp, err = b.Client.Do(b.Request("GET", "/gone"))
	require.NoError(t, err)
	resp.Body.Close()
	require.True(t, <-ended, "the client has gone")
}

// Nothing but gin asks for it, and no ResponseWriter below has to have it.
func TestCloseNotifyNeedsNoServer(t *testing.T) {
	s := newSite(t)
	engine := gin.New()
	engine.GET("/", func(c *gin.Context) {
		c.Stream(func(w io.Writer) bool { io.WriteString(w, "hello"); return false })
	})
	w := httptest.NewRecorder()
	s.guard.Handler(engine).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	require.Equal(t, "hello", w.Body.String())
}
