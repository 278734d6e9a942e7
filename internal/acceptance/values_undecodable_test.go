package acceptance

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/sessions"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// changing is a type of which stored values below 3 cannot be decoded while changed is set,
// as after an update of the application.
type changing struct{ N int }

var changed atomic.Bool

func (c changing) GobEncode() ([]byte, error) { return []byte{byte(c.N)}, nil }

func (c *changing) GobDecode(b []byte) error {
	if changed.Load() && b[0] < 3 {
		return errors.New("the type has changed")
	}
	c.N = int(b[0])
	return nil
}

func init() { gob.Register(changing{}) }

// undecodableSite has routes that keep a changing value in the session "cart", beside what
// /value keeps in "app".
func undecodableSite(s *site) {
	s.on("POST /fill", func(_ http.ResponseWriter, r *http.Request) error {
		session, err := s.guard.Get(r, "cart")
		session.Values["n"], session.Values["old"] = changing{1}, "old"
		session.AddFlash(changing{2})
		return err
	})
	s.mux.HandleFunc("GET /cart", func(w http.ResponseWriter, r *http.Request) {
		session, err := s.guard.Get(r, "cart")
		fmt.Fprint(w, session.Values["n"], " ", len(session.Values), " ", err != nil)
	})
	// Everybody ignores the error of Get. "how" is what is done then.
	s.mux.HandleFunc("POST /cart", func(w http.ResponseWriter, r *http.Request) {
		session, _ := s.guard.Get(r, "cart")
		other, _ := s.guard.Get(r, "app")
		other.Values["k"] = "w"
		session.Values["n"] = changing{3}
		var err error
		switch how := r.FormValue("how"); how {
		case "nothing":
		case "save":
			err = session.Save(r, w)
		case "delete":
			session.Options = &sessions.Options{MaxAge: -1}
			err = session.Save(r, w)
		case "new":
			session = sessions.NewSession(s.guard, "cart")
			session.Values["n"] = changing{4}
			err = session.Save(r, w)
		case "large":
			session.Values["large"] = strings.Repeat("x", 70_000)
			err = session.Save(r, w)
		case "unsaveable":
			session.Values["f"] = func() {}
			err = session.Save(r, w)
		case "late":
			io.WriteString(w, "begun ")
			err = session.Save(r, w)
		case "change":
			err = session.Save(r, w)
			session.Values["n"] = changing{5}
		}
		again, getErr := s.guard.Get(r, "cart")
		fmt.Fprint(w, err, " ", getErr != nil, " ", again == session)
	})
}

// Values that cannot be decoded any more stay as long as nobody saves, and are replaced or
// removed by whoever does. So it is with gorilla's own stores.
func TestSaveReplacesValuesThatCannotBeDecoded(t *testing.T) {
	defer changed.Store(false)
	for how, want := range map[string]struct {
		status     int
		body       string // of the request
		cart, then string // for the changed type, and the one before
		app        string
	}{
		"nothing":    {200, "<nil> true true", "<nil> 0 true", "{1} 3 false", "w <nil>"},
		"save":       {200, "<nil> false true", "{3} 1 false", "{3} 1 false", "w <nil>"},
		"new":        {200, "<nil> false true", "{4} 1 false", "{4} 1 false", "w <nil>"},
		"change":     {200, "<nil> false true", "{5} 1 false", "{5} 1 false", "w <nil>"},
		"delete":     {200, "<nil> false true", "<nil> 0 false", "<nil> 0 false", "w <nil>"},
		"large":      {500, "", "<nil> 0 true", "{1} 3 false", "v <nil>"},
		"unsaveable": {500, "", "<nil> 0 true", "{1} 3 false", "v <nil>"},
		"late":       {200, "begun <nil> false true", "{3} 1 false", "{3} 1 false", "w <nil>"},
	} {
		t.Run(how, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				undecodableSite(s)
				ada, visitor := s.browse(), s.browse()
				ada.login("ada")
				for _, b := range []*browser{ada, visitor} {
					if b == visitor && how == "late" {
						continue
					}
					changed.Store(false)
					b.Post("/value?k=k&v=v")
					b.Post("/fill")
					changed.Store(true)
					require.Equal(s.T, "<nil> 0 true", b.Get("/cart").Body)
					advance(time.Minute) // a visitor's cookie is set again
					require.Equal(s.T, "v <nil>", b.Get("/value?k=k").Body, "values under another name")
					require.Contains(s.T, s.log.String(), "Save replaces them")

					resp := b.Post("/cart?how=" + how)
					require.Equal(s.T, want.status, resp.StatusCode)
					if want.body != "" {
						require.Equal(s.T, want.body, resp.Body)
					}
					require.Equal(s.T, want.cart, b.Get("/cart").Body)
					require.Equal(s.T, want.app, b.Get("/value?k=k").Body)
					changed.Store(false)
					require.Equal(s.T, want.then, b.Get("/cart").Body)
				}
			})
		})
	}
}

// L4: two requests that replace them at the same time both win.
func TestTwoRequestsReplaceValuesThatCannotBeDecoded(t *testing.T) {
	defer changed.Store(false)
	onBoth(t, func(s *site, _ *failingBackend) {
		undecodableSite(s)
		s.on("POST /both", func(w http.ResponseWriter, r *http.Request) error {
			session, _ := s.guard.Get(r, "cart")
			if r.FormValue("first") != "" {
				other := s.browse()
				other.SetCookies(map[string]string{sessionCookie: r.CookiesNamed(sessionCookie)[0].Value})
				other.Post("/both")
				session.Values["first"] = true
			} else {
				session.Values["second"] = true
			}
			return session.Save(r, w)
		})
		b := s.browse()
		b.login("ada")
		b.Post("/fill")
		changed.Store(true)
		require.Equal(s.T, http.StatusOK, b.Post("/both?first=1").StatusCode)
		require.Equal(s.T, "<nil> 2 false", b.Get("/cart").Body)
	})
}

// What a visitor had moves into the session as it is, and can be replaced there.
func TestValuesThatCannotBeDecodedMoveIntoTheSession(t *testing.T) {
	defer changed.Store(false)
	onBoth(t, func(s *site, _ *failingBackend) {
		undecodableSite(s)
		b := s.browse()
		b.Post("/fill")
		changed.Store(true)
		b.login("ada")
		require.Equal(s.T, "<nil> 0 true", b.Get("/cart").Body)
		changed.Store(false)
		require.Equal(s.T, "{1} 3 false", b.Get("/cart").Body)
		changed.Store(true)
		b.Post("/cart?how=save")
		require.Equal(s.T, "{3} 1 false", b.Get("/cart").Body)
	})
}

// A logout leaves its flash although what was there before it cannot be decoded.
func TestTheLogoutFlashReplacesFlashesThatCannotBeDecoded(t *testing.T) {
	defer changed.Store(false)
	onBoth(t, func(s *site, _ *failingBackend) {
		s.on("POST /flash", func(_ http.ResponseWriter, r *http.Request) error {
			session, err := s.guard.Get(r, "flash")
			session.AddFlash(changing{1})
			return err
		})
		s.mux.HandleFunc("POST /leave", func(w http.ResponseWriter, r *http.Request) {
			_, _ = s.guard.Get(r, "flash")
			s.guard.Logout("/").ServeHTTP(w, r)
		})
		b := s.browse()
		b.login("ada")
		b.Post("/flash")
		changed.Store(true)
		require.Equal(s.T, http.StatusSeeOther, b.Post("/leave").StatusCode)
		require.Equal(s.T, "welcome nobody [You have been logged out.]", b.Get("/").Body)
	})
}

// If nothing of a session can be decoded, perhaps because of a newer version of this package,
// whoever saves replaces all of it, and nobody else does.
func TestSaveReplacesASessionOfWhichNothingCanBeDecoded(t *testing.T) {
	for how, cart := range map[string]string{"nothing": "", "large": "", "save": "{3} 1 false", "delete": "<nil> 0 false", "late": "{3} 1 false"} {
		t.Run(how, func(t *testing.T) {
			onBothBackends(t, func(t *testing.T, backend store.Backend) {
				s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
				undecodableSite(s)
				b := s.browse()
				b.login("ada")
				b.Post("/fill")
				rec := sessionsOf(t, backend, "ada")[0]
				newer := []byte("\xffnewer")
				require.NoError(t, backend.Save(t.Context(), withValues(rec, newer)))
				require.Equal(t, "<nil> 0 true", b.Get("/cart").Body)
				b.Post("/value?k=k&v=v") // without Save
				require.Equal(t, newer, sessionsOf(t, backend, "ada")[0].Values)
				b.Post("/cart?how=" + how)
				if cart == "" {
					require.Equal(t, newer, sessionsOf(t, backend, "ada")[0].Values)
					return
				}
				require.Equal(t, cart, b.Get("/cart").Body)
				require.Equal(t, "<nil> <nil>", b.Get("/value?k=k").Body)
				require.Equal(t, http.StatusOK, b.Post("/value?k=k&v=v").StatusCode)
				require.Equal(t, "v <nil>", b.Get("/value?k=k").Body)
			})
		})
	}
}
