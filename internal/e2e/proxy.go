package e2e

import (
	"context"
	"crypto/tls"
	_ "embed"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// testProxy is a reverse proxy between the browser and the application. It removes
// protections, adds the sampler to every page, records the requests and can simulate an
// outage.
//
// Each has a loopback address of its own, because browsers share cookies between ports.
type testProxy struct {
	URL        string // without a trailing slash
	protection protection
	library    *library // that every page uses; nil: none
	server     *http.Server
	reverse    *httputil.ReverseProxy

	mu         sync.Mutex
	requests   []*recordedRequest
	online     context.Context // done during an outage
	disconnect context.CancelFunc
}

// recordedRequest is a request that reached the proxy.
type recordedRequest struct {
	Method, Path string // including the query
	Session      bool   // whether it carried a session cookie
	Status       int    // 0 until the application responds
}

//go:embed sampler.js
var sampler []byte

const blankPage = `<!DOCTYPE html><html lang="en"><head>` + samplerTag +
	`<title>Blank</title><link rel="icon" href="data:,"></head><body></body></html>`

// newTestProxy starts a proxy, which runs until [testProxy.Close]. secure reports whether
// the application was started with -secure; browsers then use https as well.
func newTestProxy(backend *url.URL, kept protection, secure bool) (*testProxy, error) {
	listener, err := net.Listen("tcp", nextAddress()+":0")
	if err != nil {
		return nil, err
	}
	p := &testProxy{protection: kept}
	p.online, p.disconnect = context.WithCancel(context.Background())
	p.reverse = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(backend)
			r.Out.Host = r.In.Host
			r.Out.Header.Set("Accept-Encoding", "identity") // editResponse edits the body
		},
		Transport:      &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true},
		ModifyResponse: p.modifyResponse,
		ErrorHandler:   p.handleError,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /e2e/sampler.js", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		// With no-store, every page that loads the script would be excluded from
		// Chromium's back/forward cache.
		w.Header().Set("Cache-Control", "max-age=3600")
		_, _ = w.Write(sampler)
	})
	mux.HandleFunc("GET /e2e/blank", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		// The same policy as the example's. WebKit does not cache a page when the next
		// one has a different policy.
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		_, _ = io.WriteString(w, blankPage)
	})
	mux.HandleFunc("GET /e2e/library.js", func(w http.ResponseWriter, r *http.Request) { p.library.serve(w, r) })
	mux.HandleFunc("/e2e/", http.NotFound)
	mux.HandleFunc("/", p.forward)

	// HTTP/1 only: an HTTP/2 connection cannot be cut for a single request.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	p.server = &http.Server{
		Handler:           mux,
		Protocols:         &protocols,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          p.reverse.ErrorLog, // discards errors about handshakes that browsers abort
	}
	p.URL = "http://" + listener.Addr().String()
	serve := p.server.Serve
	if secure {
		p.URL = "https://" + listener.Addr().String()
		p.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate().tls}}
		serve = func(l net.Listener) error { return p.server.ServeTLS(l, "", "") }
	}
	go func() { _ = serve(listener) }()
	return p, nil
}

var addresses atomic.Uint32

// nextAddress returns the next of the addresses 127.0.1.1 to 127.0.255.254, all of which
// are loopback addresses on Linux.
func nextAddress() string {
	n := addresses.Add(1) - 1
	return net.IPv4(127, 0, byte(1+n/254%255), byte(1+n%254)).String()
}

// forward records a request and passes it on to the application.
func (p *testProxy) forward(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	online := p.online
	request := &recordedRequest{Method: r.Method, Path: r.URL.RequestURI()}
	_, request.Session = sessionCookie(r)
	if online.Err() == nil {
		p.requests = append(p.requests, request)
	}
	p.mu.Unlock()
	if online.Err() != nil {
		hangUp(w)
		return
	}
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), requestKey{}, request))
	defer cancel()
	defer context.AfterFunc(online, cancel)()
	p.reverse.ServeHTTP(w, r.WithContext(ctx))
}

type requestKey struct{}

func (p *testProxy) modifyResponse(response *http.Response) error {
	p.mu.Lock()
	response.Request.Context().Value(requestKey{}).(*recordedRequest).Status = response.StatusCode
	p.mu.Unlock()
	return p.protection.editResponse(response, p.library)
}

// handleError is called if the application does not respond or during an outage.
func (p *testProxy) handleError(w http.ResponseWriter, _ *http.Request, _ error) { hangUp(w) }

// hangUp closes the connection without a response, as an outage does.
func hangUp(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // also closes the connection
	}
	connection.Close()
}

// SetOutage begins or ends an outage, which cuts every connection in use and every new
// one. Paths under /e2e/ are not affected.
func (p *testProxy) SetOutage(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		p.disconnect()
	} else if p.online.Err() != nil {
		p.online, p.disconnect = context.WithCancel(context.Background())
	}
}

// Requests returns the requests since the last ResetRequests, in order, without those
// for paths under /e2e/.
func (p *testProxy) Requests() []recordedRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []recordedRequest
	for _, request := range p.requests {
		all = append(all, *request)
	}
	return all
}

// ResetRequests forgets the recorded requests.
func (p *testProxy) ResetRequests() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

// Requested reports whether path was requested, with or without a query.
func (p *testProxy) Requested(path string) bool {
	return slices.ContainsFunc(p.Requests(), func(r recordedRequest) bool {
		requested, _, _ := strings.Cut(r.Path, "?")
		return requested == path
	})
}

// Close stops the proxy and closes every connection.
func (p *testProxy) Close() error {
	p.disconnect()
	return p.server.Close()
}
