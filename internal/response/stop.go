package response

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A Stopper stops a response that takes long, from another goroutine. It outlives
// the request where the connection was hijacked.
type Stopper struct {
	stopped atomic.Bool
	cause   error // set before stopped

	mu   sync.Mutex
	w    http.ResponseWriter // nil after Release: the server may reuse it
	conn *conn               // nil unless hijacked
}

// released is the Stopper of a Writer that was released before anyone wanted to stop it.
var released = new(Stopper)

// Stopper returns what stops the response. All calls return the same one.
func (w *Writer) Stopper() *Stopper {
	w.stopper.CompareAndSwap(nil, &Stopper{w: w.w})
	if s := w.stopper.Load(); s != released {
		return s
	}
	return new(Stopper)
}

// Release is for the end of the request, after which the underlying writer must not
// be used any more. A hijacked connection can still be stopped.
func (w *Writer) Release() {
	if w.stopper.CompareAndSwap(nil, released) {
		return
	}
	s := w.stopper.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = nil
}

func (w *Writer) stopped() bool {
	s := w.stopper.Load()
	return s != nil && s.stopped.Load()
}

// Stop makes every later write fail with cause, and interrupts one that waits for its
// client. It must be called at most once.
func (s *Stopper) Stop(cause error) {
	s.cause = cause
	s.stopped.Store(true)
	s.interrupt()
}

func (s *Stopper) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { _ = recover() }() // from a foreign writer: on a timer, nobody else would
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

func (s *Stopper) hijacked(raw net.Conn) net.Conn {
	s.mu.Lock()
	s.conn = &conn{Conn: raw}
	s.mu.Unlock()
	if s.stopped.Load() {
		s.interrupt()
	}
	return s.conn
}

// AfterClose calls f when the hijacked connection is closed. It returns false if there
// is none, or it is closed already.
func (s *Stopper) AfterClose(f func()) bool {
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.after = append(c.after, f)
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
	for _, f := range after {
		f()
	}
	return err
}

// A stoppableReader stops an io.Copy, which is one call however long it takes.
type stoppableReader struct {
	io.Reader
	stopper *Stopper
}

func (r stoppableReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if r.stopper.stopped.Load() {
		return 0, r.stopper.cause
	}
	return n, err
}
