package sessionguard

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// writer is the request as an [http.ResponseWriter]. It commits the session at
// the first final status, so that cookies and caching headers are added last
// and a commit that fails can still replace the page: informational answers
// pass through (a ReverseProxy clears the headers after each), and everything
// that can start an answer starts here.
//
// It has the methods that handlers look for by type assertion; the rest is
// reached by http.ResponseController through Unwrap.
type writer request

var (
	_ http.Flusher    = (*writer)(nil)
	_ http.Hijacker   = (*writer)(nil)
	_ http.Pusher     = (*writer)(nil)
	_ io.ReaderFrom   = (*writer)(nil)
	_ io.StringWriter = (*writer)(nil)
)

// errReplaced tells a handler to stop: a refusal was sent in place of its page.
var errReplaced = errors.New("sessionguard: the answer was replaced, since it could not be sent")

// whyNot is why a handler cannot write.
func (w *writer) whyNot() error {
	if (*request)(w).isStopped() {
		return ErrSessionEnded
	}
	return errReplaced
}

// start notes that the final status has gone out.
func (w *writer) start() {
	if !w.started {
		w.mu.Lock()
		w.started = true
		w.mu.Unlock()
	}
}

// body begins an answer that has not had its WriteHeader: w sends it with the
// headers as they are when its first byte comes.
func (w *writer) body(status int) bool {
	if (*request)(w).isStopped() || !(*request)(w).begin(status) {
		return false
	}
	if !w.started {
		(*request)(w).protect()
	}
	return true
}

func (w *writer) Unwrap() http.ResponseWriter { return w.w }

// Header is thrown away once the page is: behind a writer that keeps the answer,
// what is set now would still go out.
func (w *writer) Header() http.Header {
	if w.replaced {
		return http.Header{}
	}
	return w.w.Header()
}

func (w *writer) WriteHeader(code int) {
	if code < 200 && code != http.StatusSwitchingProtocols {
		if !(*request)(w).isStopped() {
			w.w.WriteHeader(code)
		}
	} else if w.body(code) {
		w.start()
		w.w.WriteHeader(code)
	}
}

func (w *writer) Write(b []byte) (int, error) {
	if !w.body(http.StatusOK) {
		return 0, w.whyNot()
	}
	w.start()
	return w.w.Write(b)
}

func (w *writer) WriteString(s string) (int, error) {
	if !w.body(http.StatusOK) {
		return 0, w.whyNot()
	}
	w.start()
	return io.WriteString(w.w, s)
}

// ReadFrom keeps sendfile and splice for io.Copy. A source that fails before
// its first byte has started nothing: the handler may still answer an error.
func (w *writer) ReadFrom(src io.Reader) (int64, error) {
	if !w.body(http.StatusOK) {
		return 0, w.whyNot()
	}
	if a := w.answer.Load(); a != nil {
		src = stoppable{src, a}
	}
	n, err := io.Copy(w.w, src)
	if n > 0 {
		w.start()
	}
	return n, err
}

func (w *writer) Flush() { _ = w.FlushError() }

// FlushError starts nothing either if w cannot flush.
func (w *writer) FlushError() error {
	if !w.body(http.StatusOK) {
		return w.whyNot()
	}
	err := http.NewResponseController(w.w).Flush()
	if err == nil {
		w.start()
	}
	return err
}

// Hijack hands over the connection, for a WebSocket. Where a cookie has to be
// set (after a login, a logout, a visitor's new values) it is refused.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if (*request)(w).isStopped() || !(*request)(w).begin(http.StatusSwitchingProtocols) {
		return nil, nil, w.whyNot()
	}
	if p := w.slow; p != nil && (p.session != keepCookie || p.anonymous != keepCookie) {
		return nil, nil, errors.New("sessionguard: a connection that sets a cookie cannot be hijacked")
	}
	conn, rw, err := http.NewResponseController(w.w).Hijack()
	if err != nil {
		return conn, rw, err
	}
	w.start()
	if a := w.answer.Load(); a != nil {
		conn = a.hijacked(conn)
	}
	return conn, rw, nil
}

func (w *writer) Push(target string, options *http.PushOptions) error {
	if pusher, ok := w.w.(http.Pusher); ok {
		return pusher.Push(target, options)
	}
	return http.ErrNotSupported
}

// An answer is what can be stopped of a request behind CancelOnEnd.
type answer struct {
	stopped atomic.Bool

	mu   sync.Mutex
	w    http.ResponseWriter // nil once the request is over: it may be another's
	conn *conn               // hijacked
}

// noAnswer is that of a request which was over before anyone wanted to stop it.
var noAnswer = new(answer)

// cutAnswer makes the answer of st one that can be stopped.
func (st *request) cutAnswer() *answer {
	st.answer.CompareAndSwap(nil, &answer{w: st.w})
	if a := st.answer.Load(); a != noAnswer {
		return a
	}
	return new(answer)
}

// isStopped says that nothing more may be written.
func (st *request) isStopped() bool {
	a := st.answer.Load()
	return a != nil && a.stopped.Load()
}

// stop keeps the handler from writing any more, also where it waits for its client.
func (a *answer) stop() {
	a.stopped.Store(true)
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { _ = recover() }() // of a writer that is not ours: on a timer, nobody else would
	past := time.Unix(1, 0)
	switch {
	case a.conn != nil:
		_ = a.conn.SetDeadline(past)
		go a.conn.Close() // which may wait for a client that does not read
	case a.w != nil:
		control := http.NewResponseController(a.w)
		_ = control.SetReadDeadline(past)
		_ = control.SetWriteDeadline(past)
	}
}

// release is for the end of the request, after which w is not ours any more.
func (a *answer) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.w = nil
}

// hijacked makes of a connection one that can be stopped.
func (a *answer) hijacked(raw net.Conn) net.Conn {
	a.mu.Lock()
	a.conn = &conn{Conn: raw}
	a.mu.Unlock()
	if a.stopped.Load() {
		a.stop()
	}
	return a.conn
}

// afterClose calls do when the connection that was hijacked is closed. It is false if
// there is none.
func (a *answer) afterClose(do func()) bool {
	a.mu.Lock()
	c := a.conn
	a.mu.Unlock()
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.after = append(c.after, do)
	}
	return !c.closed
}

// conn is a hijacked connection, which may outlive its handler.
type conn struct {
	net.Conn
	mu     sync.Mutex
	closed bool
	after  []func()
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.mu.Lock()
	after := c.after
	c.closed, c.after = true, nil
	c.mu.Unlock()
	for _, do := range after {
		do()
	}
	return err
}

// A stoppable is what a stream is copied from: io.Copy is one call, however long it
// takes.
type stoppable struct {
	io.Reader
	answer *answer
}

func (s stoppable) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if s.answer.stopped.Load() {
		return 0, ErrSessionEnded
	}
	return n, err
}
