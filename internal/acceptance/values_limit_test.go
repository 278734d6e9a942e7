package acceptance

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

const maxValuesBytes = 64 << 10 // the default

// A session whose flashes nobody reads does not grow without bound, and neither does the
// time that its requests take. The newest flashes are kept.
func TestUnreadFlashesOfASessionAreBounded(t *testing.T) {
	for name, save := range map[string]bool{"saved when the response begins": false, "Save": true} {
		t.Run(name, func(t *testing.T) {
			onBothBackends(t, func(t *testing.T, backend store.Backend) {
				s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
				s.on("POST /flashes", func(w http.ResponseWriter, r *http.Request) error {
					session, err := s.guard.Get(r, "flash")
					from, _ := strconv.Atoi(r.FormValue("from"))
					for n := range 500 {
						session.AddFlash(fmt.Sprintf("This is the flash number %d.", from+n))
					}
					if save {
						err = session.Save(r, w)
					}
					return err
				})
				s.on("GET /flashes", func(w http.ResponseWriter, r *http.Request) error {
					session, err := s.guard.Get(r, "flash")
					flashes := session.Flashes()
					fmt.Fprint(w, len(flashes), "|", flashes[0], "|", flashes[len(flashes)-1])
					return err
				})
				b := s.browse()
				b.login("ada")
				b.Post("/value?k=cart&v=book")
				for from := 0; from < 20_000; from += 500 {
					resp := b.Post(fmt.Sprintf("/flashes?from=%d", from))
					require.Equal(t, http.StatusOK, resp.StatusCode, resp.Body)
					require.LessOrEqual(t, len(sessionsOf(t, backend, "ada")[0].Values), maxValuesBytes)
				}
				kept, rest, _ := strings.Cut(b.Get("/flashes").Body, "|")
				n, _ := strconv.Atoi(kept)
				require.Greater(t, n, 1500)
				require.Equal(t, fmt.Sprintf("This is the flash number %d.|This is the flash number 19999.", 20_000-n), rest)
				require.Equal(t, "book <nil>", b.Get("/value?k=cart").Body, "values are kept")
				require.Empty(t, s.log.String())
			})
		})
	}
}

// L6: if the values are more than may be stored, Save says so, and the response is no
// success.
func TestValuesThatAreTooLargeAreAnErrorOfSaveAndAnErrorPage(t *testing.T) {
	// Each adds more than half of what fits, so that two are too much.
	large := map[string]func(session map[any]any, part string, size int){
		"one value": func(m map[any]any, part string, size int) { m["large"+part] = strings.Repeat("x", size) },
		"a key":     func(m map[any]any, part string, size int) { m[part+strings.Repeat("x", size)] = 1 },
		"bytes":     func(m map[any]any, part string, size int) { m["large"+part] = make([]byte, size) },
		"a type stored by gob": func(m map[any]any, part string, size int) {
			m["large"+part] = logoutNotice{strings.Repeat("x", size), part}
		},
		"flashes with another key": func(m map[any]any, part string, size int) { m["errors"+part] = []any{strings.Repeat("x", size)} },
		"many small values": func(m map[any]any, part string, size int) {
			for i := range size / 14 {
				m[fmt.Sprint(part, i)] = "1234"
			}
		},
	}
	for kind, add := range large {
		t.Run(kind, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				var saved []error
				s.on("POST /large", func(w http.ResponseWriter, r *http.Request) error {
					app, _ := s.guard.Get(r, "app")
					app.Values["k"] = "half"
					saved = nil
					size, _ := strconv.Atoi(r.FormValue("size"))
					for _, part := range []string{"one", "two"} { // one name each
						session, _ := s.guard.Get(r, part)
						session.AddFlash("goes first")
						add(session.Values, part, size*6/10)
						if r.FormValue("save") != "" {
							saved = append(saved, session.Save(r, w))
						}
					}
					if r.FormValue("take_back") != "" {
						session, _ := s.guard.Get(r, "two")
						clear(session.Values)
						return session.Save(r, w)
					}
					fmt.Fprint(w, "saved!")
					return nil
				})
				ada, visitor := s.browse(), s.browse()
				ada.login("ada")
				for _, b := range []*browser{ada, visitor} {
					b.Post("/value?k=k&v=v")
					cookies, size := b.Cookies(), maxValuesBytes
					if b == visitor {
						size = 2500
					}
					path := "/large?size=" + strconv.Itoa(size)
					for _, query := range []string{"", "&save=1"} {
						resp := b.Post(path + query)
						require.Equal(s.T, http.StatusInternalServerError, resp.StatusCode)
						require.NotContains(s.T, resp.Body, "saved!")
						require.Empty(s.T, resp.Cookies())
						requireNoStore(s.T, resp.Header)
						require.Equal(s.T, "v <nil>", b.Get("/value?k=k").Body, "nothing is half saved")
					}
					require.Len(s.T, saved, 2)
					require.NoError(s.T, saved[0])
					require.ErrorIs(s.T, saved[1], sessionguard.ErrValuesTooLarge)
					require.Equal(s.T, cookies, b.Cookies())
					require.Contains(s.T, s.log.String(), sessionguard.ErrValuesTooLarge.Error())
					require.Regexp(s.T, `[0-9]{4,} bytes, and (it holds 18|Config.MaxValuesBytes is 65)`, s.log.String())

					require.Equal(s.T, http.StatusOK, b.Post(path+"&save=1&take_back=1").StatusCode)
					require.ErrorIs(s.T, saved[1], sessionguard.ErrValuesTooLarge)
					require.Equal(s.T, "half <nil>", b.Get("/value?k=k").Body, "a handler may take back what is too much")
					require.True(s.T, b != ada || b.loggedIn())
				}
			})
		})
	}
}

// Requests whose values fit by themselves may be too much together: one of them fails.
func TestParallelRequestsThatAreTooLargeTogether(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		var both sync.WaitGroup
		both.Add(2)
		s.on("POST /part", func(w http.ResponseWriter, r *http.Request) error {
			session, _ := s.guard.Get(r, "app")
			both.Done()
			both.Wait()
			session.Values[r.FormValue("k")] = strings.Repeat("x", 40_000)
			return session.Save(r, w)
		})
		b := s.browse()
		b.login("ada")
		statuses := make(chan int, 2)
		for _, k := range []string{"one", "two"} {
			other := s.copyOf(b)
			go func() { statuses <- other.Post("/part?k=" + k).StatusCode }()
		}
		require.ElementsMatch(s.T, []int{http.StatusOK, http.StatusInternalServerError}, []int{<-statuses, <-statuses})
		kept := len(b.Get("/value?k=one").Body) + len(b.Get("/value?k=two").Body)
		require.Equal(s.T, 40_000+len(" <nil>")+len("<nil> <nil>"), kept)
	})
}

// W1: the limit holds after the first byte too.
func TestLateValuesThatAreTooLargeAreAnErrorOfSaveOrLogged(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		late := make(chan error, 1)
		s.on("POST /late", func(w http.ResponseWriter, r *http.Request) error {
			session, _ := s.guard.Get(r, "app")
			fmt.Fprint(w, "begun")
			session.Values["k"] = strings.Repeat("x", maxValuesBytes)
			if r.FormValue("save") != "" {
				late <- session.Save(r, w)
			}
			return nil
		})
		b := s.browse()
		b.login("ada")
		b.Post("/value?k=k&v=v")
		require.Equal(s.T, "begun", b.Post("/late?save=1").Body)
		require.ErrorIs(s.T, <-late, sessionguard.ErrValuesTooLarge)
		require.Equal(s.T, "begun", b.Post("/late").Body)
		require.Contains(s.T, s.log.String(), "are lost")
		require.Contains(s.T, s.log.String(), sessionguard.ErrValuesTooLarge.Error())
		require.Equal(s.T, "v <nil>", b.Get("/value?k=k").Body)
	})
}

// The limit is configurable. Values from before a lower one stay, and the session works.
func TestMaxValuesBytesCanBeRaisedAndLowered(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		node := func(limit int) *site {
			s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend, c.MaxValuesBytes = backend, limit })
			s.on("POST /size", func(_ http.ResponseWriter, r *http.Request) error {
				session, err := s.guard.Get(r, "app")
				size, _ := strconv.Atoi(r.FormValue("n"))
				session.Values["large"] = strings.Repeat("x", size)
				return err
			})
			return s
		}
		high, low := node(200_000), node(4096)
		b := high.browse()
		b.login("ada")
		require.Equal(t, http.StatusOK, b.Post("/size?n=190000").StatusCode)
		require.Equal(t, http.StatusInternalServerError, b.Post("/size?n=200000").StatusCode)
		require.Equal(t, http.StatusOK, b.Post("/value?k=k&v=v").StatusCode)

		b = low.copyOf(b)
		for path, want := range map[string]int{
			"/value?k=k&v=w": http.StatusOK, "/value?k=new&v=v": http.StatusInternalServerError, "/size?n=190001": http.StatusInternalServerError,
		} {
			require.Equal(t, want, b.Post(path).StatusCode, path)
		}
		require.Equal(t, "w <nil>", b.Get("/value?k=k").Body)
		require.Equal(t, http.StatusOK, b.Post("/size?n=4000").StatusCode)
		require.Equal(t, http.StatusInternalServerError, b.Post("/size?n=4096").StatusCode)
		require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
	})
}

// I1, L6: neither a login nor a logout gets around the limit, or fails because of flashes.
func TestLoginAndLogoutOfAFullSession(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		s.on("POST /fill", func(_ http.ResponseWriter, r *http.Request) error {
			session, err := s.guard.Get(r, "app")
			session.Values["large"] = strings.Repeat("x", maxValuesBytes-40) // as much as there may be
			return err
		})
		s.on("POST /login-with-flash", func(w http.ResponseWriter, r *http.Request) error {
			u, err := s.users.Find(r.Context(), "ada")
			flashes, _ := s.guard.Get(r, "flash")
			flashes.AddFlash("Welcome back, Ada, nice to see you again.")
			return errors.Join(err, s.guard.Login(w, r, u))
		})
		s.on("POST /login-too-large", func(w http.ResponseWriter, r *http.Request) error {
			u, err := s.users.Find(r.Context(), "ada")
			session, _ := s.guard.Get(r, "app")
			session.Values["large"] = strings.Repeat("x", maxValuesBytes)
			return errors.Join(err, s.guard.Login(w, r, u))
		})
		b := s.browse()
		b.login("ada")
		require.Equal(t, http.StatusOK, b.Post("/fill").StatusCode)
		require.Equal(t, http.StatusOK, b.Post("/login-with-flash").StatusCode)
		require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
		require.Equal(t, "welcome nobody [You have been logged out.]", b.Get("/").Body)

		require.Equal(t, http.StatusInternalServerError, b.Post("/login-too-large").StatusCode)
		require.False(t, b.loggedIn())
		require.Empty(t, sessionsOf(t, backend, "ada"), "the login is undone")
	})
}
