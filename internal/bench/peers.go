package bench

import (
	"encoding/gob"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"
	ginsessions "github.com/gin-contrib/sessions"
	"github.com/gin-gonic/gin"
	"github.com/gorilla/sessions"
)

func init() {
	gob.Register(map[string]any{})
	gin.SetMode(gin.ReleaseMode)
}

// engineer is the check of one's own that a page needs without a guard: the one of the
// session's user, as of now. It answers whoever is refused.
func engineer(w http.ResponseWriter, r *http.Request, id any) bool {
	name, _ := id.(string)
	u, err := find(r.Context(), name)
	if err != nil || !u.IsActive() || !u.HasRole("Engineer") {
		http.Error(w, "not logged in", http.StatusUnauthorized)
		return false
	}
	forbidCaching(w.Header())
	return true
}

// ofSCS is alexedwards/scs. With an IdleTimeout it stores the session anew with
// every request.
func ofSCS(name string, store scs.Store) subject {
	manager := scs.New()
	manager.Store = store
	manager.IdleTimeout, manager.Lifetime = idle, absolute
	wrap := func(h http.HandlerFunc) http.Handler { return manager.LoadAndSave(h) }
	gated := func(h http.HandlerFunc) http.Handler {
		return wrap(func(w http.ResponseWriter, r *http.Request) {
			if engineer(w, r, manager.Get(r.Context(), "user")) {
				h(w, r)
			}
		})
	}
	return subject{
		name: name, peer: true,
		page: gated(page),
		read: gated(func(w http.ResponseWriter, r *http.Request) {
			check(manager.GetString(r.Context(), "theme") == "dark")
			page(w, r)
		}),
		write: gated(func(w http.ResponseWriter, r *http.Request) {
			counter++
			manager.Put(r.Context(), "cart", counter)
			page(w, r)
		}),
		enter: wrap(func(w http.ResponseWriter, r *http.Request) {
			err := manager.RenewToken(r.Context())
			check(err == nil)
			manager.Put(r.Context(), "user", newcomer(r).id)
			page(w, r)
		}),
		login: wrap(func(w http.ResponseWriter, r *http.Request) {
			err := manager.RenewToken(r.Context())
			check(err == nil)
			manager.Put(r.Context(), "user", newcomer(r).id)
			for k, v := range values {
				manager.Put(r.Context(), k, v)
			}
			page(w, r)
		}),
		logout: wrap(func(w http.ResponseWriter, r *http.Request) {
			err := manager.Destroy(r.Context())
			check(err == nil)
			http.Redirect(w, r, "/", http.StatusSeeOther)
		}),
	}
}

// ofGorilla is a store for gorilla/sessions. To slide, the session has to be saved
// with every request.
func ofGorilla(name string, store sessions.Store) subject {
	gated := func(h func(http.ResponseWriter, *http.Request, *sessions.Session)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := store.Get(r, "session") // an error means an empty one
			if engineer(w, r, session.Values["user"]) {
				h(w, r, session)
			}
		})
	}
	save := func(w http.ResponseWriter, r *http.Request, session *sessions.Session) {
		err := session.Save(r, w)
		check(err == nil)
		page(w, r)
	}
	return subject{
		name: name, peer: true,
		page: gated(save),
		read: gated(func(w http.ResponseWriter, r *http.Request, session *sessions.Session) {
			check(session.Values["theme"] == "dark")
			save(w, r, session)
		}),
		write: gated(func(w http.ResponseWriter, r *http.Request, session *sessions.Session) {
			counter++
			session.Values["cart"] = counter
			save(w, r, session)
		}),
		login: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := store.Get(r, "session")
			session.Values["user"] = ada.id
			for k, v := range values {
				session.Values[k] = v
			}
			save(w, r, session)
		}),
		logout: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := store.Get(r, "session")
			session.Options.MaxAge = -1
			err := session.Save(r, w)
			check(err == nil)
			http.Redirect(w, r, "/", http.StatusSeeOther)
		}),
	}
}

// withoutSliding is what gorilla/sessions asks for just to know who it is: no Save, so
// that activity prolongs nothing.
func withoutSliding(name string, store sessions.Store) subject {
	s := ofGorilla(name, store)
	get := func(w http.ResponseWriter, r *http.Request) {
		session, _ := store.Get(r, "session")
		if engineer(w, r, session.Values["user"]) {
			check(session.Values["theme"] == "dark")
			page(w, r)
		}
	}
	s.page, s.read = http.HandlerFunc(get), http.HandlerFunc(get)
	return s
}

// ofGin is gin-contrib/sessions. It saves only what has been set, so that a session
// slides by setting something again.
func ofGin(name string, store ginsessions.Store) subject {
	store.Options(ginsessions.Options{Path: "/", MaxAge: int(idle / time.Second), HttpOnly: true, Secure: true})
	serve := func(h func(*gin.Context, ginsessions.Session)) http.Handler {
		engine := gin.New()
		engine.Use(ginsessions.Sessions("session", store))
		engine.Any("/*path", func(c *gin.Context) { h(c, ginsessions.Default(c)) })
		return engine
	}
	save := func(c *gin.Context, session ginsessions.Session) {
		err := session.Save()
		check(err == nil)
		page(c.Writer, c.Request)
	}
	gated := func(h func(ginsessions.Session)) http.Handler {
		return serve(func(c *gin.Context, session ginsessions.Session) {
			if engineer(c.Writer, c.Request, session.Get("user")) {
				h(session)
				session.Set("user", ada.id)
				save(c, session)
			}
		})
	}
	return subject{
		name: name, peer: true,
		page:  gated(func(ginsessions.Session) {}),
		read:  gated(func(session ginsessions.Session) { check(session.Get("theme") == "dark") }),
		write: gated(func(session ginsessions.Session) { counter++; session.Set("cart", counter) }),
		login: serve(func(c *gin.Context, session ginsessions.Session) {
			session.Set("user", ada.id)
			for k, v := range values {
				session.Set(k, v)
			}
			save(c, session)
		}),
		logout: serve(func(c *gin.Context, session ginsessions.Session) {
			session.Clear()
			session.Options(ginsessions.Options{Path: "/", MaxAge: -1, HttpOnly: true, Secure: true})
			err := session.Save()
			check(err == nil)
			http.Redirect(c.Writer, c.Request, "/", http.StatusSeeOther)
		}),
	}
}
