package response

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// W1
func TestHijackCommitsOnceAndAsksBeforeHijack(t *testing.T) {
	for name, hijack := range map[string]func(http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error){
		"assertion": func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
			return w.(http.Hijacker).Hijack()
		},
		"controller": func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
			return http.NewResponseController(w).Hijack()
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, client := newHijackable(t)
			conn, rw, err := hijack(&o.writer)
			require.NoError(t, err)
			require.Equal(t, []string{"Commit 101", "BeforeHijack", "Hijack"}, o.trace.take())
			require.True(t, o.writer.Started())
			go func() { rw.WriteString("raw"); rw.Flush(); conn.Close() }()
			raw, err := io.ReadAll(client)
			require.NoError(t, err)
			require.Equal(t, "raw", string(raw))
			o.writer.Finish()
			require.Empty(t, o.trace.take())
		})
	}
}

func TestHijackedConnectionCarriesBytesOfARealServer(t *testing.T) {
	o := &owner{trace: &trace{}}
	resp, _, err := serve(t, "HTTP/1.1", o, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
		rw.Flush()
		if _, err := w.Write([]byte("no")); err != http.ErrHijacked {
			t.Error(err)
		}
	})
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	require.Empty(t, resp.Header.Get("Before-Header"), "the handler writes its own")
}

// W1: raw bytes carry no Set-Cookie, and a lost cookie is a lost login.
func TestOwnerMayKeepTheConnection(t *testing.T) {
	o, _ := newHijackable(t)
	o.hijack = func() error { return errTest }
	_, _, err := o.writer.Hijack()
	require.ErrorIs(t, err, errTest)
	require.Equal(t, []string{"Commit 101", "BeforeHijack"}, o.trace.take())
	require.False(t, o.writer.Started())
	http.Error(&o.writer, "no", http.StatusTeapot)
	require.Equal(t, []string{"BeforeHeader", "WriteHeader 418", "Write no\n"}, o.trace.take())

	resp, body, err := serve(t, "HTTP/1.1", &owner{trace: &trace{}, hijack: o.hijack}, func(w http.ResponseWriter, r *http.Request) {
		if _, _, err := w.(http.Hijacker).Hijack(); err != nil {
			http.Error(w, "no", http.StatusTeapot)
		}
	})
	require.NoError(t, err)
	require.Equal(t, http.StatusTeapot, resp.StatusCode)
	require.Equal(t, "no\n", body)
	require.Equal(t, "owner", resp.Header.Get("Before-Header"))
}

func TestHandlerThatCannotHijackMayStillRespond(t *testing.T) {
	resp, _, err := serve(t, "HTTP/2.0", &owner{trace: &trace{}}, func(w http.ResponseWriter, r *http.Request) {
		if _, _, err := w.(http.Hijacker).Hijack(); err != nil {
			http.Error(w, "no", http.StatusTeapot)
		}
	})
	require.NoError(t, err)
	require.Equal(t, http.StatusTeapot, resp.StatusCode)
	require.Equal(t, "owner", resp.Header.Get("Before-Header"))
}

func TestStopClosesTheHijackedConnection(t *testing.T) {
	for name, stop := range map[string]func(o *owner, s *Stopper){
		"while it is used":        func(_ *owner, s *Stopper) { s.Stop(errTest) },
		"after Release":           func(o *owner, s *Stopper) { o.writer.Release(); s.Stop(errTest) },
		"twice":                   func(_ *owner, s *Stopper) { s.Stop(errTest); s.Stop(io.EOF) },
		"while it is closed, too": func(o *owner, s *Stopper) { go s.conn.Close(); s.Stop(errTest) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, client := newHijackable(t)
				s := o.writer.Stopper()
				conn, _, err := o.writer.Hijack()
				require.NoError(t, err)
				read := make(chan error)
				go func() { _, err := conn.Read(make([]byte, 1)); read <- err }()
				synctest.Wait() // it waits for the client
				stop(o, s)
				require.Error(t, <-read)
				_, err = client.Read(make([]byte, 1))
				require.ErrorIs(t, err, io.EOF, "the client sees it closed")
			})
		})
	}
}

// A stop between Hijack's check and its taking the connection must not be lost.
func TestStopDuringHijackClosesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, client := newHijackable(t)
		s := o.writer.Stopper()
		o.hijack = func() error { s.Stop(errTest); return nil }
		conn, _, err := o.writer.Hijack()
		require.NoError(t, err)
		_, err = client.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		_, err = conn.Write([]byte("secret"))
		require.Error(t, err)
	})
}

// A TLS connection's Close waits for a client that does not read; Stop must not.
func TestStopDoesNotWaitForTheClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer client.Close()
		w, _ := newFull()
		w.conn = slowConn{server}
		o := own(w, w.trace)
		s := o.writer.Stopper()
		_, _, err := o.writer.Hijack()
		require.NoError(t, err)
		begun := time.Now()
		s.Stop(errTest)
		require.Zero(t, time.Since(begun))
		time.Sleep(time.Minute)
	})
}

type slowConn struct{ net.Conn }

func (c slowConn) Close() error { time.Sleep(5 * time.Second); return c.Conn.Close() }

func TestAfterCloseRunsOnceWhenTheConnectionIsClosed(t *testing.T) {
	for name, closeIt := range map[string]func(net.Conn, *Stopper){
		"by its user": func(c net.Conn, _ *Stopper) { c.Close() },
		"by Stop":     func(_ net.Conn, s *Stopper) { s.Stop(errTest) },
		"by both":     func(c net.Conn, s *Stopper) { s.Stop(errTest); c.Close(); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _ := newHijackable(t)
				s := o.writer.Stopper()
				conn, _, err := o.writer.Hijack()
				require.NoError(t, err)
				ran := make(chan string, 10)
				require.True(t, s.AfterClose(func() { ran <- "first" }))
				require.True(t, s.AfterClose(func() {
					require.False(t, s.AfterClose(func() { ran <- "late" }), "no lock is held")
					ran <- "second"
				}))
				o.writer.Release()
				synctest.Wait()
				require.Empty(t, ran, "it is still open")
				closeIt(conn, s)
				synctest.Wait()
				close(ran)
				var all []string
				for what := range ran {
					all = append(all, what)
				}
				require.Equal(t, []string{"first", "second"}, all)
				require.False(t, s.AfterClose(func() { t.Error("it is closed already") }))
			})
		})
	}
}

func TestAfterCloseWithoutAHijackedConnection(t *testing.T) {
	_, o := newFull()
	never := func() { t.Error("there is no connection to close") }
	s := o.writer.Stopper()
	require.False(t, s.AfterClose(never))
	_, _, err := o.writer.Hijack() // which fails
	require.ErrorIs(t, err, errTest)
	require.False(t, s.AfterClose(never))
	o.writer.Release()
	s.Stop(errTest)
	require.False(t, s.AfterClose(never))
}

// A Writer that has been released belongs to no response, and one whose connection was
// taken to that for ever.
func TestWriterIsOverOnceReleasedOrHijacked(t *testing.T) {
	_, o := newFull()
	require.False(t, o.writer.Over())
	o.writer.Release()
	require.True(t, o.writer.Over())
	require.False(t, o.writer.Hijacked())

	_, o = newFull()
	o.writer.Stopper()
	require.False(t, o.writer.Over())
	o.writer.Release()
	require.True(t, o.writer.Over(), "also if it can be stopped")

	o, _ = newHijackable(t)
	_, _, err := o.writer.Hijack()
	require.NoError(t, err)
	require.True(t, o.writer.Over())
	o.writer.Release()
	require.True(t, o.writer.Hijacked())

	_, o = newFull() // which cannot be hijacked
	_, _, err = o.writer.Hijack()
	require.ErrorIs(t, err, errTest)
	require.False(t, o.writer.Over())
}
