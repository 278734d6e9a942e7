package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/response"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

const (
	lifetime = 30 * time.Minute // of the session in tests
	timeout  = 5 * time.Second
)

var (
	errDown        = errors.New("the backend is down")
	errUnavailable = errors.New("unavailable")
	errStopped     = errors.New("stopped")
	errClosed      = errors.New("closed")
)

type endedError struct{ reason store.Reason }

func (e endedError) Error() string { return "ended: " + string(e.reason) }

// A fixture is a Registry with a fake backend and watcher, in a synctest bubble.
type fixture struct {
	*testing.T
	*Registry
	watcher *fakeWatcher // nil if the backend is not watched

	mu      sync.Mutex
	log     bytes.Buffer
	lookups []time.Time
	lookup  func(ctx context.Context, key store.Key, id string) (store.Record, error)
}

// unwatched runs a test with a Registry whose backend cannot be watched, watched with
// one whose backend can, and both runs it with either.
func unwatched(t *testing.T, test func(f *fixture)) {
	synctest.Test(t, func(t *testing.T) { test(newFixture(t, nil)) })
}

func watched(t *testing.T, test func(f *fixture)) {
	synctest.Test(t, func(t *testing.T) { test(newFixture(t, &fakeWatcher{})) })
}

func both(t *testing.T, test func(f *fixture)) {
	t.Run("unwatched", func(t *testing.T) { unwatched(t, test) })
	t.Run("watched", func(t *testing.T) { watched(t, test) })
}

// newFixture returns a fixture whose sessions all live until lifetime from now.
func newFixture(t *testing.T, w *fakeWatcher) *fixture {
	f := &fixture{T: t, watcher: w}
	begun := time.Now()
	f.live(1, begun.Add(lifetime))
	config := Config{
		Lookup: func(ctx context.Context, key store.Key, owner, id string) (store.Record, error) {
			f.mu.Lock()
			f.lookups = append(f.lookups, time.Now())
			lookup := f.lookup
			f.mu.Unlock()
			require.Equal(f, "owner of "+id, owner)
			return lookup(ctx, key, id)
		},
		Cause:       func(reason store.Reason) error { return endedError{reason} },
		Unavailable: errUnavailable,
		Stopped:     errStopped,
		Closed:      errClosed,
		Timeout:     timeout,
		Logger:      slog.New(slog.NewTextHandler(&f.log, nil)),
	}
	if w != nil {
		config.Watcher = w
	}
	f.Registry = New(config)
	t.Cleanup(func() {
		require.Empty(t, f.byID, "no stream is left")
		require.Zero(t, f.Len())
		time.Sleep(2 * watchLinger)
		synctest.Wait()
		require.Nil(t, f.watch)
		if w != nil {
			require.Zero(t, w.open(), "no watch is left")
		}
	})
	return f
}

// lookUp changes what the backend returns from now on.
func (f *fixture) lookUp(lookup func(ctx context.Context, key store.Key, id string) (store.Record, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookup = lookup
}

// fail makes the backend return err from now on.
func (f *fixture) fail(err error) {
	f.lookUp(func(context.Context, store.Key, string) (store.Record, error) { return store.Record{}, err })
}

// live makes the backend return a session with this key, until its deadline.
func (f *fixture) live(key byte, end time.Time) {
	f.lookUp(func(_ context.Context, _ store.Key, id string) (store.Record, error) {
		if !time.Now().Before(end) {
			return store.Record{}, &store.EndedError{Reason: store.ReasonIdle}
		}
		return record(id, store.Key{key}, end), nil
	})
}

// looked returns how often the backend was asked since it was last called.
func (f *fixture) looked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.lookups)
	f.lookups = nil
	return n
}

func record(id string, key store.Key, end time.Time) store.Record {
	return store.Record{
		Session:  &store.Session{Key: key, ID: id, Owner: "owner of " + id, Expires: store.TimeOf(end), IdleTimeout: 24 * time.Hour},
		LastSeen: store.TimeOf(time.Now()),
	}
}

// A testResponse is a response whose handler streams.
type testResponse struct {
	*fixture
	*Stream
	writer response.Writer[hooks]
	ctx    context.Context
}

type hooks struct{}

func (hooks) Commit(int) bool                      { return true }
func (hooks) BeforeHeader(http.Header)             {}
func (hooks) BeforeInformational(http.Header) bool { return true }
func (hooks) BeforeHijack() error                  { return nil }
func (hooks) Context() context.Context             { return context.Background() }

// tryOpen opens a stream on w with the key 1, and the deadline of newFixture.
func (f *fixture) tryOpen(ctx context.Context, id string, w http.ResponseWriter) (*testResponse, error) {
	r := &testResponse{fixture: f}
	r.writer.Init(w, hooks{})
	inner, cancel := context.WithCancelCause(ctx) // the handler's
	r.ctx = inner
	s, err := f.Registry.Open(ctx, record(id, store.Key{1}, time.Now().Add(lifetime)), nil, r.writer.Stopper(), cancel)
	r.Stream = s
	return r, err
}

// openVisitor opens a stream without a session.
func (f *fixture) openVisitor() *testResponse {
	f.Helper()
	r := &testResponse{fixture: f}
	r.writer.Init(httptest.NewRecorder(), hooks{})
	inner, cancel := context.WithCancelCause(context.Background())
	r.ctx = inner
	var err error
	r.Stream, err = f.Registry.Open(context.Background(), store.Record{}, nil, r.writer.Stopper(), cancel)
	require.NoError(f, err)
	f.T.Cleanup(r.Close)
	return r
}

// open is tryOpen for a stream that the test closes, or that is closed at its end.
func (f *fixture) open(id string) *testResponse {
	f.Helper()
	r, err := f.tryOpen(context.Background(), id, httptest.NewRecorder())
	require.NoError(f, err)
	f.T.Cleanup(r.Close)
	return r
}

// requireOpen checks that the context of the handler is not cancelled, and that it may
// write.
func (r *testResponse) requireOpen() {
	r.Helper()
	synctest.Wait()
	require.NoError(r, r.ctx.Err())
	_, err := r.writer.Write([]byte("event"))
	require.NoError(r, err)
}

// requireCut checks that the stream is cut after d, and stopped after the grace.
func (r *testResponse) requireCut(cause error, d time.Duration) {
	r.Helper()
	begun := time.Now()
	synctest.Wait()
	if d > 0 {
		require.NoError(r, r.ctx.Err())
	}
	time.Sleep(d - time.Millisecond)
	synctest.Wait()
	if d > 0 {
		require.NoError(r, r.ctx.Err(), "a millisecond before")
		time.Sleep(time.Millisecond)
	}
	synctest.Wait()
	require.Error(r, r.ctx.Err())
	require.ErrorIs(r, context.Cause(r.ctx), cause)
	require.Equal(r, d, time.Since(begun))
	time.Sleep(grace - time.Millisecond)
	synctest.Wait()
	_, err := r.writer.Write([]byte("a last word"))
	require.NoError(r, err)
	time.Sleep(time.Millisecond)
	synctest.Wait()
	_, err = r.writer.Write([]byte("secret"))
	require.ErrorIs(r, err, errStopped)
}

// fakeWatcher is a store.Watcher that a test can make fail and report.
type fakeWatcher struct {
	mu    sync.Mutex
	calls []context.Context
	ended func(store.Ending)
	watch func(ctx context.Context) error // nil: no error
}

func (w *fakeWatcher) Watch(ctx context.Context, ended func(store.Ending)) error {
	w.mu.Lock()
	w.calls = append(w.calls, ctx)
	w.ended = ended
	watch := w.watch
	w.mu.Unlock()
	if watch == nil {
		return nil
	}
	return watch(ctx)
}

// on changes what Watch does from now on.
func (w *fakeWatcher) on(watch func(ctx context.Context) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watch = watch
}

// report reports e to the latest watch, if there was one.
func (w *fakeWatcher) report(e store.Ending) {
	w.mu.Lock()
	ended := w.ended
	w.mu.Unlock()
	if ended != nil {
		ended(e)
	}
}

// called returns how often Watch was called, and open how many of these go on.
func (w *fakeWatcher) called() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.calls)
}

func (w *fakeWatcher) open() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ctx := range w.calls {
		if ctx.Err() == nil {
			n++
		}
	}
	return n
}

// hijackable is a writer whose connection can be taken.
type hijackable struct {
	http.ResponseWriter
	conn net.Conn
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.conn, nil, nil }
