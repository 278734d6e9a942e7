package acceptance

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

func failingDeviceSite(t *testing.T, configure ...func(*sessionguard.Config[*user])) (*site, *failingBackend) {
	t.Helper()
	backend := newFailingBackend()
	configure = append(configure, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	return deviceSite(t, configure...), backend
}

// L5: an outage costs no device: the browser keeps its key, and what waits for a proof is a 503.
func TestAnOutageLosesNoDevice(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := failingDeviceSite(t)
		b := s.bound("ada")
		advance(deviceProof)
		backend.failOn("*")
		b.Device.History()
		s.events.take()
		for range 3 {
			requireUnavailable(t, b.Get("/home"))
			requireUnavailable(t, b.Get("/bound"))
		}
		require.NotContains(t, b.Device.History(), "ended")
		require.NotEmpty(t, s.events.take(sessionguard.EventUnavailable))
		backend.failOn()
		require.Equal(t, "bound", b.Get("/bound").Body)

		for _, method := range []string{"Load", "LoadByID"} {
			advance(deviceProof)
			backend.failOn(method)
			requireUnavailable(t, b.Get("/home"))
			backend.failOn()
			require.Equal(t, "bound", b.Get("/bound").Body, method)
		}
	})
}

// L5: a binding that could not be stored is none, and locks nobody out.
func TestABindingThatCannotBeStoredIsNone(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := failingDeviceSite(t)
		b := s.browseWithDevice()
		b.Device.Manual = true
		b.login("ada")
		backend.failOn("Save")
		b.Device.Register(b.Browser)
		require.Equal(t, []string{"refused"}, b.Device.History())
		backend.failOn()
		advance(20 * time.Minute)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		b.login("ada")
		b.Device.Register(b.Browser)
		backend.failOn("Save")
		b.Get("/static")
		require.Equal(t, []string{"registered", "server_error"}, b.Device.History(), "its first proof")
		require.Empty(t, s.events.take(sessionguard.EventDeviceBound))
		backend.failOn()
		b.Get("/static")
		require.Equal(t, "bound", b.Get("/bound").Body)
		require.Len(t, s.events.take(sessionguard.EventDeviceBound), 1)
	})
}

// D10 (the design's): what a browser that could not prove its device is told. It has tried, and
// will again. Pages on which people log in do not wait for that.
func TestAProofThatFailedIsUnavailable(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t, func(c *sessionguard.Config[*user]) { c.ReauthPath = "/confirm" })
		s.mux.HandleFunc("GET /confirm", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, s.guard.EndReason(r))
		})
		b, _, id := s.bySelf("ada")
		visitor, unbound := s.browse(), s.browse()
		unbound.login("ada")
		advance(12 * time.Minute)
		s.events.take()
		for _, test := range []struct {
			skipped string
			retries bool
		}{
			{`server_error;session_identifier="ID"`, true},
			{`unreachable;session_identifier="ID"`, true},
			{`unreachable;session_identifier=ID`, true},
			{`quota_exceeded;session_identifier="x", unreachable;session_identifier="ID"`, true},
			{`quota_exceeded;session_identifier="ID"`, false},
			{`quota_exceeded;session_identifier="unreachable"`, false},
			{`something_new`, false},
			{``, false},
		} {
			advance(time.Second)
			header := []string{"Secure-Session-Skipped", strings.ReplaceAll(test.skipped, "ID", id)}
			if test.retries {
				requireUnavailable(t, b.Get("/home", header...))
				requireUnavailable(t, b.Get("/value?k=a", header...))
				require.Equal(t, "proof_failed", s.events.take(sessionguard.EventDeviceUnproven)[0].Code)
			} else {
				require.Equal(t, "/login?next=%2Fhome&reason=device_unproven", b.Get("/home", header...).Header.Get("Location"), test.skipped)
				require.Equal(t, "no_proof", s.events.take(sessionguard.EventDeviceUnproven)[0].Code)
			}
			for _, path := range []string{"/login", "/confirm", "/login?next=/home", "/./login"} {
				resp := b.Get(path, header...)
				if resp.StatusCode == http.StatusOK {
					require.Equal(t, string(store.ReasonDeviceUnproven), resp.Body)
				} else {
					require.Equal(t, "/./login", path)
				}
			}
			require.Equal(t, "secret of ada", unbound.Get("/home", header...).Body)
			require.Equal(t, "/login?next=%2Fhome", visitor.Get("/home", header...).Header.Get("Location"))
			require.Equal(t, http.StatusSeeOther, s.thiefOf(b).Post("/logout", header...).StatusCode, "people get out")
			b, _, id = s.bySelf("ada")
			advance(12 * time.Minute)
			unbound.Get("/home")
		}
		s.mux.HandleFunc("POST /elsewhere", func(w http.ResponseWriter, r *http.Request) {
			u, err := s.users.Find(r.Context(), "ada")
			require.NoError(t, err)
			require.NoError(t, s.guard.Login(w, r, u))
		})
		b.Header.Set("Secure-Session-Skipped", "unreachable;session_identifier="+id)
		require.Equal(t, http.StatusOK, b.Post("/elsewhere").StatusCode, "people get in, wherever the login is")
		require.True(t, b.loggedIn(), "and are not bound until a proof works")
	})
}

// A browser may keep keys for other sessions on the host, such as another application's. When
// it cannot prove those, the session of this request waits for nothing.
func TestAProofThatFailedForAnotherSessionSaysNothing(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b, _, id := s.bySelf("ada")
		_, _, sameUser := s.bySelf("ada")
		_, _, otherUser := s.bySelf("grace")
		other := deviceSite(t, func(c *sessionguard.Config[*user]) { c.CookieName = "other" })
		device := other.browseWithDevice()
		device.login("ada")
		otherApplication := device.Device.Identifiers()[0] // with the same keys
		foreign := deviceSite(t, func(c *sessionguard.Config[*user]) { c.Keys = [][]byte{bytes.Repeat([]byte("f"), 32)} })
		_, _, otherKeys := foreign.bySelf("ada")
		advance(12 * time.Minute)
		for _, skipped := range []string{
			"server_error", "unreachable",
			"server_error;session_identifier=" + sameUser,
			"server_error;session_identifier=" + otherUser,
			"unreachable;session_identifier=" + otherApplication,
			`unreachable;session_identifier="` + otherKeys + `"`,
			"unreachable;session_identifier=x, quota_exceeded;session_identifier=" + id,
			"unreachable;session_identifier=" + otherApplication + `, quota_exceeded;session_identifier="` + id + `"`,
			"unreachable;session_identifier=" + id + "x",
			"unreachable;session_identifier=" + id + ",", // no list
			`unreachable;session_identifier="` + id,
		} {
			resp := b.Get("/home", "Secure-Session-Skipped", skipped)
			if resp.StatusCode == http.StatusTemporaryRedirect { // the proof that counts no more is deleted
				resp = b.Get("/home", "Secure-Session-Skipped", skipped)
			}
			require.Equal(t, "/login?next=%2Fhome&reason=device_unproven", resp.Header.Get("Location"), skipped)
		}
		requireUnavailable(t, b.Get("/home", "Secure-Session-Skipped",
			"unreachable;session_identifier="+otherApplication+", server_error;session_identifier="+id))
	})
}

// Costs: a proof writes nothing, and a request of a bound session costs no more calls.
func TestDevicesCostFewCallsOfTheBackend(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := failingDeviceSite(t)
		during := func(do func()) map[string]int {
			before := backend.callCounts()
			do()
			after := backend.callCounts()
			for method, n := range before {
				if after[method] -= n; after[method] == 0 {
					delete(after, method)
				}
			}
			return after
		}
		b := s.browse()
		b.Device = nil
		key := testbrowser.NewKey()
		offer := offerOf(t, b.login("ada"))
		var id string
		require.Equal(t, map[string]int{"LoadByID": 1, "Save": 1}, during(func() { _, id = b.register(key.Registration(offer)) }))
		first := key.Proof(b.challenge(id))
		require.Equal(t, map[string]int{"LoadByID": 2, "Save": 1}, during(func() { b.sendProof(id, first) }), "once")
		advance(time.Minute)
		require.Equal(t, map[string]int{"LoadByID": 1}, during(func() { b.challenge(id) }))
		proof := key.Proof(b.challenge(id))
		require.Equal(t, map[string]int{"LoadByID": 1}, during(func() { b.sendProof(id, proof) }))
		b.Get("/home") // touches
		require.Equal(t, map[string]int{"Load": 1}, during(func() { b.Get("/poll") }))
		require.Equal(t, map[string]int{"Load": 1}, during(func() { b.Get("/bound") }))
		require.Empty(t, during(func() {
			b.Post(provePath, "Sec-Secure-Session-Id", "x")
			b.register(key.Registration("x"))
			b.register("x")
		}), "what is not ours costs none")
	})
}

// corruptBackend changes the devices that it returns.
type corruptBackend struct {
	store.Backend
	change atomic.Pointer[func(*store.Device)]
}

func (c *corruptBackend) corrupt(r store.Record, err error) (store.Record, error) {
	change := c.change.Load()
	if err != nil || r.Session == nil || change == nil || r.Detail().Device == nil {
		return r, err
	}
	session, details, device := *r.Session, r.Detail(), *r.Detail().Device
	(*change)(&device)
	details.Device, session.Details = &device, &details
	r.Session = &session
	return r, nil
}

func (c *corruptBackend) Load(ctx context.Context, key store.Key) (store.Record, error) {
	return c.corrupt(c.Backend.Load(ctx, key))
}

func (c *corruptBackend) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	return c.corrupt(c.Backend.LoadByID(ctx, owner, id))
}

// A device that is not what was stored fails closed.
func TestACorruptDeviceFailsClosed(t *testing.T) {
	for name, change := range map[string]func(*store.Device){
		"no key":               func(d *store.Device) { d.PublicKey = nil },
		"an unreadable key":    func(d *store.Device) { d.PublicKey = []byte("x") },
		"another registration": func(d *store.Device) { d.Registered++ },
		"another key":          func(d *store.Device) { d.PublicKey = append([]byte{}, d.PublicKey...); d.PublicKey[40] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				backend := &corruptBackend{Backend: store.NewMemory()}
				s := deviceSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
				b, key, id := s.bySelf("ada")
				advance(time.Minute)
				backend.change.Store(&change)
				if name == "another registration" {
					b.requireUnproven() // its cookie is for the one before
				}
				resp := b.proveDevice(key, id)
				if name != "another registration" {
					require.Equal(t, http.StatusBadRequest, resp.StatusCode)
					require.Empty(t, resp.Cookies())
				} else {
					require.Equal(t, http.StatusOK, resp.StatusCode, "for that registration")
				}
				s.thiefOf(b).requireUnproven()
			})
		})
	}
}

// L4: a binding and values that are saved at the same time are both stored. Run with -race.
func TestABindingLosesNoValues(t *testing.T) {
	for name, backend := range map[string]store.Backend{"in process": nil, "remote": newFailingBackend()} {
		t.Run(name, func(t *testing.T) {
			s := deviceSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
			for range 5 {
				b := s.browse()
				key, offer := testbrowser.NewKey(), offerOf(t, b.login("ada"))
				var saving sync.WaitGroup
				for i := range 10 {
					saving.Go(func() { b.Post(fmt.Sprintf("/value?k=%d&v=1", i)) })
				}
				resp, id := b.register(key.Registration(offer))
				require.Equal(t, http.StatusOK, resp.StatusCode)
				require.Equal(t, http.StatusOK, b.proveDevice(key, id).StatusCode)
				saving.Wait()
				require.Equal(t, "bound", b.Get("/bound").Body)
				for i := range 10 {
					require.Equal(t, "1 <nil>", b.Get(fmt.Sprintf("/value?k=%d", i)).Body)
				}
			}
		})
	}
}

// Of many registrations of one offer at once, one succeeds, and it is that one's key that counts.
func TestOfManyRegistrationsOneSucceeds(t *testing.T) {
	s, _ := failingDeviceSite(t)
	for range 5 {
		b := s.browse()
		offer := offerOf(t, b.login("ada"))
		var registering sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for range 8 {
			registering.Go(func() {
				key := testbrowser.NewKey()
				resp, id := b.register(key.Registration(offer))
				if resp.StatusCode != http.StatusOK {
					return
				}
				proven := b.proveDevice(key, id).StatusCode
				mu.Lock()
				defer mu.Unlock()
				if won++; proven != http.StatusOK {
					won = 100
				}
			})
		}
		registering.Wait()
		require.Equal(t, 1, won)
		require.Equal(t, "bound", b.Get("/bound").Body)
	}
}
