// Package response holds the http.ResponseWriter that sessionguard hands to handlers.
// It calls its owner before anything final is sent, so that the owner can still set
// cookies, forbid caching, or send another response instead. It knows nothing of
// sessions and imports only the standard library.
//
// Wrapping a ResponseWriter is hard for five reasons:
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
//   - A panic passes through, and whoever recovers it may write an error to the same
//     wrapper, as with echo.WrapMiddleware ([Writer.Abandon]). And a framework's adapter
//     may drop the wrapper, and write around it ([Writer.BypassedBy], [Writer.Bypassed]).
//   - The header stays the handler's until the first byte, and http.ServeFile removes
//     caching headers when it reports an error. What must be in it has to be set
//     last.
//
// A [Writer] therefore commits exactly once, before the first final byte however that
// begins ([Hooks].Commit); shows its owner the header immediately before it is sent, also
// if that is later ([Hooks].BeforeHeader); and lets a handler whose first attempt sent nothing, such as
// a copy from a source that fails, respond in another way. A [Stopper] ends the
// response from another goroutine, also while the handler waits in a write.
package response

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"sync/atomic"
)

// ErrReplaced is returned by writes whose response has been replaced by another.
var ErrReplaced = errors.New("sessionguard: the response was replaced, because it could not be sent")

// Hooks are the decisions of a Writer's owner. The Writer calls them on the goroutine
// of the method that needs them, and holds no lock. The owner must not write while it
// holds a lock that a hook takes.
type Hooks interface {
	// Commit is called before the first method that can send a final status: 101, or
	// 200 and above. status is what that method would send: the argument of
	// WriteHeader, 101 for Hijack, and 200 for Write, WriteString, ReadFrom, Flush,
	// FlushError and Finish. Informational responses (1xx other than 101) pass
	// without it.
	//
	// If Commit returns true, the response is the handler's, and the method sends the
	// header as it is then: Commit has the last word about it, as BeforeHeader has.
	// Commit is not called again, even if the method sends nothing, and the handler
	// goes on with another status.
	//
	// If it returns false, the owner has written a response of its own to the Writer,
	// and everything that the handler still writes is discarded. Writing that response
	// calls Commit again, inside the first call: a custom refusal may leave a flash,
	// which is a cookie too, so committing may run twice. The inner call must return
	// true, or the owner's response is discarded as well.
	Commit(status int) bool

	// BeforeHeader is called with the underlying writer's header immediately before
	// it is sent, so its changes override the handler's, if the method that called
	// Commit has sent nothing. It is called again if the next method sends nothing
	// either, so it must be idempotent. It is not called by Hijack, whose connection
	// carries no header, nor by Finish.
	BeforeHeader(http.Header)

	// BeforeInformational is called with the underlying writer's header immediately
	// before an informational response is sent, and reports whether the client may get
	// one. Its changes are taken back afterwards, since the final response may need
	// none of them.
	BeforeInformational(http.Header) bool

	// BeforeHijack is called by Hijack, after Commit has returned true. If it returns
	// an error, so does Hijack; the connection stays with the server, and the handler
	// may still respond.
	BeforeHijack() error

	// Context returns the context of the request, which ends when its client has gone.
	Context() context.Context
}

// A Writer is embedded by value in its owner, which is also its Hooks, so that request
// state, context and writer are one allocation. Call Init before use.
//
// It has the optional methods that handlers look for by type assertion. The others are
// reached by [http.ResponseController] through Unwrap, and commit nothing.
//
// The type of the owner is a parameter because an interface would be 8 bytes longer, and
// there is one Writer for each request.
type Writer[O Hooks] struct {
	w       http.ResponseWriter
	owner   O
	stopper atomic.Pointer[Stopper] // nil until somebody may want to stop the response
	state   progress
	marks   markSet
}

var (
	_ http.Flusher    = (*Writer[Hooks])(nil)
	_ http.Hijacker   = (*Writer[Hooks])(nil)
	_ http.Pusher     = (*Writer[Hooks])(nil)
	_ io.ReaderFrom   = (*Writer[Hooks])(nil)
	_ io.StringWriter = (*Writer[Hooks])(nil)
)

// Init sets the underlying writer and the owner.
func (w *Writer[O]) Init(under http.ResponseWriter, owner O) {
	w.w, w.owner = under, owner
	if _, ok := under.Header()["Content-Encoding"]; ok {
		w.marks.add(encoded)
	}
}

// Encoded reports whether Content-Encoding was set before Init. The underlying writer
// then encodes whatever is written.
func (w *Writer[O]) Encoded() bool { return w.marks.has(encoded) }

// Unwrap returns the underlying writer.
func (w *Writer[O]) Unwrap() http.ResponseWriter { return w.w }

// Started reports whether a final status has been sent, or the connection hijacked.
// The bytes of a ReadFrom count when it returns.
func (w *Writer[O]) Started() bool { return w.state.reached(started) }

// Over reports whether the Writer was released, or its connection hijacked: it is no
// longer that of a response.
func (w *Writer[O]) Over() bool { return w.marks.has(over | hijacked) }

// Hijacked reports whether the connection was hijacked.
func (w *Writer[O]) Hijacked() bool { return w.marks.has(hijacked) }

// TimedOut reports whether the status was 408, 503 or 504, with which a middleware such as
// http.TimeoutHandler responds in place of a handler that may still run.
func (w *Writer[O]) TimedOut() bool { return w.marks.has(timedOut) }

// Detach records that the response goes out without its owner, who could not be waited for.
func (w *Writer[O]) Detach() { w.marks.add(detached) }

// Detached reports whether Detach was called.
func (w *Writer[O]) Detached() bool { return w.marks.has(detached) }

// Discarding reports whether the response is no longer the handler's.
func (w *Writer[O]) Discarding() bool { return w.state.reached(discarding) }

// Discard drops whatever is written from now on.
func (w *Writer[O]) Discard() { w.state.raise(discarding) }

// Finish commits the response of a handler that has returned without writing anything.
// It sends nothing: the server does, after the outermost handler, so the owner can
// still change the underlying writer's header.
//
// It panics with [http.ErrAbortHandler] if the response was stopped. Otherwise half a
// response would look complete.
func (w *Writer[O]) Finish() {
	if w.stopped() {
		panic(http.ErrAbortHandler)
	}
	w.commit(http.StatusOK)
}

// commit reports whether the response is the handler's to write, and asks the owner if
// that is undecided.
func (w *Writer[O]) commit(status int) bool {
	if !w.state.reached(committed) {
		switch status {
		case http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusRequestTimeout:
			w.marks.add(timedOut)
		}
		if w.owner.Commit(status) {
			w.state.raise(committed)
		} else {
			w.Discard()
		}
	}
	return w.open(status)
}

// begin reports whether the handler may write. If not, writeErr is the reason.
func (w *Writer[O]) begin(status int) bool {
	switch {
	case w.stopped():
		return false
	case !w.state.reached(committed):
		return w.commit(status)
	case !w.open(status):
		return false
	case !w.Started():
		w.restoreHeader()
		w.owner.BeforeHeader(w.w.Header())
	}
	return w.open(status)
}

// open reports whether status may be sent, or what follows it.
func (w *Writer[O]) open(status int) bool {
	return !w.Discarding() && (status >= 300 || !w.abandoned())
}

func (w *Writer[O]) markStarted() { w.state.raise(started) }

// writeErr returns the error for a write that begin refused.
func (w *Writer[O]) writeErr() error {
	if err := w.stopErr(); err != nil {
		return err
	}
	return ErrReplaced
}

// Header returns a scratch map once the response has been replaced: if an outer writer
// buffers the response, headers that are set now would still be sent.
func (w *Writer[O]) Header() http.Header {
	switch {
	case w.Discarding():
		return http.Header{}
	case w.abandoned():
		return w.stopper.Load().header
	}
	return w.w.Header()
}

// WriteHeader passes informational statuses on without committing.
func (w *Writer[O]) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.inform(status)
	} else if w.begin(status) {
		w.markStarted()
		w.w.WriteHeader(status)
	}
}

// inform sends an informational response, unless the owner forbids it.
func (w *Writer[O]) inform(status int) {
	if w.stopped() || !w.open(status) {
		return
	}
	h := w.w.Header()
	before := maps.Clone(h)
	if w.owner.BeforeInformational(h) {
		w.marks.add(informed)
		w.w.WriteHeader(status)
	}
	clear(h)
	maps.Copy(h, before)
}

// Write returns [ErrReplaced] if the response has been replaced, or the cause with
// which it was stopped. So do the other methods that return an error.
func (w *Writer[O]) Write(b []byte) (int, error) {
	if !w.begin(http.StatusOK) {
		return 0, w.writeErr()
	}
	w.markStarted()
	return w.w.Write(b)
}

// WriteString spares the conversion to a byte slice.
func (w *Writer[O]) WriteString(s string) (int, error) {
	if !w.begin(http.StatusOK) {
		return 0, w.writeErr()
	}
	w.markStarted()
	return io.WriteString(w.w, s)
}

// ReadFrom lets io.Copy use sendfile and splice, unless the response can be stopped. A
// source that fails before its first byte starts nothing: the handler may still send
// an error.
func (w *Writer[O]) ReadFrom(src io.Reader) (int64, error) {
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
func (w *Writer[O]) Flush() { _ = w.FlushError() }

// FlushError starts nothing if the underlying writer cannot flush.
func (w *Writer[O]) FlushError() error {
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
func (w *Writer[O]) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.stopped() || !w.commit(http.StatusSwitchingProtocols) {
		return nil, nil, w.writeErr()
	}
	if err := w.owner.BeforeHijack(); err != nil {
		return nil, nil, err
	}
	conn, rw, err := http.NewResponseController(w.w).Hijack()
	if err != nil {
		return conn, rw, err
	}
	w.markStarted()
	w.marks.add(hijacked)
	if s := w.stopper.Load(); s != nil {
		conn = s.hijacked(conn)
	}
	return conn, rw, nil
}
