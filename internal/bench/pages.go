package bench

import (
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// The same page everywhere: only for an engineer, never cached, with an idle timeout
// that slides. Five values are in the session and nobody reads them.

const (
	idle     = 30 * time.Minute
	absolute = 12 * time.Hour
)

type user struct{ id, role string }

func (u *user) UserID() string           { return u.id }
func (u *user) IsActive() bool           { return true }
func (u *user) HasRole(role string) bool { return u.role == role }

var ada = &user{"ada", "Engineer"}

func find(_ context.Context, id string) (*user, error) {
	if id != ada.id {
		return nil, sessionguard.ErrNoUser
	}
	return ada, nil
}

var values = map[string]any{
	"name": "Ada Lovelace", "theme": "dark", "cart": 12, "admin": false, "since": int64(1_700_000_000),
}

func init() {
	gob.Register(map[string]any{})
}

var body = []byte("hello")

func page(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }

// recipe is a page behind a check of one's own.
func recipe(w http.ResponseWriter, r *http.Request, id any) {
	name, _ := id.(string)
	u, err := find(r.Context(), name)
	if err != nil || !u.IsActive() || !u.HasRole("Engineer") {
		http.Error(w, "not logged in", http.StatusUnauthorized)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store, no-cache, must-revalidate, private")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "0")
	page(w, r)
}

var keys = [][]byte{[]byte("an authentication key of 32 byte"), nil}

func ours(name string, backend store.Backend) (subject, error) {
	guard, err := sessionguard.New(sessionguard.Config[*user]{
		FindUser:        find,
		Keys:            keys,
		Backend:         backend,
		IdleTimeout:     idle,
		AbsoluteTimeout: absolute,
		Logger:          slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return subject{}, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := guard.Login(w, r, ada); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		session, _ := guard.Get(r, "session")
		for k, v := range values {
			session.Values[k] = v
		}
	})
	mux.Handle("GET /", guard.RequireRole("Engineer")(http.HandlerFunc(page)))
	return subject{name: name, handler: guard.Handler(mux)}, nil
}

// ofSCS is alexedwards/scs. With an IdleTimeout it stores the session anew with
// every request.
func ofSCS(name string, store scs.Store) subject {
	manager := scs.New()
	manager.Store = store
	manager.IdleTimeout, manager.Lifetime = idle, absolute
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := manager.RenewToken(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		manager.Put(r.Context(), "user", ada.id)
		for k, v := range values {
			manager.Put(r.Context(), k, v)
		}
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		recipe(w, r, manager.Get(r.Context(), "user"))
	})
	return subject{name: name, peer: true, handler: manager.LoadAndSave(mux)}
}

// ofGorilla is a store for gorilla/sessions. To slide, the session has to be saved
// with every request.
func ofGorilla(name string, store sessions.Store) subject {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		session, _ := store.Get(r, "session")
		session.Values["user"] = ada.id
		for k, v := range values {
			session.Values[k] = v
		}
		if err := session.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		session, err := store.Get(r, "session")
		if err == nil {
			err = session.Save(r, w)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		recipe(w, r, session.Values["user"])
	})
	return subject{name: name, peer: true, handler: mux}
}

// login returns requests of so many who have logged in.
func (s subject) login(t testing.TB, clients int) (requests []*http.Request) {
	t.Helper()
	logins := s.logins
	if logins == nil {
		logins = s.handler
	}
	for range clients {
		w := httptest.NewRecorder()
		logins.ServeHTTP(w, httptest.NewRequest("POST", "/login", nil))
		answer := w.Result()
		if answer.StatusCode != http.StatusOK || len(answer.Cookies()) == 0 {
			text, _ := io.ReadAll(answer.Body)
			t.Fatal(s.name, answer.Status, string(text))
		}
		r := httptest.NewRequest("GET", "/", nil)
		for _, c := range answer.Cookies() {
			r.Header.Set("Cookie", fmt.Sprintf("%s=%s", c.Name, c.Value))
		}
		requests = append(requests, r)
	}
	return requests
}
