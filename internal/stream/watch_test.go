package stream

import (
	"context"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/response"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

func TestReportedEndingCutsAtOnce(t *testing.T) {
	watched(t, func(f *fixture) {
		s, other := f.open("a"), f.open("b")
		f.watcher.report(store.Ending{ID: "a", Reason: store.ReasonTooManySessions})
		s.requireCut(endedError{store.ReasonTooManySessions}, 0)
		other.requireOpen()
	})
}

func TestAllStreamsShareOneWatch(t *testing.T) {
	watched(t, func(f *fixture) {
		require.Zero(f, f.watcher.called(), "nothing is watched without streams")
		for range 10 {
			f.open("a")
			f.open("b").Close()
		}
		require.Equal(f, 1, f.watcher.called())
		require.Equal(f, 1, f.watcher.open())
	})
}

func TestWatchLingersAMinuteAfterTheLastStream(t *testing.T) {
	watched(t, func(f *fixture) {
		f.live(1, time.Now().Add(10*time.Hour))
		first, second := f.open("a"), f.open("b")
		first.Close()
		time.Sleep(time.Hour)
		require.Equal(f, 1, f.watcher.open(), "a stream is left")
		second.Close()
		time.Sleep(time.Minute - time.Millisecond)
		synctest.Wait()
		require.Equal(f, 1, f.watcher.open())
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Zero(f, f.watcher.open())

		third := f.open("a") // starts another
		require.Equal(f, 2, f.watcher.called())
		third.Close()
		time.Sleep(time.Minute / 2)
		fourth := f.open("a") // joins it
		time.Sleep(time.Hour)
		require.Equal(f, 2, f.watcher.called())
		require.Equal(f, 1, f.watcher.open())
		f.watcher.report(store.Ending{ID: "a", Reason: store.ReasonEnded})
		fourth.requireCut(endedError{store.ReasonEnded}, 0)
	})
}

// Counted twice, a stream would take the watch away from another.
func TestCloseCountsOnce(t *testing.T) {
	watched(t, func(f *fixture) {
		first, second := f.open("a"), f.open("b")
		first.Close()
		first.Close()
		time.Sleep(time.Hour)
		require.Equal(f, 1, f.watcher.open())
		second.Close()
		second.Close()
		f.open("c")
		require.Equal(f, 1, f.watcher.called())
	})
}

// requireRefused opens n streams at the same time, and checks that all fail after d.
func (f *fixture) requireRefused(n int, cause error, d time.Duration) {
	f.Helper()
	begun := time.Now()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			r, err := f.tryOpen(context.Background(), "a", httptest.NewRecorder())
			require.Nil(f, r.Stream)
			if cause != nil {
				require.ErrorIs(f, err, cause)
			} else {
				require.ErrorContains(f, err, "a nil client")
			}
			require.NoError(f, r.ctx.Err())
		})
	}
	all.Wait()
	require.Equal(f, d, time.Since(begun))
	require.Empty(f, f.byID)
	synctest.Wait()
	require.Nil(f, f.watch, "the next stream starts another")
	require.Zero(f, f.watcher.open())
}

// L5: a stream that could not be ended does not begin.
func TestWatchThatFailsRefusesTheStreamAndIsTriedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		watch func(context.Context) error
		cause error
		after time.Duration
	}{
		"fails":           {func(context.Context) error { return errDown }, errDown, 0},
		"fails later":     {func(context.Context) error { time.Sleep(time.Second); return errDown }, errDown, time.Second},
		"panics":          {func(context.Context) error { panic("a nil client") }, nil, 0},
		"hangs":           {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, nil, timeout},
		"ignores its end": {func(context.Context) error { time.Sleep(time.Minute); return nil }, context.DeadlineExceeded, timeout},
	} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(f *fixture) {
				f.watcher.on(test.watch)
				if name == "hangs" { // then either context may come first
					r, err := f.tryOpen(context.Background(), "a", httptest.NewRecorder())
					require.Nil(f, r.Stream)
					require.Error(f, err)
				} else {
					f.requireRefused(3, test.cause, test.after)
				}
				called := f.watcher.called()
				if test.after > 0 {
					require.Equal(f, 1, called, "not one for each")
				}
				f.watcher.on(nil)
				s := f.open("a")
				require.Equal(f, called+1, f.watcher.called())
				time.Sleep(2 * time.Minute) // the first may come back meanwhile
				require.Equal(f, 1, f.watcher.open())
				f.open("b")
				require.Equal(f, called+1, f.watcher.called(), "and must not take the second away")
				f.watcher.report(store.Ending{ID: "a", Reason: store.ReasonEnded})
				s.requireCut(endedError{store.ReasonEnded}, 0)
			})
		})
	}
}

// A stream that joins a slow Watch must not get one that is dropped meanwhile. It learns
// why, if there is a better reason than the delay.
func TestWatchThatIsLateServesNobody(t *testing.T) {
	for returned, want := range map[error]error{nil: context.DeadlineExceeded, errDown: errDown} {
		watched(t, func(f *fixture) {
			f.watcher.on(func(context.Context) error { time.Sleep(timeout + time.Second); return returned })
			go f.tryOpen(context.Background(), "a", httptest.NewRecorder())
			time.Sleep(timeout - time.Second)
			r, err := f.tryOpen(context.Background(), "b", httptest.NewRecorder())
			require.Nil(f, r.Stream)
			require.ErrorIs(f, err, want)
			synctest.Wait()
			require.Nil(f, f.watch)
		})
	}
}

// A client that hangs up does not take the watch away from others.
func TestClientThatHangsUpLeavesTheWatchToOthers(t *testing.T) {
	watched(t, func(f *fixture) {
		f.watcher.on(func(context.Context) error { time.Sleep(2 * time.Second); return nil })
		ctx, hangUp := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, hangUp)
		opened := make(chan *testResponse)
		go func() { opened <- f.open("b") }()
		begun := time.Now()
		r, err := f.tryOpen(ctx, "a", httptest.NewRecorder())
		require.Nil(f, r.Stream)
		require.ErrorIs(f, err, context.Canceled)
		require.Equal(f, time.Second, time.Since(begun))
		(<-opened).requireOpen()
		require.Equal(f, 1, f.watcher.called())
		require.Equal(f, 1, f.watcher.open())
	})
}

// Nobody waits any more when it fails or is late, and it must still not be joined.
func TestWatchThatItsClientLeftBehindIsDropped(t *testing.T) {
	for name, watch := range map[string]func(context.Context) error{
		"fails":           func(context.Context) error { time.Sleep(2 * time.Second); return errDown },
		"ignores its end": func(context.Context) error { time.Sleep(time.Minute); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			watched(t, func(f *fixture) {
				f.watcher.on(watch)
				ctx, hangUp := context.WithCancel(context.Background())
				time.AfterFunc(time.Second, hangUp)
				_, err := f.tryOpen(ctx, "a", httptest.NewRecorder())
				require.ErrorIs(f, err, context.Canceled)
				time.Sleep(timeout)
				f.watcher.on(nil)
				begun := time.Now()
				f.open("a")
				require.Zero(f, time.Since(begun))
				require.Equal(f, 2, f.watcher.called())
				require.Equal(f, 1, f.watcher.open())
			})
		})
	}
}

// After a reconnect to the backend's server, every stream is looked up, 16 at a time.
func TestMissedEndingsRecheckAllStreams(t *testing.T) {
	watched(t, func(f *fixture) {
		var streams []*testResponse
		for range 40 {
			streams = append(streams, f.open("a"))
		}
		other := f.open("b")
		f.looked()
		var now, most atomic.Int64
		f.lookUp(func(_ context.Context, key store.Key, id string) (store.Record, error) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer now.Add(-1)
			time.Sleep(time.Second)
			if id == "b" {
				return record(id, key, time.Now().Add(lifetime)), nil
			}
			return store.Record{}, &store.EndedError{Reason: store.ReasonEnded}
		})
		f.watcher.report(store.Ending{})
		begun := time.Now()
		for _, s := range streams {
			<-s.ctx.Done()
			require.Equal(f, endedError{store.ReasonEnded}, context.Cause(s.ctx))
		}
		other.requireOpen()
		time.Sleep(time.Second)
		require.LessOrEqual(f, time.Since(begun), 4*time.Second)
		require.EqualValues(f, 16, most.Load())
		require.Equal(f, 41, f.looked())
	})
}

// A connection that comes and goes causes no recheck for each time, and none is lost.
func TestEndingsMissedDuringARecheckCauseOneMore(t *testing.T) {
	watched(t, func(f *fixture) {
		for range 10 {
			f.open("a")
		}
		f.looked()
		f.lookUp(func(_ context.Context, key store.Key, id string) (store.Record, error) {
			time.Sleep(time.Second)
			return record(id, key, time.Now().Add(lifetime)), nil
		})
		f.watcher.report(store.Ending{})
		time.Sleep(time.Second / 2)
		for range 100 {
			f.watcher.report(store.Ending{})
			time.Sleep(4 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		require.Equal(f, 20, f.looked())
		f.watcher.report(store.Ending{})
		time.Sleep(10 * time.Second)
		require.Equal(f, 10, f.looked(), "and a later one is not lost")
	})
}

// For the race detector.
func TestStreamsBesideEverythingElse(t *testing.T) {
	watched(t, func(f *fixture) {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 50 {
					r, err := f.tryOpen(context.Background(), "a", httptest.NewRecorder())
					require.NoError(f, err)
					_, _ = r.writer.Write([]byte("event"))
					time.Sleep(time.Millisecond)
					r.Close()
				}
			})
			all.Go(func() {
				for range 50 {
					f.Moved(record("a", store.Key{2}, time.Now().Add(lifetime)))
					f.EndKeys(map[store.Key]bool{{2}: true}, store.ReasonEnded)
					time.Sleep(time.Millisecond)
					f.watcher.report(store.Ending{})
					f.End("a", store.ReasonEnded)
				}
			})
		}
		all.Wait()
	})
}

// Behind two CancelOnEnd there are two streams of one response.
func TestTwoStreamsMayStopOneResponse(t *testing.T) {
	unwatched(t, func(f *fixture) {
		var w response.Writer[hooks]
		w.Init(httptest.NewRecorder(), hooks{})
		rec := record("a", store.Key{1}, time.Now().Add(lifetime))
		var cancelled atomic.Int64
		for range 2 {
			s, err := f.Registry.Open(context.Background(), rec, nil, w.Stopper(), func(error) { cancelled.Add(1) })
			require.NoError(f, err)
			defer s.Close()
		}
		f.End("a", store.ReasonEnded)
		require.EqualValues(f, 2, cancelled.Load())
		for range 2000 { // while both stop it
			_, _ = w.Write(nil)
			time.Sleep(time.Millisecond)
		}
		_, err := w.Write(nil)
		require.ErrorIs(f, err, errStopped)
	})
}

// A client that opens streams and closes them at once leaves nothing behind but the watch.
func TestStreamsThatCloseAtOnceLeaveNothingBehind(t *testing.T) {
	watched(t, func(f *fixture) {
		open := func() {
			r, err := f.tryOpen(context.Background(), "s", httptest.NewRecorder())
			require.NoError(f, err)
			r.Close()
		}
		open()
		heap := func() int64 {
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		const streams = 20_000
		before := heap()
		for range streams {
			open()
		}
		perStream := (heap() - before) / streams
		f.Logf("%d bytes for each", perStream)
		require.Less(f, perStream, int64(50))
	})
}
