package stream

import (
	"context"
	"net"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

func TestEndCutsAtOnceAndStopsAfterTheGrace(t *testing.T) {
	both(t, func(f *fixture) {
		one, two, other := f.open("a"), f.open("a"), f.open("b")
		time.Sleep(time.Minute)
		f.End("a", store.ReasonLoggedOut)
		require.Error(f, one.ctx.Err(), "End itself has cut it")
		require.ErrorIs(f, context.Cause(two.ctx), endedError{store.ReasonLoggedOut})
		one.requireCut(endedError{store.ReasonLoggedOut}, 0)
		other.requireOpen()
		f.End("nobody", store.ReasonEnded)
		other.requireOpen()
	})
}

func TestStreamIsCutOnlyOnce(t *testing.T) {
	both(t, func(f *fixture) {
		s := f.open("a")
		f.End("a", store.ReasonLoggedOut)
		time.Sleep(grace - time.Millisecond)
		f.End("a", store.ReasonEnded)
		f.EndKeys(map[store.Key]bool{{1}: true}, store.ReasonEnded)
		f.Moved(record("a", store.Key{2}, time.Now().Add(lifetime)))
		s.check()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Equal(f, endedError{store.ReasonLoggedOut}, context.Cause(s.ctx))
		_, err := s.writer.Write(nil)
		require.ErrorIs(f, err, errStopped, "the grace is not prolonged")
		f.looked()
		time.Sleep(time.Hour)
		require.Zero(f, f.looked(), "what is cut is not looked up")
	})
}

// L5: a logout whose sessions could not be deleted.
func TestEndKeysCutsByTheCurrentKey(t *testing.T) {
	both(t, func(f *fixture) {
		stays, moves := f.open("a"), f.open("b")
		f.Moved(record("b", store.Key{2}, time.Now().Add(lifetime)))
		f.EndKeys(map[store.Key]bool{{2}: true, {7}: true}, store.ReasonLoggedOut)
		moves.requireCut(endedError{store.ReasonLoggedOut}, 0)
		stays.requireOpen()

		f.live(3, time.Now().Add(lifetime)) // it moves, and a lookup finds out
		time.Sleep(watchedPollInterval)
		f.EndKeys(map[store.Key]bool{{1}: true}, store.ReasonLoggedOut)
		stays.requireOpen()
		f.EndKeys(map[store.Key]bool{{3}: true}, store.ReasonLoggedOut)
		stays.requireCut(endedError{store.ReasonLoggedOut}, 0)
	})
}

func TestMovedReschedules(t *testing.T) {
	both(t, func(f *fixture) {
		s := f.open("a")
		sooner := time.Now().Add(10 * time.Second)
		f.fail(&store.EndedError{Reason: store.ReasonIdle})
		f.Moved(record("a", store.Key{2}, sooner))
		s.requireCut(endedError{store.ReasonIdle}, 10*time.Second)

		s = f.open("b")
		require.Error(f, s.ctx.Err(), "it had ended")
	})
	both(t, func(f *fixture) {
		s := f.open("a")
		time.Sleep(lifetime - time.Second)
		f.Moved(record("a", store.Key{2}, time.Now().Add(lifetime)))
		f.fail(errDown) // before the deadline, it matters nothing
		time.Sleep(lifetime - time.Millisecond)
		s.requireOpen()
		s.requireCut(errUnavailable, time.Millisecond)
	})
}

// The lookup of Open finds what ended before the stream was registered.
func TestOpenOfASessionThatHasEndedIsCutAtOnce(t *testing.T) {
	both(t, func(f *fixture) {
		f.fail(&store.EndedError{Reason: store.ReasonEnded})
		s := f.open("a")
		s.requireCut(endedError{store.ReasonEnded}, 0)
	})
}

func TestClosedStreamIsLeftAlone(t *testing.T) {
	both(t, func(f *fixture) {
		s := f.open("a")
		s.Close()
		f.looked()
		f.End("a", store.ReasonEnded)
		s.cut(endedError{store.ReasonEnded}) // by somebody who listed it before
		s.moved(record("a", store.Key{2}, time.Now().Add(time.Minute)))
		time.Sleep(time.Hour)
		require.Zero(f, f.looked())
		s.check()
		time.Sleep(time.Hour)
		s.requireOpen()
		require.Equal(f, 1, f.looked())
	})
}

// The handler heeded its context: nothing is left to stop.
func TestCloseWithinTheGraceStopsNothing(t *testing.T) {
	both(t, func(f *fixture) {
		s := f.open("a")
		f.End("a", store.ReasonEnded)
		s.Close()
		time.Sleep(time.Minute)
		_, err := s.writer.Write(nil)
		require.NoError(f, err)
	})
}

// openHijacked opens a stream whose handler hijacks its connection and returns.
func (f *fixture) openHijacked(id string) (r *testResponse, conn, client net.Conn) {
	f.Helper()
	client, server := net.Pipe()
	r, err := f.tryOpen(context.Background(), id, hijackable{httptest.NewRecorder(), server})
	require.NoError(f, err)
	conn, _, err = r.writer.Hijack()
	require.NoError(f, err)
	r.Close()
	r.writer.Release()
	return r, conn, client
}

func TestCloseOfAHijackedStreamWaitsForTheConnection(t *testing.T) {
	both(t, func(f *fixture) {
		r, _, client := f.openHijacked("a")
		time.Sleep(time.Minute)
		require.Equal(f, 1, f.Len())
		f.End("a", store.ReasonEnded)
		require.Equal(f, endedError{store.ReasonEnded}, context.Cause(r.ctx))
		begun := time.Now()
		_, err := client.Read(make([]byte, 1)) // until it is closed
		require.Error(f, err)
		require.Equal(f, time.Second, time.Since(begun))
		synctest.Wait()
		require.Empty(f, f.byID)
	})
	both(t, func(f *fixture) {
		r, conn, _ := f.openHijacked("a")
		time.Sleep(time.Minute)
		synctest.Wait()
		conn.Close()
		require.Empty(f, f.byID)
		f.looked()
		f.End("a", store.ReasonEnded)
		time.Sleep(time.Hour)
		require.Zero(f, f.looked())
		require.NoError(f, r.ctx.Err())
	})
	both(t, func(f *fixture) { // closed before the handler returns
		server, client := net.Pipe()
		defer client.Close()
		r, err := f.tryOpen(context.Background(), "a", hijackable{httptest.NewRecorder(), server})
		require.NoError(f, err)
		conn, _, err := r.writer.Hijack()
		require.NoError(f, err)
		conn.Close()
		require.Len(f, f.byID, 1)
		r.Close()
		require.Empty(f, f.byID)
	})
}

func TestStateOnlyRises(t *testing.T) {
	all := []state{open, cut, closed}
	for _, from := range all {
		for _, to := range all {
			s := &Stream{state: from}
			require.Equal(t, to > from, s.raiseLocked(to))
			require.Equal(t, max(from, to), s.state)
		}
	}
}

// The watch ends too, and so do streams without a session and those that are opened later.
func TestCloseOfTheRegistryCutsEverything(t *testing.T) {
	both(t, func(f *fixture) {
		one, other := f.open("a"), f.open("b")
		visitor := f.openVisitor()
		time.Sleep(10 * time.Minute)
		visitor.requireOpen()
		f.Registry.Close()
		f.Registry.Close() // of another server
		if f.watcher != nil {
			require.Zero(f, f.watcher.open(), "the backend is not watched any more")
		}
		late := f.open("c")
		f.looked()
		for _, s := range []*testResponse{one, other, visitor, late} {
			require.ErrorIs(f, context.Cause(s.ctx), errClosed)
		}
		time.Sleep(grace)
		synctest.Wait()
		for _, s := range []*testResponse{one, other, visitor, late} {
			_, err := s.writer.Write(nil)
			require.ErrorIs(f, err, errClosed)
		}
		require.Zero(f, f.looked())
	})
}

// A stream that waits for Watch meanwhile does not report that as a failure.
func TestCloseOfTheRegistryWhileAStreamIsOpened(t *testing.T) {
	watched(t, func(f *fixture) {
		f.watcher.on(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		opened := make(chan *testResponse)
		go func() { opened <- f.open("a") }()
		synctest.Wait()
		f.Registry.Close()
		require.ErrorIs(f, context.Cause((<-opened).ctx), errClosed)
	})
}
