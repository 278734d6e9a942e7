package acceptance

import (
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// deviceStreams returns a deviceSite with streams: /events behind CancelOnEnd, and /cut behind
// CancelUnproven.
func deviceStreams(t *testing.T, backend store.Backend) *site {
	t.Helper()
	s := deviceSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	s.addStream(s.passiveCancelOnEnd)
	s.addStreamAt("/cut", func(next http.Handler) http.Handler {
		return s.guard.Passive(s.guard.RequireLogin(s.guard.CancelUnproven(next)))
	})
	return s
}

// A stream behind CancelOnEnd goes on without its proof, also that of a thief with both cookies,
// until the session ends.
func TestCancelOnEndLeavesUnprovenStreams(t *testing.T) {
	onStreamBackends(t, func(t *testing.T, backend store.Backend) {
		s := deviceStreams(t, backend)
		b := s.bound("ada")
		thief := s.copyOf(b)
		stream := thief.openStream("/events")
		advance(deviceProof + deviceSlack)
		require.True(t, stream.stillOpen())
		thief.requireUnproven()
		require.Equal(t, http.StatusUnauthorized, thief.Get("/events", "Accept", "text/event-stream").StatusCode)
		b.Get("/home")
		b.Post("/logout")
		require.Equal(t, "ended: logged_out", <-stream.lines)
	})
}

// CancelUnproven ends a stream when the proof of its request has run out. A browser connects
// again, and proves before that.
func TestCancelUnprovenEndsStreamsWithTheirProof(t *testing.T) {
	onStreamBackends(t, func(t *testing.T, backend store.Backend) {
		s := deviceStreams(t, backend)
		b := s.bound("ada")
		advance(time.Minute)
		thief := s.copyOf(b)
		stolen, own := thief.openStream("/cut"), b.openStream("/cut")
		advance(deviceProof + deviceSlack - time.Minute - time.Millisecond)
		require.True(t, stolen.stillOpen())
		require.Equal(t, "secret of ada", b.Get("/home").Body, "a newer proof does not count for the stream")
		require.True(t, own.stillOpen())
		stolen.requireEnds("ended: device_unproven", time.Millisecond)
		own.requireEnds("ended: device_unproven", 0)
		require.NotEqual(t, http.StatusOK, thief.Get("/cut").StatusCode)
		again := b.openStream("/cut")
		require.True(t, again.stillOpen())
		require.True(t, b.loggedIn(), "the session goes on")
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		require.Equal(t, "ended: ended", <-again.lines)
	})
}

// CancelUnproven cuts nothing that is not bound, and a session that has ended for another reason
// when that happens.
func TestCancelUnprovenIsCancelOnEndOtherwise(t *testing.T) {
	onStreamBackends(t, func(t *testing.T, backend store.Backend) {
		s := deviceStreams(t, backend)
		b := s.browse()
		b.login("ada")
		stream := b.openStream("/cut")
		for range 3 {
			advance(20 * time.Minute)
			b.Get("/home")
			require.True(t, stream.stillOpen())
		}
		b.Post("/logout")
		require.Equal(t, "ended: logged_out", <-stream.lines)

		b = s.bound("ada")
		thief := s.thiefOf(b)
		grace := thief.openStream("/cut")
		advance(deviceGrace - time.Millisecond)
		require.True(t, grace.stillOpen())
		grace.requireEnds("ended: device_unproven", time.Millisecond)
	})
}

// onStreamBackends runs a test in process, and remotely.
func onStreamBackends(t *testing.T, test func(t *testing.T, backend store.Backend)) {
	t.Helper()
	t.Run("in process", func(t *testing.T) {
		withFakeClock(t, func(t *testing.T) { test(t, store.NewMemory()) })
	})
	t.Run("remote", func(t *testing.T) {
		withFakeClock(t, func(t *testing.T) { test(t, watchedBackend{newFailingBackend()}) })
	})
}
