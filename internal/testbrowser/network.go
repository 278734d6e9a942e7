package testbrowser

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
)

// A HandlerTransport calls a handler for every request and returns what the handler wrote.
// No connection is involved, so the handler can neither hijack it nor set deadlines.
type HandlerTransport struct{ http.Handler }

// RoundTrip implements [http.RoundTripper].
func (t HandlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	sent := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.String(), r.Body)
	sent.Header, sent.ContentLength = r.Header.Clone(), r.ContentLength
	t.ServeHTTP(w, sent)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// A PipeListener is a listener on a network in memory. Its connections are made by
// [net.Pipe], which testing/synctest can wait for.
type PipeListener struct {
	addr   pipeAddr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Listen returns a listener whose Addr is addr.
func Listen(addr string) *PipeListener {
	return &PipeListener{addr: pipeAddr(addr), conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements [net.Listener].
func (l *PipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (l *PipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements [net.Listener].
func (l *PipeListener) Addr() net.Addr { return l.addr }

// DialContext connects to the listener whatever the address. It is meant for
// [http.Transport.DialContext].
func (l *PipeListener) DialContext(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }
