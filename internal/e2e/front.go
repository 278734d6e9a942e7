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

// front is a server before the application, between it and the browser: it
// takes protections out, adds the sampler to every page, records what was asked
// for, and can cut the line.
//
// Each has an address of its own on loopback, because browsers share cookies
// between ports.
type front struct {
	URL        string // without a slash at its end
	protection protection
	server     *http.Server
	proxy      *httputil.ReverseProxy

	mu   sync.Mutex
	seen []*seen
	line context.Context // done during an outage
	cut  context.CancelFunc
}

// seen is a request that reached the server.
type seen struct {
	Method, Path string // with the query
	Session      bool   // it came with a session cookie
	Status       int    // 0 until it is answered
}

//go:embed sampler.js
var sampler []byte

const blankPage = `<!DOCTYPE html><html lang="en"><head>` + samplerTag +
	`<title>Blank</title><link rel="icon" href="data:,"></head><body></body></html>`

// newFront serves until [front.Close]. secure says that the application was
// started with -secure, and that browsers are to use https as well.
func newFront(backend *url.URL, p protection, secure bool) (*front, error) {
	listener, err := net.Listen("tcp", nextAddress()+":0")
	if err != nil {
		return nil, err
	}
	f := &front{protection: p}
	f.line, f.cut = context.WithCancel(context.Background())
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(backend)
			r.Out.Host = r.In.Host
			r.Out.Header.Set("Accept-Encoding", "identity") // to be edited
		},
		Transport:      &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true},
		ModifyResponse: f.answered,
		ErrorHandler:   f.failed,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /e2e/sampler.js", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		// A page that has loaded anything with no-store is not eligible for
		// Chromium's back/forward cache.
		w.Header().Set("Cache-Control", "max-age=3600")
		_, _ = w.Write(sampler)
	})
	mux.HandleFunc("GET /e2e/blank", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		// As the example: WebKit keeps no page that is left for one with
		// another policy.
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		_, _ = io.WriteString(w, blankPage)
	})
	mux.HandleFunc("/e2e/", http.NotFound)
	mux.HandleFunc("/", f.forward)

	// HTTP/1 only: a connection of HTTP/2 cannot be cut for one request.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	f.server = &http.Server{
		Handler:           mux,
		Protocols:         &protocols,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          f.proxy.ErrorLog, // handshakes that browsers break off
	}
	f.URL = "http://" + listener.Addr().String()
	serve := f.server.Serve
	if secure {
		f.URL = "https://" + listener.Addr().String()
		f.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate().tls}}
		serve = func(l net.Listener) error { return f.server.ServeTLS(l, "", "") }
	}
	go func() { _ = serve(listener) }()
	return f, nil
}

var addresses atomic.Uint32

// nextAddress is one of 127.0.1.1 to 127.0.255.254, which Linux all has.
func nextAddress() string {
	n := addresses.Add(1) - 1
	return net.IPv4(127, 0, byte(1+n/254%255), byte(1+n%254)).String()
}

// forward passes a request on, and records it.
func (f *front) forward(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	line := f.line
	request := &seen{Method: r.Method, Path: r.URL.RequestURI()}
	_, request.Session = sessionCookie(r)
	if line.Err() == nil {
		f.seen = append(f.seen, request)
	}
	f.mu.Unlock()
	if line.Err() != nil {
		hangUp(w)
		return
	}
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), seenKey{}, request))
	defer cancel()
	defer context.AfterFunc(line, cancel)()
	f.proxy.ServeHTTP(w, r.WithContext(ctx))
}

type seenKey struct{}

// answered is the proxy's ModifyResponse.
func (f *front) answered(answer *http.Response) error {
	f.mu.Lock()
	answer.Request.Context().Value(seenKey{}).(*seen).Status = answer.StatusCode
	f.mu.Unlock()
	return f.protection.edit(answer)
}

// failed is the proxy's ErrorHandler: the application, or the line to it, is down.
func (f *front) failed(w http.ResponseWriter, _ *http.Request, _ error) { hangUp(w) }

// hangUp closes the connection without an answer, as an outage does.
func hangUp(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // closes it as well
	}
	connection.Close()
}

// Outage cuts every connection, those in use included, and every new one until
// it is over. What is under /e2e/ goes on.
func (f *front) Outage(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if on {
		f.cut()
	} else if f.line.Err() != nil {
		f.line, f.cut = context.WithCancel(context.Background())
	}
}

// Seen is what the server was asked for since the last Reset, in that order and
// without what is under /e2e/.
func (f *front) Seen() []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []seen
	for _, request := range f.seen {
		all = append(all, *request)
	}
	return all
}

// Reset forgets what was seen.
func (f *front) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = nil
}

// Asked says whether a path was asked for, with or without a query.
func (f *front) Asked(path string) bool {
	return slices.ContainsFunc(f.Seen(), func(s seen) bool {
		asked, _, _ := strings.Cut(s.Path, "?")
		return asked == path
	})
}

// Close ends every connection.
func (f *front) Close() error {
	f.cut()
	return f.server.Close()
}
