package bench

import (
	"encoding/gob"
	"encoding/json"
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

// requireEngineer is what an application has to write itself without a guard: it looks up
// the session's user anew and checks the role. It writes the response if it refuses.
func requireEngineer(w http.ResponseWriter, r *http.Request, id any) bool {
	name, _ := id.(string)
	u, err := find(r.Context(), name)
	if err != nil || !u.IsActive() || !u.HasRole("Engineer") {
		http.Error(w, "not logged in", http.StatusUnauthorized)
		return false
	}
	forbidCaching(w.Header())
	return true
}

// newSCSSubject returns a site on alexedwards/scs. With an IdleTimeout, scs stores the
// session again with every request.
func newSCSSubject(name string, store scs.Store, options ...func(*scs.SessionManager)) subject {
	manager := scs.New()
	manager.Store = store
	manager.IdleTimeout, manager.Lifetime = idle, absolute
	for _, option := range options {
		option(manager)
	}
	wrap := func(h http.HandlerFunc) http.Handler { return manager.LoadAndSave(h) }
	gated := func(h http.HandlerFunc) http.Handler {
		return wrap(func(w http.ResponseWriter, r *http.Request) {
			if requireEngineer(w, r, manager.Get(r.Context(), "user")) {
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
		loginOnly: wrap(func(w http.ResponseWriter, r *http.Request) {
			err := manager.RenewToken(r.Context())
			check(err == nil)
			manager.Put(r.Context(), "user", userLoggingIn(r).id)
			page(w, r)
		}),
		login: wrap(func(w http.ResponseWriter, r *http.Request) {
			err := manager.RenewToken(r.Context())
			check(err == nil)
			manager.Put(r.Context(), "user", userLoggingIn(r).id)
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

// What follows the name of a subject that has an option. Such subjects do not count as peers.
const (
	jsonName     = ", JSON codec"
	withoutSlide = ", no IdleTimeout: nothing slides"
)

// newSCSSubjectWithJSON returns a site on scs that does not use encoding/gob, which is most of
// what scs costs. It is not quite the same site: its integers come back as float64.
func newSCSSubjectWithJSON(name string, store scs.Store) subject {
	s := newSCSSubject(name+jsonName, store, func(m *scs.SessionManager) { m.Codec = jsonCodec{} })
	s.peer = false
	return s
}

// newSCSSubjectWithoutSlide returns a site on scs with its default, no IdleTimeout. Activity does
// not extend the session, so nothing is stored.
func newSCSSubjectWithoutSlide(name string, store scs.Store) subject {
	s := newSCSSubject(name+withoutSlide, store, func(m *scs.SessionManager) { m.IdleTimeout = 0 })
	s.peer = false
	return s
}

// A jsonCodec is a Codec of scs as an application may write one.
type jsonCodec struct{}

type jsonSession struct {
	Deadline time.Time
	Values   map[string]any
}

func (jsonCodec) Encode(deadline time.Time, values map[string]any) ([]byte, error) {
	return json.Marshal(jsonSession{deadline, values})
}

func (jsonCodec) Decode(data []byte) (time.Time, map[string]any, error) {
	var s jsonSession
	err := json.Unmarshal(data, &s)
	return s.Deadline, s.Values, err
}

// newGorillaSubject returns a site on a store of gorilla/sessions. For its timeout to
// slide, the session has to be saved with every request.
func newGorillaSubject(name string, store sessions.Store) subject {
	gated := func(h func(http.ResponseWriter, *http.Request, *sessions.Session)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := store.Get(r, "session") // with an error the session is empty
			if requireEngineer(w, r, session.Values["user"]) {
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
			session.Values["user"] = userLoggingIn(r).id
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

// newGorillaSubjectWithoutSave does only what identifies the user. Without Save, activity
// does not extend the session.
func newGorillaSubjectWithoutSave(name string, store sessions.Store) subject {
	s := newGorillaSubject(name, store)
	get := func(w http.ResponseWriter, r *http.Request) {
		session, _ := store.Get(r, "session")
		if requireEngineer(w, r, session.Values["user"]) {
			check(session.Values["theme"] == "dark")
			page(w, r)
		}
	}
	s.page, s.read = http.HandlerFunc(get), http.HandlerFunc(get)
	return s
}

// newGinSubject returns a site on gin-contrib/sessions. It saves only a session with a value
// that was set, so the site sets one again to make the timeout slide.
func newGinSubject(name string, store ginsessions.Store) subject {
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
			if requireEngineer(c.Writer, c.Request, session.Get("user")) {
				h(session)
				session.Set("user", session.Get("user"))
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
			session.Set("user", userLoggingIn(c.Request).id)
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
