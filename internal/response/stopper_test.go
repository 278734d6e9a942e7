package response

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAllCallsOfStopperReturnTheSameOne(t *testing.T) {
	_, o := newFull()
	s := o.writer.Stopper()
	require.Same(t, s, o.writer.Stopper())
	o.writer.Release()
	require.Same(t, s, o.writer.Stopper())
}

func TestStoppedResponseSendsNothingMore(t *testing.T) {
	for name, begin := range map[string]func(o *owner){
		"before its first byte":                 func(*owner) {},
		"after an attempt that started nothing": func(o *owner) { _, _ = io.Copy(&o.writer, read("", errTest)) },
		"after its first byte":                  func(o *owner) { _, _ = io.WriteString(&o.writer, "body") },
	} {
		t.Run(name, func(t *testing.T) {
			w, o := newFull()
			s := o.writer.Stopper()
			begin(o)
			w.take()
			s.Stop(errTest)
			require.Equal(t, []string{"SetReadDeadline 1", "SetWriteDeadline 1"}, w.take())
			for _, later := range steps {
				err := later.do(&o.writer)
				if later.name != "WriteHeader" && later.name != "Flush" {
					require.ErrorIs(t, err, errTest, later.name)
				}
			}
			_, _, err := o.writer.Hijack()
			require.ErrorIs(t, err, errTest)
			o.writer.WriteHeader(http.StatusEarlyHints)
			require.Empty(t, w.take(), "no byte, and no Commit for one that is never sent")
			require.PanicsWithValue(t, http.ErrAbortHandler, o.writer.Finish)
			require.Empty(t, w.take())
		})
	}
}

// What was cut must not look complete.
func TestClientSeesThatAStoppedResponseIsIncomplete(t *testing.T) {
	for name, body := range map[string]string{"nothing written": "", "something written": "half"} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, proto string) {
				o := &owner{trace: &trace{}}
				_, _, err := serve(t, proto, o, func(w http.ResponseWriter, r *http.Request) {
					// Its deadlines cannot be reached, so the connection stays usable.
					o.writer.Init(struct{ http.ResponseWriter }{o.writer.Unwrap()}, o)
					s := o.writer.Stopper()
					if body != "" {
						io.WriteString(w, body)
					}
					s.Stop(errTest)
				})
				require.Error(t, err)
			})
		})
	}
}

// A replaced response that is stopped, too, tells the handler so.
func TestCauseOfAStopComesBeforeErrReplaced(t *testing.T) {
	_, o := newFull()
	s := o.writer.Stopper()
	o.writer.Discard()
	_, err := io.WriteString(&o.writer, "body")
	require.ErrorIs(t, err, ErrReplaced)
	s.Stop(errTest)
	_, err = io.WriteString(&o.writer, "body")
	require.ErrorIs(t, err, errTest)
	require.NotErrorIs(t, err, ErrReplaced)
}

func TestStopInterruptsAWriteThatWaitsForTheClient(t *testing.T) {
	for name, write := range map[string]func(w http.ResponseWriter) error{
		"Write": func(w http.ResponseWriter) error {
			_, err := w.Write(make([]byte, 64<<20))
			return err
		},
		"WriteString": func(w http.ResponseWriter) error {
			_, err := io.WriteString(w, strings.Repeat("x", 64<<20))
			return err
		},
		"ReadFrom": func(w http.ResponseWriter) error {
			_, err := io.Copy(w, onlyReader{endlessReader{}})
			return err
		},
		"Flush": func(w http.ResponseWriter) error {
			for {
				_, err := w.Write(make([]byte, 100_000))
				if err == nil {
					err = http.NewResponseController(w).Flush()
				}
				if err != nil {
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, do func(http.HandlerFunc, io.Reader) *http.Response) {
				stoppers, written := make(chan *Stopper, 1), make(chan error, 1)
				do(func(w http.ResponseWriter, r *http.Request) {
					o := own(w, &trace{})
					defer o.writer.Release()
					stoppers <- o.writer.Stopper()
					written <- write(&o.writer)
					if _, err := o.writer.Write([]byte("secret")); err != errTest {
						t.Error("a later write returns the cause:", err)
					}
				}, nil)
				synctest.Wait()
				require.Empty(t, written, "it waits for the client")
				begun := time.Now()
				(<-stoppers).Stop(errTest)
				require.Error(t, <-written)
				require.Zero(t, time.Since(begun))
				synctest.Wait()
			})
		})
	}
}

type endlessReader struct{}

func (endlessReader) Read(b []byte) (int, error) { return len(b), nil }

func TestStopInterruptsAReadThatWaitsForTheClient(t *testing.T) {
	inBubble(t, func(t *testing.T, do func(http.HandlerFunc, io.Reader) *http.Response) {
		stoppers, read := make(chan *Stopper, 1), make(chan error, 1)
		body, client := io.Pipe()
		defer client.Close()
		do(func(w http.ResponseWriter, r *http.Request) {
			o := own(w, &trace{})
			defer o.writer.Release()
			stoppers <- o.writer.Stopper()
			_ = http.NewResponseController(w).EnableFullDuplex()
			o.writer.Flush()
			_, err := io.ReadAll(r.Body)
			read <- err
		}, body)
		synctest.Wait()
		require.Empty(t, read, "it waits for the client")
		(<-stoppers).Stop(errTest)
		require.Error(t, <-read)
	})
}

// A handler may move its deadline, and a copy is one call however long it takes.
func TestStopEndsACopyWhoseSourceMovesTheDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, do func(http.HandlerFunc, io.Reader) *http.Response) {
		stoppers, copied := make(chan *Stopper, 1), make(chan error, 1)
		resp := do(func(w http.ResponseWriter, r *http.Request) {
			o := own(w, &trace{})
			defer o.writer.Release()
			stoppers <- o.writer.Stopper()
			o.writer.Flush()
			_, err := io.Copy(&o.writer, slowReader{http.NewResponseController(&o.writer)})
			copied <- err
		}, nil)
		go io.Copy(io.Discard, resp.Body)
		time.Sleep(time.Second + 50*time.Millisecond)
		begun := time.Now()
		(<-stoppers).Stop(errTest)
		require.ErrorIs(t, <-copied, errTest)
		require.Equal(t, 50*time.Millisecond, time.Since(begun), "at the source's next read")
	})
}

type slowReader struct{ control *http.ResponseController }

func (r slowReader) Read(b []byte) (int, error) {
	time.Sleep(100 * time.Millisecond)
	_ = r.control.SetWriteDeadline(time.Now().Add(time.Hour))
	return copy(b, "events"), nil
}

// The server reuses what is released, for somebody else's response.
func TestReleasedWriterIsNotTouchedAnyMore(t *testing.T) {
	w, o := newFull()
	s := o.writer.Stopper()
	o.writer.Release()
	s.Stop(errTest)
	require.Empty(t, w.take())
	_, err := io.WriteString(&o.writer, "secret")
	require.ErrorIs(t, err, errTest, "but its handler, which may still run, is stopped")
	require.Empty(t, w.take())
}

func TestStopperOfAReleasedWriterStopsNothing(t *testing.T) {
	w, o := newFull()
	o.writer.Release()
	o.writer.Release()
	s := o.writer.Stopper()
	s.Stop(errTest)
	require.Empty(t, w.take())
	require.NotSame(t, s, o.writer.Stopper(), "a shared one would be stopped for all")
	require.NoError(t, released.stopErr())

	_, other := newFull()
	other.writer.Release()
	_, err := io.WriteString(&other.writer, "body")
	require.NoError(t, err)
}

// Release waits for a Stop that is using the writer.
func TestReleaseWaitsForAStopUnderWay(t *testing.T) {
	plain, _ := newPlain()
	w := slowDeadlines{plain, make(chan struct{}), new(atomic.Bool)}
	o := own(w, plain.trace)
	s := o.writer.Stopper()
	go s.Stop(errTest)
	<-w.entered
	o.writer.Release()
	require.True(t, w.left.Load())
}

type slowDeadlines struct {
	plainWriter
	entered chan struct{}
	left    *atomic.Bool
}

func (w slowDeadlines) SetWriteDeadline(time.Time) error {
	close(w.entered)
	time.Sleep(10 * time.Millisecond) // for a Release that does not wait
	w.left.Store(true)
	return nil
}

func TestForeignWriterThatPanicsDoesNotHinderStop(t *testing.T) {
	plain, _ := newPlain()
	o := own(panickingDeadlines{plain}, plain.trace)
	s := o.writer.Stopper()
	require.NotPanics(t, func() { s.Stop(errTest) })
	_, err := o.writer.Write(nil)
	require.ErrorIs(t, err, errTest)
	o.writer.Release() // and no lock is left held
}

type panickingDeadlines struct{ plainWriter }

func (panickingDeadlines) SetReadDeadline(time.Time) error { panic("foreign") }

func TestFirstStopGivesTheCause(t *testing.T) {
	_, o := newFull()
	s := o.writer.Stopper()
	s.Stop(errTest)
	s.Stop(io.EOF)
	_, err := o.writer.Write(nil)
	require.ErrorIs(t, err, errTest)
}

// Two streams of one request may stop it at the same time, while its handler writes
// and the server releases it. For the race detector.
func TestStopBesideEverythingElse(t *testing.T) {
	for range 200 {
		o, client := newHijackable(t)
		go io.Copy(io.Discard, client)
		s := o.writer.Stopper()
		var all sync.WaitGroup
		for _, cause := range []error{errTest, io.EOF} {
			all.Go(func() { s.Stop(cause) })
		}
		all.Go(func() {
			for _, step := range steps {
				_ = step.do(&o.writer)
			}
			if conn, _, err := o.writer.Hijack(); err == nil {
				s.AfterClose(func() {})
				conn.Close()
			}
			o.writer.Release()
		})
		all.Go(func() {
			o.writer.Stopper()
			o.writer.Started()
			o.writer.Discard()
			o.writer.Discarding()
		})
		all.Wait()
		_, err := o.writer.Write(nil)
		require.Contains(t, []error{errTest, io.EOF}, err)
	}
}
