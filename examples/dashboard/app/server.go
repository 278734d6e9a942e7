package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"time"
)

// A Server serves an App on a port.
type Server struct {
	URL string
	// Warning is a message to show before use, or "".
	Warning string

	http     *http.Server
	listener net.Listener
}

// Listen opens addr for an App. Requests wait until [Server.Serve] is called.
func (a *App) Listen(addr string) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &Server{listener: listener, http: &http.Server{
		Handler: a.handler(),
		// No client can hold a connection by being slow. The event stream takes
		// longer and extends its own write deadline.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}}
	// Shutdown waits for all requests to end, and a stream does not end by itself.
	s.http.RegisterOnShutdown(a.guard.EndStreams)

	at := listener.Addr().(*net.TCPAddr)
	shown := at.String()
	if at.IP.IsUnspecified() {
		shown = fmt.Sprintf("localhost:%d", at.Port)
	}
	s.URL = "http://" + shown
	switch {
	case a.Secure:
		s.URL = "https://" + shown
		s.Warning = "The certificate is self-signed: your browser will warn you."
		if a.Device != 0 {
			s.Warning += "\nChrome then binds no session to its device: /account/device says how to start it for a try."
		}
		host, _, _ := net.SplitHostPort(addr) // valid, because net.Listen accepted it
		certificate, err := selfSigned("localhost", "127.0.0.1", "::1", host, at.IP.String())
		if err != nil {
			listener.Close()
			return nil, err
		}
		s.http.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
		key := sha256.Sum256(certificate.Leaf.RawSubjectPublicKeyInfo)
		a.pin = base64.StdEncoding.EncodeToString(key[:])
	case len(a.Proxies) > 0 && !at.IP.IsLoopback():
		s.Warning = "Plain http: see that only the proxy can connect to this address."
	case !at.IP.IsLoopback():
		s.Warning = "Plain http: anyone on the network can read passwords and take sessions. Use -secure."
	}
	return s, nil
}

// Close closes a Server whose Serve is not called.
func (s *Server) Close() error { return s.listener.Close() }

// Serve serves requests until ctx is done, then shuts down.
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
		s.http.Close() // the remaining requests had five seconds to finish
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// selfSigned returns a certificate for development. It is never written to disk.
func selfSigned(hosts ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	// Firefox refuses a second certificate with the same issuer and serial number, so
	// each run uses its own.
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
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}
