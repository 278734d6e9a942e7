package response

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// W1: what handlers reach through Unwrap is no response, so all may still follow.
func TestControllingTheConnectionCommitsNothing(t *testing.T) {
	w, o := newFull()
	require.Equal(t, http.ResponseWriter(w), o.writer.Unwrap())
	control := http.NewResponseController(&o.writer)
	require.NoError(t, control.SetReadDeadline(time.Unix(2, 0)))
	require.NoError(t, control.SetWriteDeadline(time.Unix(3, 0)))
	require.ErrorIs(t, control.EnableFullDuplex(), http.ErrNotSupported)
	require.Equal(t, []string{"SetReadDeadline 2", "SetWriteDeadline 3"}, w.take())

	overBoth(t, func(t *testing.T, proto string) {
		o := &owner{trace: &trace{}}
		_, _, err := serve(t, proto, o, func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			if err := control.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
			if err := control.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
			if err := control.EnableFullDuplex(); err != nil {
				t.Error(err)
			}
			if calls := o.trace.take(); calls != nil {
				t.Error(calls)
			}
		})
		require.NoError(t, err)
	})
}

func TestPushReachesAWriterThatHasIt(t *testing.T) {
	w, o := newFull()
	require.NoError(t, http.Pusher(&o.writer).Push("/style.css", nil))
	require.Equal(t, []string{"Push /style.css"}, w.take(), "and commits nothing")

	o = own(wrapped{struct{ wrapped }{wrapped{w}}}, w.trace)
	require.NoError(t, o.writer.Push("/style.css", nil), "below a middleware's")
	require.Equal(t, []string{"Push /style.css"}, w.take())

	_, o = newPlain()
	require.ErrorIs(t, o.writer.Push("/style.css", nil), http.ErrNotSupported)
}

// A Writer on a Writer, as with NoCache inside the guard: both owners have their word.
func TestNestedWritersBothCommit(t *testing.T) {
	for _, begin := range steps {
		w, outer := newFull()
		inner := own(&outer.writer, w.trace)
		require.NoError(t, begin.do(&inner.writer))
		require.Len(t, w.take(), 3, "two Commits, one call: %s", begin.name)
		require.True(t, outer.writer.Started())
		require.True(t, inner.writer.Started())
	}
	o, _ := newHijackable(t)
	inner := own(&o.writer, o.trace)
	_, _, err := inner.writer.Hijack()
	require.NoError(t, err)
	require.Equal(t, []string{"Commit 101", "BeforeHijack", "Commit 101", "BeforeHijack", "Hijack"}, o.trace.take())
}

// sendfileConn records what net/http hands to the kernel.
type sendfileConn struct {
	*net.TCPConn
	sources chan io.Reader
}

func (c sendfileConn) ReadFrom(src io.Reader) (int64, error) {
	c.sources <- src
	return c.TCPConn.ReadFrom(src)
}

type sendfileListener struct {
	net.Listener
	sources chan io.Reader
}

func (l sendfileListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return sendfileConn{c.(*net.TCPConn), l.sources}, nil
}

// A file must reach the connection as a file.
func TestSendfileIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file.bin")
	content := make([]byte, 100_000)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	sources := make(chan io.Reader, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := own(w, &trace{})
		http.ServeFile(&o.writer, r, path)
		o.writer.Finish()
	}))
	server.Listener = sendfileListener{server.Listener, sources}
	server.Start()
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, content, body)
	limited, ok := (<-sources).(*io.LimitedReader)
	require.True(t, ok)
	require.IsType(t, &os.File{}, limited.R)
}

// The Writer must not cost an allocation: it is embedded in its owner.
func TestWriterAllocatesNothing(t *testing.T) {
	w := nullWriter{http.Header{}}
	o := &quietOwner{}
	body := []byte("body")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		*o = quietOwner{}
		o.writer.Init(w, o)
		o.writer.Header()
		o.writer.WriteHeader(http.StatusOK)
		_, _ = o.writer.Write(body)
		o.writer.Finish()
		o.writer.Release()
	}))
}

type nullWriter struct{ header http.Header }

func (w nullWriter) Header() http.Header       { return w.header }
func (nullWriter) WriteHeader(int)             {}
func (nullWriter) Write(b []byte) (int, error) { return len(b), nil }

type quietOwner struct{ writer Writer[*quietOwner] }

func (o *quietOwner) Commit(int) bool                      { return true }
func (o *quietOwner) BeforeHeader(http.Header)             {}
func (o *quietOwner) BeforeInformational(http.Header) bool { return true }
func (o *quietOwner) BeforeHijack() error                  { return nil }
func (o *quietOwner) Context() context.Context             { return context.Background() }
