package e2e

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"html"
	"image"
	"image/png"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testhook"
)

// trustingClient trusts the certificates of the tests, and follows no redirects.
var trustingClient = &http.Client{
	Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// deviceApplication is an application with everything that a browser can request.
func deviceApplication(t *testing.T, guard *sessionguard.Guard[isolationUser]) http.Handler {
	mux := http.NewServeMux()
	page := func(w http.ResponseWriter, r *http.Request, text string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!DOCTYPE html><title>Page</title>%s<link rel="icon" href="data:,"><body>%s`, guard.ScriptTag(r), html.EscapeString(text))
	}
	private := func(pattern string, serve func(w http.ResponseWriter, r *http.Request, user isolationUser)) {
		mux.Handle(pattern, guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, _ := guard.User(r)
			serve(w, r, user)
		})))
	}
	secretPage := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		body, _ := io.ReadAll(r.Body)
		page(w, r, fmt.Sprintf("the secret of %s: %s", user, body))
	})
	login := func(w http.ResponseWriter, r *http.Request) {
		var options []sessionguard.LoginOption
		if r.FormValue("remember") != "" {
			options = append(options, sessionguard.Remember())
		}
		if err := guard.Login(w, r, isolationUser(r.FormValue("user")), options...); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		target := r.FormValue("next")
		if target == "" {
			target = "/page"
		}
		http.Redirect(w, r, target, http.StatusSeeOther)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { page(w, r, "Welcome") })
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		page(w, r, "Log in "+string(guard.EndReason(r)))
	})
	mux.HandleFunc("POST /login", login)
	mux.HandleFunc("GET /callback", login) // of a provider on another site
	mux.Handle("POST /logout", guard.Logout("/"))
	mux.Handle("/sessionguard/", guard.Script())
	mux.Handle("/page", guard.RequireLogin(secretPage))
	mux.Handle("/bound", guard.RequireBound(0)(secretPage))
	mux.Handle("/step-up", guard.RequireBound(2*time.Minute)(secretPage))
	private("/echo", func(w http.ResponseWriter, r *http.Request, user isolationUser) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "the secret of %s: %s", user, body)
	})
	private("POST /save", func(w http.ResponseWriter, r *http.Request, _ isolationUser) {
		http.Redirect(w, r, "/page?saved="+r.FormValue("name"), http.StatusSeeOther)
	})
	private("GET /image", func(w http.ResponseWriter, _ *http.Request, _ isolationUser) {
		var picture bytes.Buffer
		_ = png.Encode(&picture, image.NewGray(image.Rect(0, 0, 7, 5)))
		w.Header().Set("Content-Type", "image/png")
		_, _ = w.Write(picture.Bytes())
	})
	private("GET /script", func(w http.ResponseWriter, _ *http.Request, _ isolationUser) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, "window.ran = true")
	})
	mux.HandleFunc("GET /worker.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, `onmessage = (e) => fetch("/echo?worker").then((r) => e.source.postMessage(r.status))`)
	})
	mux.HandleFunc("GET /forward.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, `onactivate = (e) => e.waitUntil(clients.claim()); onfetch = (e) => e.respondWith(fetch(e.request))`)
	})
	mux.Handle("GET /stream", guard.RequireLogin(guard.CancelUnproven(http.HandlerFunc(streamEvents))))
	mux.Handle("GET /long-stream", guard.RequireLogin(guard.CancelOnEnd(http.HandlerFunc(streamEvents))))
	mux.Handle("GET /socket", guard.RequireLogin(guard.CancelUnproven(http.HandlerFunc(openSocket))))
	// The session of the request moves back in time.
	mux.HandleFunc("GET /age", func(w http.ResponseWriter, r *http.Request) {
		by, err := time.ParseDuration(r.FormValue("by"))
		must(t, err)
		must(t, testhook.Backdate(guard, w, r, testhook.Shift{By: by}))
	})
	return mux
}

// streamEvents sends one event, and then whatever ends the stream ends it.
func streamEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "retry: 50\ndata: the secret\n\n")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// openSocket opens a WebSocket (RFC 6455), sends one message, and waits for its end.
func openSocket(w http.ResponseWriter, r *http.Request) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer connection.Close()
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, _ = fmt.Fprintf(connection, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n\x81\x0athe secret",
		base64.StdEncoding.EncodeToString(sum[:]))
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	<-ctx.Done()
}
