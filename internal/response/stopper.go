package response

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A Stopper stops the response of one Writer from another goroutine. It outlives the
// request if the connection was hijacked.
//
// Its mutex is held while the underlying writer's deadlines are set, and nothing of this
// package is locked meanwhile. Hooks and the functions of AfterClose run without it.
type Stopper struct {
	cause atomic.Pointer[error] // nil until Stop; then it never changes

	mu    sync.Mutex
	w     http.ResponseWriter // nil after Release: the server reuses it
	conn  *conn               // nil unless hijacked
	after []func()            // to call when Stop is

	header http.Header // of a Writer that was abandoned: it has no room for it
}

// released marks a Writer that was released before a Stopper was created.
var released = new(Stopper)

// Stopper returns the Writer's Stopper. It must be called before the handler whose
// response may be stopped. All calls return the same one, except that those after
// Release may return one that stops nothing.
func (w *Writer[O]) Stopper() *Stopper {
	w.stopper.CompareAndSwap(nil, &Stopper{w: w.w})
	if s := w.stopper.Load(); s != released {
		return s
	}
	return new(Stopper)
}

// Release must be called at the end of the request. The Stopper does not use the
// underlying writer any more when it returns. A hijacked connection can still be
// stopped.
func (w *Writer[O]) Release() {
	w.marks.add(over)
	if w.stopper.CompareAndSwap(nil, released) {
		return
	}
	s := w.stopper.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = nil
}

func (w *Writer[O]) stopped() bool { return w.stopErr() != nil }

func (w *Writer[O]) stopErr() error {
	if s := w.stopper.Load(); s != nil {
		return s.stopErr()
	}
	return nil
}

// stopErr returns the cause given to Stop, or nil if the response was not stopped.
func (s *Stopper) stopErr() error {
	if cause := s.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// Stop makes every later write fail with cause, which must not be nil, interrupts reads
// and writes that wait for the client, and closes a hijacked connection. The first of
// several calls gives the cause.
func (s *Stopper) Stop(cause error) {
	s.cause.CompareAndSwap(nil, &cause)
	s.interrupt()
	s.mu.Lock()
	after := s.after
	s.after = nil
	s.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// afterStop arranges for f to be called when the response is stopped, or at once if it was.
func (s *Stopper) afterStop(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopErr() != nil {
		f()
		return
	}
	s.after = append(s.after, f)
}

func (s *Stopper) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Stop runs on a timer, where nothing else recovers the panic of a foreign writer.
	defer func() { _ = recover() }()
	past := time.Unix(1, 0)
	switch {
	case s.conn != nil:
		_ = s.conn.SetDeadline(past)
		go s.conn.Close() // which may wait for a client that does not read
	case s.w != nil:
		control := http.NewResponseController(s.w)
		_ = control.SetReadDeadline(past)
		_ = control.SetWriteDeadline(past)
	}
}

// hijacked wraps a connection so that Stop can close it.
func (s *Stopper) hijacked(raw net.Conn) net.Conn {
	c := &conn{Conn: raw}
	s.mu.Lock()
	s.conn = c
	s.mu.Unlock()
	if s.stopErr() != nil { // it was stopped after Hijack checked
		s.interrupt()
	}
	return c
}

// AfterClose arranges for f to be called once the hijacked connection is closed, and
// returns true. If the connection was not hijacked, or is already closed, it returns
// false and f is not called.
func (s *Stopper) AfterClose(f func()) bool {
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	return c != nil && c.afterClose(f)
}

// conn is a hijacked connection, which may outlive its handler.
type conn struct {
	net.Conn
	mu     sync.Mutex
	closed bool
	after  []func()
}

// Close calls the functions of AfterClose once, however often it is called.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.mu.Lock()
	after := c.after
	c.closed, c.after = true, nil
	c.mu.Unlock()
	for _, f := range after {
		f()
	}
	return err
}

func (c *conn) afterClose(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.after = append(c.after, f)
	}
	return !c.closed
}

// A stoppableReader ends an io.Copy, which is one call however long it takes.
type stoppableReader struct {
	io.Reader
	stopper *Stopper
}

func (r stoppableReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if cause := r.stopper.stopErr(); cause != nil {
		return 0, cause
	}
	return n, err
}
