package acceptance

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/sessions"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

var _ sessions.Store = (*sessionguard.Guard[*user])(nil)

// L4: if two requests change different values of a session, both changes are stored. For
// the same value the last commit wins, and flashes of both are kept.
func TestNoUpdateIsLost(t *testing.T) {
	for name, save := range map[string]bool{"slow request commits last": false, "Save, then more changes": true} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				s.on("GET /all", func(w http.ResponseWriter, r *http.Request) error {
					session, err := s.guard.Get(r, "app")
					fmt.Fprint(w, session.Values)
					return err
				})
				s.on("POST /quick", func(w http.ResponseWriter, r *http.Request) error {
					session, err := s.guard.Get(r, "app")
					session.Values["quick"], session.Values["both"] = 1, "quick"
					session.AddFlash("quick")
					delete(session.Values, "gone quickly")
					return err
				})
				b, slow := s.browse(), s.browse()
				b.login("ada")
				for _, key := range []string{"kept", "gone+quickly", "gone+slowly"} {
					b.Post("/value?v=x&k=" + key)
				}
				slow.SetCookies(b.Cookies())
				h := hold(s, slow, "POST", s.guard.RequireLogin, func(w http.ResponseWriter, r *http.Request, wait func()) {
					session, _ := s.guard.Get(r, "app")
					session.Values["slow"], session.Values["both"] = 2, "slow"
					if save {
						_ = session.Save(r, w)
					}
					wait()
					session.AddFlash("slow")
					delete(session.Values, "gone slowly")
				})
				b.Post("/quick")
				require.Equal(s.T, http.StatusOK, h.finish(s.T).StatusCode)
				require.Equal(s.T, "map[_flash:[quick slow] both:slow kept:x quick:1 slow:2]", b.Get("/all").Body)
			})
		})
	}
}

// L4: a request that loses the race to save applies its changes again, and is not refused
func TestConflictingSaveIsReapplied(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		node := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		b := s.browse()
		b.login("ada")
		other := node.copyOf(b)
		races := 0
		backend.beforeCall("Save", func() {
			if races++; races%2 == 1 && races < 12 { // every second Save is that of other
				resp, err := other.Client.Do(other.Request("POST", fmt.Sprintf("/value?k=other%d&v=v", races)))
				if err == nil {
					resp.Body.Close()
				}
			}
		})
		require.Equal(t, http.StatusOK, b.Post("/value?k=mine&v=v").StatusCode)
		require.Greater(t, races, 10)
		for _, key := range []string{"mine", "other1", "other3", "other11"} {
			require.Equal(t, "v <nil>", b.Get("/value?k="+key).Body, key)
		}
	})
}

// gorilla's API: sessions of several names are saved automatically, and share the session
// and its end
func TestNamedSessionsShareTheSessionAndItsEnd(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.on("POST /names", func(w http.ResponseWriter, r *http.Request) error {
			for _, name := range []string{"app", "cart", "name with spaces; and=more", ""} {
				session, err := s.guard.Get(r, name)
				if err != nil || !session.IsNew || session.Name() != name {
					return fmt.Errorf("%q: %v", name, err)
				}
				session.Values["name"], session.Values[42] = "of "+name, int64(42)
				session.Values["list"] = []string{name}
			}
			return nil
		})
		s.on("GET /names", func(w http.ResponseWriter, r *http.Request) error {
			for _, name := range []string{"app", "cart", "name with spaces; and=more", ""} {
				session, err := s.guard.New(r, name)
				fmt.Fprintf(w, "%v|%v|%T|%v|%v\n", session.Values["name"], session.Values["list"], session.Values[42], session.IsNew, err)
			}
			return nil
		})
		ada, visitor := s.browse(), s.browse()
		ada.login("ada")
		for _, b := range []*browser{ada, visitor} {
			require.Equal(s.T, http.StatusOK, b.Post("/names").StatusCode)
			require.Equal(s.T, "of app|[app]|int64|false|<nil>\nof cart|[cart]|int64|false|<nil>\n"+
				"of name with spaces; and=more|[name with spaces; and=more]|int64|false|<nil>\nof |[]|int64|false|<nil>\n", b.Get("/names").Body)
			require.Len(s.T, b.Cookies(), 1)
			b.Post("/logout")
			require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=name").Body)
		}
	})
}

// A request that only reads values, or sets them to what they are, saves nothing.
func TestUnchangedValuesAreNotSaved(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.on("POST /same", func(w http.ResponseWriter, r *http.Request) error {
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = "v"
			session.Values["m"] = map[string]any{"a": 1, "b": []any{2}}
			return session.Save(r, w)
		})
		b, visitor := s.browse(), s.browse()
		b.login("ada")
		for _, b := range []*browser{b, visitor} {
			b.Post("/same")
			before := backend.callCounts()["Save"]
			require.Empty(t, b.Post("/same").Cookies())
			require.Empty(t, b.Get("/value?k=k").Cookies())
			require.Equal(t, before, backend.callCounts()["Save"])
		}
		require.Equal(t, 1, backend.callCounts()["Save"])
	})
}

// gorilla's API: Save with Options.MaxAge < 0 removes everything under the name
func TestNegativeMaxAgeRemovesThatNameAndOtherOptionsAreIgnored(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.on("POST /options", func(w http.ResponseWriter, r *http.Request) error {
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = "v"
			session.Options = &sessions.Options{Path: "/deep", Domain: "evil.example", MaxAge: 1, HttpOnly: false, SameSite: http.SameSiteNoneMode}
			return session.Save(r, w)
		})
		s.on("POST /remove", func(w http.ResponseWriter, r *http.Request) error {
			session, _ := s.guard.Get(r, "app")
			session.Options.MaxAge = -1
			if r.FormValue("save") == "" {
				return nil
			}
			return session.Save(r, w)
		})
		s.on("POST /other", func(w http.ResponseWriter, r *http.Request) error {
			session, err := s.guard.Get(r, "other")
			before := fmt.Sprint(session.Values)
			session.Values["k"] = "other"
			fmt.Fprint(w, before)
			return err
		})
		ada, visitor := s.browse(), s.browse()
		ada.login("ada")
		for _, b := range []*browser{ada, visitor} {
			resp := b.Post("/options")
			for _, c := range resp.Cookies() {
				require.Equal(s.T, []any{visitorCookie, "/", "", 0, true, true, http.SameSiteLaxMode},
					[]any{c.Name, c.Path, c.Domain, c.MaxAge, c.Secure, c.HttpOnly, c.SameSite})
			}
			b.Post("/other")
			advance(time.Minute)
			require.Equal(s.T, "v <nil>", b.Get("/value?k=k").Body)
			b.Post("/remove")
			require.Equal(s.T, "v <nil>", b.Get("/value?k=k").Body, "only with Save")
			b.Post("/remove?save=1")
			require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=k").Body)
			require.Equal(s.T, "map[k:other]", b.Post("/other").Body)
		}
		require.True(s.T, ada.loggedIn(), "it is no logout")
	})
}

// gorilla's API: Get never returns nil, and returns the same session within a request
func TestGetIsNeverNilAndTheSameWithinRequest(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		s.on("GET /same", func(w http.ResponseWriter, r *http.Request) error {
			one, err := s.guard.Get(r, "app")
			two, _ := s.guard.New(r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, 1)), "app")
			other, _ := s.guard.Get(r, "other")
			fmt.Fprint(w, one != nil && one.Values != nil && one.Options != nil, one == two, one != other, one.Store() == sessions.Store(s.guard) || one.Store() != nil, err)
			return nil
		})
		b := s.browse()
		require.Equal(s.T, "true true true true <nil>", b.Get("/same").Body)
		b.login("ada")
		require.Equal(s.T, "true true true true <nil>", b.Get("/same").Body)

		r, err := http.NewRequest("GET", "/", nil)
		require.NoError(s.T, err)
		session, err := s.guard.Get(r, "app")
		require.ErrorIs(s.T, err, sessionguard.ErrNotWrapped)
		require.NotNil(s.T, session)
		require.ErrorIs(s.T, session.Save(r, nil), sessionguard.ErrNotWrapped)
	})
}

// gorilla's API: a session made by sessions.NewSession replaces the stored one
func TestSessionMadeByNewSessionCanBeSaved(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.on("POST /own", func(w http.ResponseWriter, r *http.Request) error {
			own := sessions.NewSession(s.guard, "app")
			own.Values["k2"] = "own"
			if err := own.Save(r, w); err != nil {
				return err
			}
			own.Values["k3"] = "after Save"
			if again, _ := s.guard.Get(r, "app"); again != own {
				return errors.New("Get returned another session")
			}
			return nil
		})
		ada, visitor := s.browse(), s.browse()
		ada.login("ada")
		for _, b := range []*browser{ada, visitor} {
			b.Post("/value?k=k1&v=v")
			require.Equal(s.T, http.StatusOK, b.Post("/own").StatusCode)
			for key, want := range map[string]string{"k1": "<nil>", "k2": "own", "k3": "after Save"} {
				require.Equal(s.T, want+" <nil>", b.Get("/value?k="+key).Body)
			}
		}
	})
}

// L4: a session that was returned with an error is not saved over the stored one, unless Save
// is called for it: see TestSaveReplacesASessionOfWhichNothingCanBeDecoded
func TestSessionReturnedWithErrorIsNotSaved(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.on("POST /use", func(w http.ResponseWriter, r *http.Request) error {
			session, err := s.guard.Get(r, "app")
			session.Values["k"] = "lost"
			fmt.Fprint(w, err != nil)
			return nil
		})
		b := s.browse()
		b.login("ada")
		b.Post("/value?k=k&v=v")
		for _, damaged := range []string{"garbage", "\x02", "\x01\x03app\x04\x01k\x01v"} {
			r := sessionsOf(t, backend, "ada")[0]
			require.NoError(t, backend.Backend.Save(t.Context(), withValues(r, []byte(damaged))))
			require.Equal(t, "true", b.Post("/use").Body, "%q", damaged)
			require.Equal(t, damaged, string(sessionsOf(t, backend, "ada")[0].Values))
			require.Equal(t, "secret of ada", b.Get("/home").Body, "the user is known all the same")
			b.login("ada")
		}
		require.Equal(t, 1, backend.callCounts()["Save"])
	})
}

type (
	unregistered struct{ A int }
	registered   struct{ A int }
	pointed      struct{ A int }
)

func init() {
	gob.Register(registered{})
	gob.Register(&pointed{})
}

// L6: values that cannot be stored cause an error page and a log record
func TestValuesThatCannotBeStoredCauseErrorPage(t *testing.T) {
	loop := map[string]any{}
	loop["loop"] = loop
	for name, value := range map[string]any{
		"not registered": unregistered{1}, "a function": func() {}, "a channel": make(chan int), "a map that contains itself": loop,
		"a nil pointer": (*pointed)(nil),
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				s.on("POST /bad", func(w http.ResponseWriter, r *http.Request) error {
					good, _ := s.guard.Get(r, "app")
					good.Values["k"] = "half"
					bad, _ := s.guard.Get(r, "bad")
					bad.Values["k"] = value
					if r.FormValue("save") != "" {
						return bad.Save(r, w) // an error the handler sees
					}
					fmt.Fprint(w, "saved!")
					return nil
				})
				ada, visitor := s.browse(), s.browse()
				ada.login("ada")
				for _, b := range []*browser{ada, visitor} {
					b.Post("/value?k=k&v=v")
					before := b.Cookies()
					for _, path := range []string{"/bad", "/bad?save=1"} {
						resp := b.Post(path)
						require.Equal(s.T, http.StatusInternalServerError, resp.StatusCode)
						require.NotContains(s.T, resp.Body, "saved!")
						require.Empty(s.T, resp.Cookies())
						requireNoStore(s.T, resp.Header)
					}
					require.Equal(s.T, before, b.Cookies())
					require.Equal(s.T, "v <nil>", b.Get("/value?k=k").Body, "nothing is half saved")
				}
				require.Contains(s.T, s.log.String(), "bad")
			})
		})
	}
}

// Sessions and values outlive the process, if the backend and the keys do.
func TestSessionsAndValuesOutliveProcess(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.on("POST /typed", func(w http.ResponseWriter, r *http.Request) error {
			session, err := s.guard.Get(r, "app")
			session.Values["k"] = registered{7}
			return err
		})
		b, visitor := s.browse(), s.browse()
		b.login("ada")
		restarted := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = store.Backend(backend) })
		for _, b := range []*browser{b, visitor} {
			b.Post("/typed")
			again := restarted.browse()
			again.SetCookies(b.Cookies())
			require.Equal(t, "{7} <nil>", again.Get("/value?k=k").Body)
		}
	})
}

// L6: values behind CancelOnEnd are saved like any others
func TestValuesBehindCancelOnEndAreSaved(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		cancelOnEnd := func(h http.HandlerFunc) http.Handler { return s.guard.RequireLogin(s.guard.CancelOnEnd(h)) }
		s.mux.Handle("POST /silent", cancelOnEnd(func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["silent"] = "v"
		}))
		s.mux.Handle("POST /late", cancelOnEnd(func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			io.WriteString(w, "hello")
			session.Values["late"] = "v"
		}))
		s.mux.Handle("POST /out", s.guard.CancelOnEnd(s.guard.CancelOnEnd(s.guard.Logout("/"))))
		b := s.browse()
		b.login("ada")
		b.Post("/silent")
		b.Post("/late")
		require.Equal(s.T, "v <nil>", b.Get("/value?k=silent").Body)
		require.Equal(s.T, "v <nil>", b.Get("/value?k=late").Body)
		b.Post("/out")
		require.Contains(s.T, b.Get("/").Body, "logged out")
	})
}
