package e2e

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/sessionguard-go/sessionguard"
)

// streamApplication is a page with the streams of docs/front-ends.md, of which only the
// one at path gets a response. It is refused to a visitor.
func streamApplication(t *testing.T, path string, serve http.HandlerFunc) (origin string, guard *sessionguard.Guard[isolationUser]) {
	t.Helper()
	client := documented(t, "Streams and WebSockets", "js")
	guard, err := sessionguard.New(sessionguard.Config[isolationUser]{
		FindUser: func(_ context.Context, id string) (isolationUser, error) { return isolationUser(id), nil },
		Logger:   slog.New(slog.DiscardHandler),
	})
	must(t, err)
	mux := http.NewServeMux()
	mux.Handle("/sessionguard/", guard.Script())
	mux.Handle("GET "+path, guard.Passive(guard.RequireLogin(guard.CancelOnEnd(serve))))
	for _, other := range []string{"/events", "/socket"} {
		if other != path {
			mux.HandleFunc("GET "+other, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		}
	}
	mux.HandleFunc("GET /enter", func(w http.ResponseWriter, r *http.Request) {
		must(t, guard.Login(w, r, "ada"))
		http.Redirect(w, r, "/page", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /streams.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, client+`
			const note = (path, what) => { if (path === "`+path+`") sessionStorage.noted = what }
			source.addEventListener("open", () => note("/events", "open"))
			source.addEventListener("error", () => note("/events", "state " + source.readyState))
			socket.addEventListener("open", () => note("/socket", "open"))
			socket.addEventListener("close", ({ code, reason }) => note("/socket", code + " " + reason))`)
	})
	page := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<!DOCTYPE html><head>%s<script src="/streams.js" defer></script></head><body>page`, guard.ScriptTag(r, "data-poll", "0"))
	}
	mux.HandleFunc("GET /visitor", page)
	mux.Handle("GET /page", guard.RequireLogin(http.HandlerFunc(page)))
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Log in") })
	return serveSite(t, guard.Handler(mux).ServeHTTP), guard
}

// endOf waits for the end of the session of r, and returns the reason.
func endOf(r *http.Request) string {
	<-r.Context().Done()
	if ended, ok := errors.AsType[*sessionguard.SessionEndedError](context.Cause(r.Context())); ok {
		return string(ended.Reason)
	}
	return ""
}

// openEvents begins an event stream.
func openEvents(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "retry: 50\n\n")
	_ = http.NewResponseController(w).Flush()
}

// What docs/front-ends.md says about clients of streams is so: the page disappears when the
// stream says that its session has ended, or is refused.
func TestTheStreamsOfTheDocumentation(t *testing.T) {
	for name, test := range map[string]struct {
		path            string
		serve           http.HandlerFunc
		refused, closed string // what the client learns
	}{
		"an event": {"/events", func(w http.ResponseWriter, r *http.Request) {
			openEvents(w)
			_, _ = fmt.Fprintf(w, "event: ended\ndata: %s\n\n", endOf(r))
		}, "state 2", "open"},
		"no event, and a refused reconnection": {"/events", func(w http.ResponseWriter, r *http.Request) {
			openEvents(w)
			endOf(r)
		}, "state 2", "state 2"},
		"a WebSocket": {"/socket", func(w http.ResponseWriter, r *http.Request) {
			connection, _, err := http.NewResponseController(w).Hijack()
			must(t, err)
			defer connection.Close()
			sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
			_, _ = fmt.Fprintf(connection, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
				base64.StdEncoding.EncodeToString(sum[:]))
			reason := endOf(r)
			_, _ = fmt.Fprintf(connection, "\x88%c\x03\xf0%s", 2+len(reason), reason) // 1008
			_, _ = connection.Read(make([]byte, 100))                                 // the client closes too
		}, "1006 ", "1008 ended"},
	} {
		t.Run(name, func(t *testing.T) {
			forEachEngine(t, func(t *testing.T, b *browser) {
				origin, guard := streamApplication(t, test.path, test.serve)
				noted := func(want string) {
					t.Helper()
					must(t, b.Until(`return sessionStorage.noted === arguments[0]`, want))
				}
				must(t, b.Open(origin+"/visitor"))
				noted(test.refused)
				must(t, b.Until(`return location.pathname === "/visitor"`))

				must(t, b.Open(origin+"/enter"))
				noted("open")
				must(t, guard.EndUser(t.Context(), "ada"))
				must(t, b.Until(`return location.pathname + location.search === "/login?next=%2Fpage&reason=ended"`))
				noted(test.closed)
			})
		})
	}
}
