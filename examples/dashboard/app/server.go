package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"time"
)

// A Server is an App on a port.
type Server struct {
	URL string
	// Warning is what to know before one uses it, or "".
	Warning string

	http     *http.Server
	listener net.Listener
}

// Listen opens addr. Requests wait for [Server.Serve].
func (a *App) Listen(addr string) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{listener: listener, http: &http.Server{
		Handler: a.handler(),
		// Nobody holds a connection by being slow. The event stream, which
		// takes longer, moves its own deadline.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}}
	// Shutdown waits for requests to end, and a stream does not end by itself.
	s.http.RegisterOnShutdown(a.stop)

	at := listener.Addr().(*net.TCPAddr)
	shown := at.String()
	if at.IP.IsUnspecified() {
		shown = fmt.Sprintf("localhost:%d", at.Port)
	}
	s.URL = "http://" + shown
	switch {
	case a.Secure:
		s.URL = "https://" + shown
		s.Warning = "The certificate is self-signed: your browser will ask."
		host, _, _ := net.SplitHostPort(addr) // Listen has found no mistake in it
		certificate, err := selfSigned("localhost", "127.0.0.1", "::1", host, at.IP.String())
		if err != nil {
			listener.Close()
			return nil, err
		}
		s.http.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
	case !at.IP.IsLoopback():
		s.Warning = "Plain http: anyone on the network can read passwords and take sessions. Use -secure."
	}
	return s, nil
}

// Close gives up a Server that is not going to Serve.
func (s *Server) Close() error { return s.listener.Close() }

// Serve answers requests until ctx is done.
func (s *Server) Serve(ctx context.Context) error {
	served := make(chan error, 1)
	go func() {
		if s.http.TLSConfig != nil {
			served <- s.http.ServeTLS(s.listener, "", "")
		} else {
			served <- s.http.Serve(s.listener)
		}
	}()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if s.http.Shutdown(bounded) != nil {
		s.http.Close() // whoever is still being served had the time to finish
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// selfSigned makes a certificate for development that is never written to disk.
func selfSigned(hosts ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	// Firefox refuses a second certificate with a serial it has seen from the
	// same issuer, so each run needs its own.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "dashboard example"},
		NotBefore:    time.Now().Add(-time.Hour), // for clocks that are behind
		NotAfter:     time.Now().AddDate(0, 0, 7),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if host != "" {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
