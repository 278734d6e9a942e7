// Package response holds the http.ResponseWriter that sessionguard hands to handlers.
// It calls its owner before anything final is sent, so that the owner can still set
// cookies, forbid caching, or send another response instead. It knows nothing of
// sessions and imports only the standard library.
//
// Wrapping a ResponseWriter is hard for four reasons:
//
//   - A response can begin in many ways: WriteHeader, Write, WriteString, ReadFrom,
//     Flush, FlushError, Hijack, or a handler that returns without calling any of
//     them. A wrapper that misses one sends a response without its cookie.
//   - Not every status is final. A handler may send 103 Early Hints before it sets a
//     cookie, and httputil.ReverseProxy clears the header after each 1xx.
//   - Handlers find optional methods by type assertion, or by
//     [http.ResponseController] through Unwrap. A wrapper that hides one breaks
//     WebSockets, streaming or sendfile; a wrapper that has one must return the
//     truth where the writer below lacks it.
//   - The header stays the handler's until the first byte, and http.ServeFile removes
//     caching headers when it reports an error. What must be in it has to be set
//     last.
//
// A [Writer] therefore commits exactly once, before the first final byte however that
// begins ([Hooks].Commit); shows its owner the header immediately before it is sent
// ([Hooks].BeforeHeader); and lets a handler whose first attempt sent nothing, such as
// a copy from a source that fails, respond in another way. A [Stopper] ends the
// response from another goroutine, also while the handler waits in a write.
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

// Hooks are the decisions of a Writer's owner. The Writer calls them on the goroutine
// of the method that needs them, and holds no lock. The owner must not write while it
// holds a lock that a hook takes.
type Hooks interface {
	// Commit is called before the first method that can send a final status: 101, or
	// 200 and above. status is what that method would send: the argument of
	// WriteHeader, 101 for Hijack, and 200 for Write, WriteString, ReadFrom, Flush,
	// FlushError and Finish. Informational responses (1xx other than 101) pass
	// without it, with the header as the handler has set it.
	//
	// If Commit returns true, the response is the handler's, and Commit is not called
	// again. That holds even if the method then sends nothing, and the handler goes
	// on with another status.
	//
	// If it returns false, the owner has written a response of its own to the Writer,
	// and everything that the handler still writes is discarded. Writing that response
	// calls Commit again, inside the first call: a custom refusal may leave a flash,
	// which is a cookie too, so committing may run twice. The inner call must return
	// true, or the owner's response is discarded as well.
	Commit(status int) bool

	// BeforeHeader is called with the underlying writer's header immediately before
	// it is sent, so its changes override the handler's. Commit has returned true,
	// and no final status has been sent. It is called again if the method sends
	// nothing, so it must be idempotent. It is not called by Hijack, whose connection
	// carries no header, nor by Finish.
	BeforeHeader(http.Header)

	// BeforeHijack is called by Hijack, after Commit has returned true. If it returns
	// an error, so does Hijack; the connection stays with the server, and the handler
	// may still respond.
	BeforeHijack() error
}

// A Writer is embedded by value in its owner, which is also its Hooks, so that request
// state, context and writer are one allocation. Call Init before use.
//
// It has the optional methods that handlers look for by type assertion. The others are
// reached by [http.ResponseController] through Unwrap, and commit nothing.
type Writer struct {
	w       http.ResponseWriter
	hooks   Hooks
	stopper atomic.Pointer[Stopper] // nil until somebody may want to stop the response
	state   progress
	taken   atomic.Bool // by Hijack
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

// Started reports whether a final status has been sent, or the connection hijacked.
// The bytes of a ReadFrom count when it returns.
func (w *Writer) Started() bool { return w.state.reached(started) }

// Over reports whether the Writer was released, or its connection hijacked: it is no
// longer that of a response.
func (w *Writer) Over() bool { return w.taken.Load() || w.isReleased() }

// Hijacked reports whether the connection was hijacked.
func (w *Writer) Hijacked() bool { return w.taken.Load() }

// Discarding reports whether the response is no longer the handler's.
func (w *Writer) Discarding() bool { return w.state.reached(discarding) }

// Discard drops whatever is written from now on.
func (w *Writer) Discard() { w.state.raise(discarding) }

// Finish commits the response of a handler that has returned without writing anything.
// It sends nothing: the server does, after the outermost handler, so the owner can
// still change the underlying writer's header.
//
// It panics with [http.ErrAbortHandler] if the response was stopped. Otherwise half a
// response would look complete.
func (w *Writer) Finish() {
	if w.stopped() {
		panic(http.ErrAbortHandler)
	}
	w.commit(http.StatusOK)
}

// commit reports whether the response is the handler's to write, and asks the owner if
// that is undecided.
func (w *Writer) commit(status int) bool {
	if !w.state.reached(committed) {
		if w.hooks.Commit(status) {
			w.state.raise(committed)
		} else {
			w.Discard()
		}
	}
	return !w.Discarding()
}

// begin reports whether the handler may write. If not, writeErr is the reason.
func (w *Writer) begin(status int) bool {
	if w.stopped() || !w.commit(status) {
		return false
	}
	if !w.Started() {
		w.hooks.BeforeHeader(w.w.Header())
	}
	return true
}

func (w *Writer) markStarted() { w.state.raise(started) }

// writeErr returns the error for a write that begin refused.
func (w *Writer) writeErr() error {
	if err := w.stopErr(); err != nil {
		return err
	}
	return ErrReplaced
}

// Header returns a scratch map once the response has been replaced: if an outer writer
// buffers the response, headers that are set now would still be sent.
func (w *Writer) Header() http.Header {
	if w.Discarding() {
		return http.Header{}
	}
	return w.w.Header()
}

// WriteHeader passes informational statuses on without committing.
func (w *Writer) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		if !w.stopped() && !w.Discarding() {
			w.w.WriteHeader(status)
		}
	} else if w.begin(status) {
		w.markStarted()
		w.w.WriteHeader(status)
	}
}

// Write returns [ErrReplaced] if the response has been replaced, or the cause with
// which it was stopped. So do the other methods that return an error.
func (w *Writer) Write(b []byte) (int, error) {
	if !w.begin(http.StatusOK) {
		return 0, w.writeErr()
	}
	w.markStarted()
	return w.w.Write(b)
}

// WriteString spares the conversion to a byte slice.
func (w *Writer) WriteString(s string) (int, error) {
	if !w.begin(http.StatusOK) {
		return 0, w.writeErr()
	}
	w.markStarted()
	return io.WriteString(w.w, s)
}

// ReadFrom lets io.Copy use sendfile and splice, unless the response can be stopped. A
// source that fails before its first byte starts nothing: the handler may still send
// an error.
func (w *Writer) ReadFrom(src io.Reader) (int64, error) {
	if !w.begin(http.StatusOK) {
		return 0, w.writeErr()
	}
	if s := w.stopper.Load(); s != nil {
		src = stoppableReader{src, s}
	}
	n, err := io.Copy(w.w, src)
	if n > 0 {
		w.markStarted()
	}
	return n, err
}

// Flush is FlushError for handlers that use [http.Flusher].
func (w *Writer) Flush() { _ = w.FlushError() }

// FlushError starts nothing if the underlying writer cannot flush.
func (w *Writer) FlushError() error {
	if !w.begin(http.StatusOK) {
		return w.writeErr()
	}
	err := http.NewResponseController(w.w).Flush()
	if err == nil {
		w.markStarted()
	}
	return err
}

// Hijack hands over the connection, for example for a WebSocket. If the response can be
// stopped, so can the connection.
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
	w.markStarted()
	w.taken.Store(true)
	if s := w.stopper.Load(); s != nil {
		conn = s.hijacked(conn)
	}
	return conn, rw, nil
}

// Push commits nothing: what it sends is a request, not a response.
func (w *Writer) Push(target string, options *http.PushOptions) error {
	if pusher, ok := w.w.(http.Pusher); ok {
		return pusher.Push(target, options)
	}
	return http.ErrNotSupported
}
