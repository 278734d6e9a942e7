package acceptance

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// Whatever becomes of the backend while RequireBound decides, nobody is let in with a proof that is
// too old.
func TestAnOldProofIsTooOldWheneverTheBackendFails(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		for _, failure := range []string{"down", "ended"} {
			for call := 1; call <= 6; call++ {
				backend := newFailingBackend()
				a := newActingSite(t, backend, deviceProofOn)
				a.deviceRoutes()
				a.grace.Post("/logout")
				a.grace = a.bound("grace")
				a.act()
				a.grace.Device = nil
				advance(3 * time.Minute)
				require.Equal(t, "bound", a.grace.Get("/bound").Body)
				calls := 0
				backend.beforeCall("LoadByID", func() {
					if calls++; calls != call {
						backend.failOn()
					} else if failure == "down" {
						backend.failOn("LoadByID")
					} else {
						_, _ = backend.Backend.Delete(t.Context(), a.stored(backend.Backend, "grace")[0].Key, store.ReasonEnded)
					}
				})
				require.NotEqual(t, "bound", a.grace.Get("/proven").Body, "%s, call %d", failure, call)
			}
		}
	})
}

// A stream that a thief has begun before the session was bound, or in the grace after it, ends too.
func TestCancelUnprovenEndsStreamsFromBeforeTheBinding(t *testing.T) {
	onStreamBackends(t, func(t *testing.T, backend store.Backend) {
		s := deviceStreams(t, backend)
		b := s.browseWithDevice()
		b.Device.Manual = true
		b.login("ada")
		thief := s.thiefOf(b)
		stream := thief.openStream("/cut")
		advance(time.Minute)
		require.True(t, stream.stillOpen())
		b.Device.Register(b.Browser)
		b.Get("/static")
		require.Equal(t, "bound", b.Get("/bound").Body)
		advance(deviceGrace)
		thief.requireUnproven()
		advance(5 * time.Minute)
		require.False(t, stream.stillOpen())
	})
}

// RequireBound decides anew about a request that is over.
func TestRequireBoundDecidesAnewAboutAKeptRequest(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		var kept *http.Request
		s.mux.HandleFunc("GET /keep", func(w http.ResponseWriter, r *http.Request) { s.guard.User(r); kept = r })
		serve := func() string {
			recorder := httptest.NewRecorder()
			s.guard.RequireBound(0)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "secret") })).ServeHTTP(recorder, kept)
			return recorder.Body.String()
		}
		b := s.bound("ada")
		b.Get("/keep")
		advance(time.Second)
		require.Equal(t, "secret", serve())
		advance(deviceProof + deviceSlack)
		require.NotContains(t, serve(), "secret")
	})
}

// The grace after the first proof is no longer if the clock of the node that noted it is ahead.
func TestTheGraceEndsByTheNodesOwnClock(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		memory := store.NewMemory()
		s := deviceNode(t, memory)
		b := s.bound("ada")
		thief := s.thiefOf(b)
		for ahead, admitted := range map[time.Duration]bool{59 * time.Second: true, time.Minute: false, time.Hour: false} {
			rec := s.stored(memory, "ada")[0]
			session, details := *rec.Session, rec.Detail()
			device := *details.Device
			device.Proven = store.TimeOf(time.Now().Add(ahead))
			details.Device, session.Details = &device, &details
			session.Version++
			require.NoError(t, memory.Save(t.Context(), store.Record{Session: &session}))
			require.Equal(t, admitted, thief.loggedIn(), ahead)
		}
	})
}

func deviceProofOn(c *sessionguard.Config[*user]) { c.DeviceProof = deviceProof }
