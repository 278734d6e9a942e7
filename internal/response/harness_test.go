package response

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var errTest = errors.New("test")

// An owner embeds a Writer, as requests do, and records its hooks.
type owner struct {
	writer Writer[*owner]
	trace  *trace
	commit func(status int) bool // nil: true
	hijack func() error          // nil: no error
	silent bool                  // forbids informational responses
}

func (o *owner) Commit(status int) bool {
	o.trace.add("Commit %d", status)
	if o.commit != nil && !o.commit(status) {
		return false
	}
	o.writer.Unwrap().Header().Set("Before-Header", "owner")
	return true
}

func (o *owner) BeforeHeader(h http.Header) {
	o.trace.add("BeforeHeader")
	h.Set("Before-Header", "owner")
}

func (o *owner) BeforeInformational(h http.Header) bool {
	o.trace.add("BeforeInformational")
	h.Set("Before-Informational", "owner")
	h.Del("Etag")
	return !o.silent
}

func (o *owner) Context() context.Context { return context.Background() }

func (o *owner) BeforeHijack() error {
	o.trace.add("BeforeHijack")
	if o.hijack == nil {
		return nil
	}
	return o.hijack()
}

// A trace is the sequence of calls of hooks and of an underlying writer.
type trace struct {
	mu    sync.Mutex
	calls []string
}

func (t *trace) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls = append(t.calls, fmt.Sprintf(format, args...))
}

// take returns the calls since it was last called.
func (t *trace) take() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	calls := t.calls
	t.calls = nil
	return calls
}

// own returns the owner of a Writer on w.
func own(w http.ResponseWriter, tr *trace) *owner {
	o := &owner{trace: tr}
	o.writer.Init(w, o)
	return o
}

// plainWriter is an underlying writer without any optional method.
type plainWriter struct {
	*trace
	header http.Header
}

func (w plainWriter) Header() http.Header         { return w.header }
func (w plainWriter) WriteHeader(status int)      { w.add("WriteHeader %d", status) }
func (w plainWriter) Write(b []byte) (int, error) { w.add("Write %s", b); return len(b), nil }

func newPlain() (plainWriter, *owner) {
	w := plainWriter{&trace{}, http.Header{}}
	return w, own(w, w.trace)
}

// fullWriter is an underlying writer with all optional methods.
type fullWriter struct {
	plainWriter
	conn net.Conn // for Hijack, which fails if it is nil
}

func (w fullWriter) WriteString(s string) (int, error) {
	w.add("WriteString %s", s)
	return len(s), nil
}

func (w fullWriter) ReadFrom(src io.Reader) (int64, error) {
	b, err := io.ReadAll(src)
	w.add("ReadFrom %s", b)
	return int64(len(b)), err
}

func (w fullWriter) FlushError() error { w.add("FlushError"); return nil }

func (w fullWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.add("Hijack")
	if w.conn == nil {
		return nil, nil, errTest
	}
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

func (w fullWriter) Push(target string, _ *http.PushOptions) error {
	w.add("Push %s", target)
	return nil
}

func (w fullWriter) SetReadDeadline(t time.Time) error {
	w.add("SetReadDeadline %d", t.Unix())
	return nil
}

func (w fullWriter) SetWriteDeadline(t time.Time) error {
	w.add("SetWriteDeadline %d", t.Unix())
	return nil
}

func newFull() (fullWriter, *owner) {
	plain, _ := newPlain()
	w := fullWriter{plainWriter: plain}
	return w, own(w, w.trace)
}

// newHijackable returns the owner of a Writer whose connection can be taken, and the
// client's end of that connection.
func newHijackable(t *testing.T) (*owner, net.Conn) {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	w, _ := newFull()
	w.conn = server
	return own(w, w.trace), client
}

// serve runs handler as the owner's handler, as the root package does, over one
// protocol, and returns the response to one request. The server's network is real.
func serve(t *testing.T, proto string, o *owner, handler http.HandlerFunc, request ...func(*http.Request)) (*http.Response, string, error) {
	t.Helper()
	done := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		o.writer.Init(w, o)
		defer o.writer.Release()
		handler(&o.writer, r)
		o.writer.Finish()
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = proto == "HTTP/2.0"
	server.StartTLS()
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
	require.NoError(t, err)
	for _, change := range request {
		change(req)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	require.Equal(t, proto, resp.Proto)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, "", nil
	}
	body, err := io.ReadAll(resp.Body)
	<-done
	return resp, string(body), err
}

// overBoth runs a test over both protocols.
func overBoth(t *testing.T, test func(t *testing.T, proto string)) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) { test(t, proto) })
	}
}

// inBubble runs a test over both protocols in a synctest bubble, with a function that
// serves handler on an in-memory network and sends one request. A client that does not
// read the body blocks the handler's writes.
func inBubble(t *testing.T, test func(t *testing.T, do func(handler http.HandlerFunc, body io.Reader) *http.Response)) {
	overBoth(t, func(t *testing.T, proto string) {
		synctest.Test(t, func(t *testing.T) {
			test(t, func(handler http.HandlerFunc, body io.Reader) *http.Response {
				t.Helper()
				client, server := net.Pipe()
				var protocols http.Protocols
				protocols.SetHTTP1(proto == "HTTP/1.1")
				protocols.SetUnencryptedHTTP2(proto == "HTTP/2.0")
				listener := &onceListener{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
				listener.conn <- server
				s := &http.Server{Handler: handler, Protocols: &protocols, ErrorLog: log.New(io.Discard, "", 0)}
				go s.Serve(listener)
				transport := &http.Transport{
					Protocols:   &protocols,
					DialContext: func(context.Context, string, string) (net.Conn, error) { return client, nil },
				}
				t.Cleanup(func() { s.Close(); client.Close(); transport.CloseIdleConnections() })
				req, err := http.NewRequestWithContext(t.Context(), "POST", "http://app.example/", body)
				require.NoError(t, err)
				resp, err := transport.RoundTrip(req)
				require.NoError(t, err)
				require.Equal(t, proto, resp.Proto)
				t.Cleanup(func() { resp.Body.Close() })
				return resp
			})
		})
	})
}

// onceListener accepts one connection.
type onceListener struct {
	conn   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *onceListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *onceListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *onceListener) Addr() net.Addr { return &net.UnixAddr{} }

// onlyReader hides io.WriterTo, which io.Copy prefers.
type onlyReader struct{ io.Reader }

// read returns a source with this text and then err.
func read(text string, err error) io.Reader {
	return onlyReader{io.MultiReader(strings.NewReader(text), errReader{err})}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// A step is a way to begin a response.
type step struct {
	name   string
	status int                               // with which it commits
	passes []string                          // what it calls of a fullWriter
	do     func(w http.ResponseWriter) error // as handlers do it
}

var steps = []step{
	{"WriteHeader", 201, []string{"WriteHeader 201"}, func(w http.ResponseWriter) error { w.WriteHeader(201); return nil }},
	{"Write", 200, []string{"Write body"}, func(w http.ResponseWriter) error { _, err := w.Write([]byte("body")); return err }},
	{"empty Write", 200, []string{"Write "}, func(w http.ResponseWriter) error { _, err := w.Write(nil); return err }},
	{"WriteString", 200, []string{"WriteString body"}, func(w http.ResponseWriter) error { _, err := io.WriteString(w, "body"); return err }},
	{"ReadFrom", 200, []string{"ReadFrom body"}, func(w http.ResponseWriter) error {
		_, err := io.Copy(w, read("body", io.EOF))
		return err
	}},
	{"ReadFrom of a WriterTo", 200, []string{"WriteString body"}, func(w http.ResponseWriter) error {
		_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("body"))
		return err
	}},
	{"Flush", 200, []string{"FlushError"}, func(w http.ResponseWriter) error { w.(http.Flusher).Flush(); return nil }},
	{"FlushError", 200, []string{"FlushError"}, func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() }},
}
