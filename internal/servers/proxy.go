package servers

import (
	"net"
	"sync"
)

// A Proxy stands for the network in front of a server. Clients connect to it, and tests
// break it.
type Proxy struct {
	// Addr is the host and port that clients connect to.
	Addr string

	mu         sync.Mutex
	server     string
	listener   net.Listener // nil while cut
	conns      map[net.Conn]struct{}
	delivering chan struct{} // closed unless stalled
}

// NewProxy returns a proxy in front of the server at addr.
func NewProxy(t T, addr string) *Proxy {
	t.Helper()
	p := &Proxy{Addr: loopback(freePort()), server: addr, conns: map[net.Conn]struct{}{}, delivering: make(chan struct{})}
	close(p.delivering)
	if err := p.Restore(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Cut() })
	return p
}

// Cut resets all connections at once and refuses new ones.
func (p *Proxy) Cut() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	for c := range p.conns {
		_ = c.(*net.TCPConn).SetLinger(0) // a reset, as if the machine were gone
		_ = c.Close()
	}
	p.resumeDelivery()
	return nil
}

// Stall makes the proxy accept connections but deliver nothing, like a network that loses
// every packet.
func (p *Proxy) Stall() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.delivering:
		p.delivering = make(chan struct{})
	default:
	}
	return nil
}

// Restore ends a Cut or a Stall. It delivers what a Stall has held back.
func (p *Proxy) Restore() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resumeDelivery()
	if p.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", p.Addr)
	if err == nil {
		p.listener = l
		go p.accept(l)
	}
	return err
}

// Switch makes the proxy stand in front of another server, for new connections.
func (p *Proxy) Switch(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = addr
}

func (p *Proxy) addrOfServer() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.server
}

func (p *Proxy) resumeDelivery() {
	select {
	case <-p.delivering:
	default:
		close(p.delivering)
	}
}

func (p *Proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		go p.serve(l, client)
	}
}

func (p *Proxy) serve(l net.Listener, client net.Conn) {
	p.awaitDelivery()
	server, err := net.Dial("tcp", p.addrOfServer())
	if err != nil {
		_ = client.Close()
		return
	}
	if !p.add(l, client, server) {
		return
	}
	go p.copy(client, server)
	p.copy(server, client)
}

// add registers connections for Cut. If there has been a Cut since they were accepted on l,
// it closes them and returns false.
func (p *Proxy) add(l net.Listener, conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.listener != l {
			_ = c.Close()
		} else {
			p.conns[c] = struct{}{}
		}
	}
	return p.listener == l
}

func (p *Proxy) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.awaitDelivery()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range []net.Conn{to, from} {
		_ = c.Close()
		delete(p.conns, c)
	}
}

func (p *Proxy) awaitDelivery() {
	p.mu.Lock()
	delivering := p.delivering
	p.mu.Unlock()
	<-delivering
}

// A Remote is a server behind a network; tests can break both.
type Remote struct {
	*Server
	*Proxy
}

// NewRemote puts a proxy in front of a server.
func NewRemote(t T, s *Server) Remote {
	t.Helper()
	return Remote{s, NewProxy(t, s.Addr)}
}

// DSN returns the data source name of the server through the proxy.
func (r Remote) DSN() string { return r.Server.DSN(r.Proxy.Addr) }
