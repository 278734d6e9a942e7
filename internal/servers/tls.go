package servers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// A certificate names the PEM files of a server's certificate for 127.0.0.1 and localhost,
// of its key, and of the certificate of the authority that has signed it.
type certificate struct{ certificate, key, authority string }

// makeCertificate writes a certificate, and the key for the server's user, into dir.
func makeCertificate(t T, dir string, user *unixUser) certificate {
	t.Helper()
	c := certificate{filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"), filepath.Join(dir, "authority.pem")}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "servers of tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	authorityKey, serverKey := makeKey(t), makeKey(t)
	signed := func(template *x509.Certificate, key *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), authorityKey)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		name, kind string
		der        []byte
		mode       os.FileMode
	}{
		{c.authority, "CERTIFICATE", signed(authority, authorityKey), 0o644},
		{c.certificate, "CERTIFICATE", signed(server, serverKey), 0o644},
		{c.key, "PRIVATE KEY", keyDER, 0o600},
	} {
		err := os.WriteFile(f.name, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), f.mode)
		if err == nil && user != nil {
			err = os.Chown(f.name, user.uid, user.gid)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func makeKey(t T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// dialTLS connects to a server, and verifies its certificate. greet, which may be nil,
// exchanges what comes before the handshake.
func dialTLS(ctx context.Context, addr, authority string, greet func(net.Conn) error) (net.Conn, error) {
	roots := x509.NewCertPool()
	text, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	roots.AppendCertsFromPEM(text)
	conn, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	if greet != nil {
		err = greet(conn)
	}
	secure := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err == nil {
		err = secure.HandshakeContext(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}
