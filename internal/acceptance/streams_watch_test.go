package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// L5: while the backend is down, a stream stays open until the deadline of its session,
// and ends then.
func TestStreamEndsAtDeadlineIfBackendIsDown(t *testing.T) {
	onEveryBackend(t, func(s *site, backend *failingBackend, _ bool) {
		if backend == nil {
			return // the backend in this process does not fail
		}
		s.addStream(s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		live := b.openStream("/events")
		backend.failOn("*")
		advance(idle - time.Millisecond)
		require.True(s.T, live.stillOpen())
		require.Contains(s.T, <-live.lines, "cancelled: "+sessionguard.ErrUnavailable.Error())
		backend.failOn()

		b.login("ada")
		live = b.openStream("/events")
		backend.failOn("*")
		advance(20 * time.Minute)
		backend.failOn()
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		advance(idle - time.Minute)
		require.True(s.T, live.stillOpen())
	})
}

// L5
func TestStreamIsRefusedIfWatchFails(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		_, b := streamingSite(t, watchedBackend{backend})
		backend.failOn("Watch")
		require.Equal(t, http.StatusServiceUnavailable, b.Get("/events").StatusCode)
		backend.failOn()
		b.openStream("/events")
	})
}

// A session may end while its stream is being set up.
func TestStreamEndsIfSessionEndsWhileItBegins(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		_, b := streamingSite(t, watchedBackend{backend})
		backend.beforeCall("Watch", func() {
			records := sessionsOf(t, backend, "ada")
			_, err := backend.Backend.Delete(t.Context(), records[0].Key, store.ReasonEnded)
			require.NoError(t, err)
		})
		start := time.Now()
		require.Contains(t, b.Get("/events").Body, "ended: ended")
		require.Zero(t, time.Since(start))
	})
}

// A stream costs one backend call at its start and one every 5 minutes, or every 30
// seconds if the backend does not report endings. Nothing remains of it.
func TestStreamMakesFewBackendCallsAndLeavesNothing(t *testing.T) {
	onEveryBackend(t, func(s *site, backend *failingBackend, watched bool) {
		if backend == nil {
			return
		}
		s.addStream(s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		ctx, disconnect := context.WithCancel(s.T.Context())
		resp, err := b.Client.Do(b.Request("GET", "/events").WithContext(ctx))
		require.NoError(s.T, err)
		before := backend.callCounts()["Load"]
		advance(29*time.Minute - time.Second)
		loads := backend.callCounts()["Load"] - before
		if watched {
			require.Equal(s.T, 29/5, loads)
		} else {
			require.Equal(s.T, 2*29-1, loads)
		}
		disconnect()
		resp.Body.Close()
		synctest.Wait()
		before = backend.callCounts()["Load"]
		advance(time.Hour)
		require.Equal(s.T, before, backend.callCounts()["Load"])
	})
}

// After the connection to the backend's server was lost, the sessions of all streams are
// checked.
func TestMissedEndingsAreFound(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &manualWatcher{failingBackend: newFailingBackend()}
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		s.addStream(s.passiveCancelOnEnd)
		b, c := s.browse(), s.browse()
		b.login("ada")
		c.login("grace")
		live, other := b.openStream("/events"), c.openStream("/events")
		_, err := backend.Backend.Delete(t.Context(), sessionsOf(t, backend, "ada")[0].Key, store.ReasonEnded)
		require.NoError(t, err)
		require.True(t, live.stillOpen(), "the ending was not reported")
		backend.ended(store.Ending{})
		live.requireEnds("ended: ended", 0)
		require.True(t, other.stillOpen())
	})
}

// Emptying a database reports no endings, and a watch may break silently.
func TestUnreportedEndingIsFoundInTime(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &manualWatcher{failingBackend: newFailingBackend()}
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		s.addStream(s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		live := b.openStream("/events")
		advance(time.Minute)
		_, err := backend.Backend.Delete(t.Context(), sessionsOf(t, backend, "ada")[0].Key, store.ReasonLoggedOut)
		require.NoError(t, err)
		live.requireEnds("ended: expired", 4*time.Minute)
	})
}

// A guard has no Close method: it watches the backend while there are streams, and no
// longer.
func TestBackendIsWatchedOnlyWhileThereAreStreams(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &manualWatcher{failingBackend: newFailingBackend()}
		_, b := streamingSite(t, backend)
		for range 2 {
			first, second := b.openStream("/events"), b.openStream("/events")
			watch := backend.ctx
			backend.ended(store.Ending{ID: statusOf(b).Session, Reason: store.ReasonIdle})
			require.Equal(t, "ended: idle", <-first.lines)
			require.Equal(t, "ended: idle", <-second.lines)
			advance(time.Minute - time.Millisecond)
			require.NoError(t, watch.Err(), "new streams may follow")
			advance(time.Millisecond)
			synctest.Wait()
			require.Error(t, watch.Err())
			third := b.openStream("/events")
			require.NoError(t, backend.ctx.Err())
			backend.ended(store.Ending{ID: statusOf(b).Session, Reason: store.ReasonIdle})
			require.Equal(t, "ended: idle", <-third.lines)
			advance(2 * time.Minute)
		}
	})
}

// L5: a Watch that hangs delays the start of streams for five seconds, and nothing else
func TestHangingWatchTimesOut(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		_, b := streamingSite(t, hangingWatcher{newFailingBackend()})
		responses := make(chan response)
		start := time.Now()
		for range 3 {
			go func() { responses <- b.Get("/events") }()
		}
		advance(time.Second)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		require.Equal(t, time.Second, time.Since(start))
		for range 3 {
			require.Equal(t, http.StatusServiceUnavailable, (<-responses).StatusCode)
		}
		require.Equal(t, 5*time.Second, time.Since(start))
	})
}

// L1: the end of a stream does not wait for a backend that hangs
func TestStreamEndsAlthoughBackendHangs(t *testing.T) {
	for _, watched := range []bool{false, true} {
		withFakeClock(t, func(t *testing.T) {
			backend := newFailingBackend()
			remote := store.Backend(backend)
			if watched {
				remote = watchedBackend{backend}
			}
			_, b := streamingSite(t, remote)
			live := b.openStream("/events")
			release := make(chan struct{})
			backend.beforeCall("Load", func() { <-release })
			start := time.Now()
			require.Contains(t, <-live.lines, sessionguard.ErrUnavailable.Error())
			require.Equal(t, idle+5*time.Second, time.Since(start))
			close(release)
		})
	}
}

// After a reconnect to the backend's server, many sessions are checked at a time.
func TestMissedEndingsAreFoundConcurrently(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &manualWatcher{failingBackend: newFailingBackend()}
		_, b := streamingSite(t, backend)
		var all []*stream
		for range 50 {
			all = append(all, b.openStream("/events"))
		}
		_, err := backend.Backend.Delete(t.Context(), sessionsOf(t, backend, "ada")[0].Key, store.ReasonEnded)
		require.NoError(t, err)
		backend.beforeCall("Load", func() { time.Sleep(time.Second) })
		start := time.Now()
		backend.ended(store.Ending{})
		for _, live := range all {
			require.Equal(t, "ended: ended", <-live.lines)
		}
		require.LessOrEqual(t, time.Since(start), 4*time.Second)
	})
}

// Streams that come and go by the hundred leave nothing behind.
func TestManyStreamsLeaveNothing(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		watched := &countingWatcher{failingBackend: newFailingBackend()}
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = watched })
		s.mux.Handle("GET /short", s.passiveCancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "short") })))
		s.mux.Handle("GET /panic", s.passiveCancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })))
		b := s.browse()
		b.login("ada")
		for range 500 {
			require.Equal(t, "short", b.Get("/short").Body)
			_, err := b.Client.Do(b.Request("GET", "/panic"))
			require.Error(t, err)
		}
		require.EqualValues(t, 1, watched.watches.Load(), "all streams share one watch")
		advance(2 * time.Minute)
		synctest.Wait()
		require.Zero(t, watched.active.Load())
	})
}

func TestPanickingWatchIsUnavailable(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = watcherFunc{newFailingBackend(), func(func(store.Ending)) error { panic("a nil client") }}
		})
		s.addStream(s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		require.Equal(t, http.StatusServiceUnavailable, b.Get("/events").StatusCode)
	})
}

func TestHangingWatchIsTriedAgain(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		hang := make(chan struct{})
		var watches atomic.Int64
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = watcherFunc{newFailingBackend(), func(func(store.Ending)) error {
				if watches.Add(1) == 1 {
					<-hang
				}
				return nil
			}}
		})
		s.addStream(s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		require.Equal(t, http.StatusServiceUnavailable, b.Get("/events").StatusCode)
		b.openStream("/events")
		require.EqualValues(t, 2, watches.Load())
		close(hang)
	})
}

// If the connection to a backend's server comes and goes, one check runs at a time.
func TestManyMissedEndingsCauseFewChecks(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &manualWatcher{failingBackend: newFailingBackend()}
		_, b := streamingSite(t, backend)
		for range 10 {
			b.openStream("/events")
		}
		backend.beforeCall("Load", func() { time.Sleep(time.Second) })
		before := backend.callCounts()["Load"]
		for range 100 {
			backend.ended(store.Ending{})
		}
		advance(time.Minute)
		require.LessOrEqual(t, backend.callCounts()["Load"]-before, 20)
	})
}

// manualWatcher is a store.Watcher that reports nothing but what a test passes to ended.
type manualWatcher struct {
	*failingBackend
	ctx   context.Context
	ended func(store.Ending)
}

func (w *manualWatcher) Watch(ctx context.Context, ended func(store.Ending)) error {
	w.ctx, w.ended = ctx, ended
	return nil
}

// hangingWatcher is a store.Watcher whose Watch does not return.
type hangingWatcher struct{ *failingBackend }

func (w hangingWatcher) Watch(ctx context.Context, _ func(store.Ending)) error {
	<-ctx.Done()
	return ctx.Err()
}

// countingWatcher is a store.Watcher that counts its watches.
type countingWatcher struct {
	*failingBackend
	watches, active atomic.Int64
}

func (w *countingWatcher) Watch(ctx context.Context, _ func(store.Ending)) error {
	w.watches.Add(1)
	w.active.Add(1)
	context.AfterFunc(ctx, func() { w.active.Add(-1) })
	return nil
}

// watcherFunc is a store.Watcher that calls watch.
type watcherFunc struct {
	*failingBackend
	watch func(ended func(store.Ending)) error
}

func (w watcherFunc) Watch(_ context.Context, ended func(store.Ending)) error { return w.watch(ended) }
