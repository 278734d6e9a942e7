// Package response holds the http.ResponseWriter that sessionguard hands to
// handlers. It calls its owner before anything final goes out, so that the owner
// can still set cookies, forbid caching, or send another response instead.
//
// It knows nothing of sessions, and imports nothing but the standard library.
package response

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// ErrReplaced is returned by writes whose response has been replaced by another.
var ErrReplaced = errors.New("sessionguard: the response was replaced, since it could not be sent")

// Hooks are what the owner of a Writer decides.
type Hooks interface {
	// Commit is called before every step that can send a final status (2xx and
	// up, or 101). status is what the handler asked for. If it returns false it
	// has written a response of its own to the Writer, and everything that the
	// handler still writes is discarded. It may be called again while it writes
	// that response.
	Commit(status int) bool

	// BeforeHeader is called immediately before the header is sent.
	BeforeHeader(http.Header)

	// BeforeHijack is called after Commit. An error keeps the connection.
	BeforeHijack() error
}

// state is how far a response has come. It only moves forward.
type state = uint32

const (
	unstarted  state = iota // no final status has been passed on
	started                 // one has
	discarding              // whatever is written is dropped
)

// A Writer is embedded by value in its owner, which is also its Hooks: request
// state, context and writer are then one allocation. Call Init before use.
//
// It has the methods that handlers look for by type assertion; the others are
// reached by [http.ResponseController] through Unwrap. Informational responses
// (1xx) pass through uncommitted: a ReverseProxy clears the header after each.
type Writer struct {
	w       http.ResponseWriter
	hooks   Hooks
	stopper atomic.Pointer[Stopper] // nil: nobody can stop it
	state   atomic.Uint32
}

var (
	_ http.Flusher    = (*Writer)(nil)
	_ http.Hijacker   = (*Writer)(nil)
	_ http.Pusher     = (*Writer)(nil)
	_ io.ReaderFrom   = (*Writer)(nil)
	_ io.StringWriter = (*Writer)(nil)
)

// Init sets the underlying writer and the owner.
func (w *Writer) Init(under http.ResponseWriter, hooks Hooks) { w.w, w.hooks = under, hooks }

// Unwrap returns the underlying writer.
func (w *Writer) Unwrap() http.ResponseWriter { return w.w }

// Started reports whether a final status has been passed on.
func (w *Writer) Started() bool { return w.state.Load() >= started }

// Discarding reports whether the response is no longer the handler's.
func (w *Writer) Discarding() bool { return w.state.Load() == discarding }

// Discard drops whatever is written from now on.
func (w *Writer) Discard() { w.state.Store(discarding) }

// Finish commits the response of a handler that has returned and perhaps written
// nothing. It panics with [http.ErrAbortHandler] if the response was stopped, since
// half a response would pass for a whole one.
func (w *Writer) Finish() {
	if w.stopped() {
		panic(http.ErrAbortHandler)
	}
	w.commit(http.StatusOK)
}

func (w *Writer) commit(status int) bool {
	if w.Discarding() {
		return false
	}
	if !w.hooks.Commit(status) {
		w.Discard()
		return false
	}
	return true
}

// begin reports whether the handler may write. The header goes out with the first
// byte, so the owner has its last word about it as late as here: http.ServeFile
// removes caching headers for its errors.
func (w *Writer) begin(status int) bool {
	if w.stopped() || !w.commit(status) {
		return false
	}
	if !w.Started() {
		w.hooks.BeforeHeader(w.w.Header())
	}
	return true
}

func (w *Writer) start() { w.state.CompareAndSwap(unstarted, started) }

// writeErr is why begin returned false.
func (w *Writer) writeErr() error {
	if s := w.stopper.Load(); s != nil && s.stopped.Load() {
		return s.cause
	}
	return ErrReplaced
}

// Header returns a header that nobody reads once the response has been replaced: with
// an outer writer that buffers, what is set now would still be sent.
func (w *Writer) Header() http.Header {
	if w.Discarding() {
		return http.Header{}
	}
	return w.w.Header()
}

func (w *Writer) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		if !w.stopped() {
			w.w.WriteHeader(status)
		}
	} else if w.begin(status) {
		w.start()
		w.w.WriteHeader(status)
	}
}

func (w *Writer) Write(b []byte) (int, error) {
	if !w.begin(http.StatusOK) {
		return 0, w.writeErr()
	}
	w.start()
	return w.w.Write(b)
}

func (w *Writer) WriteString(s string) (int, error) {
	if !w.begin(http.StatusOK) {
		return 0, w.writeErr()
	}
	w.start()
	return io.WriteString(w.w, s)
}

// ReadFrom keeps sendfile and splice for io.Copy. A source that fails before its
// first byte has started nothing: the handler may still send an error.
func (w *Writer) ReadFrom(src io.Reader) (int64, error) {
	if !w.begin(http.StatusOK) {
		return 0, w.writeErr()
	}
	if s := w.stopper.Load(); s != nil {
		src = stoppableReader{src, s}
	}
	n, err := io.Copy(w.w, src)
	if n > 0 {
		w.start()
	}
	return n, err
}

func (w *Writer) Flush() { _ = w.FlushError() }

// FlushError starts nothing if the underlying writer cannot flush.
func (w *Writer) FlushError() error {
	if !w.begin(http.StatusOK) {
		return w.writeErr()
	}
	err := http.NewResponseController(w.w).Flush()
	if err == nil {
		w.start()
	}
	return err
}

// Hijack hands over the connection, for a WebSocket.
func (w *Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.stopped() || !w.commit(http.StatusSwitchingProtocols) {
		return nil, nil, w.writeErr()
	}
	if err := w.hooks.BeforeHijack(); err != nil {
		return nil, nil, err
	}
	conn, rw, err := http.NewResponseController(w.w).Hijack()
	if err != nil {
		return conn, rw, err
	}
	w.start()
	if s := w.stopper.Load(); s != nil {
		conn = s.hijacked(conn)
	}
	return conn, rw, nil
}

func (w *Writer) Push(target string, options *http.PushOptions) error {
	if pusher, ok := w.w.(http.Pusher); ok {
		return pusher.Push(target, options)
	}
	return http.ErrNotSupported
}
