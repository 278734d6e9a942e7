package proxies

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

const (
	origin = "https://app.example.com"
	client = "127.0.0.2" // the address that browsers connect from
	forged = "203.0.113.9"
)

// A site is a proxy that is configured as docs/proxies.md says. The document has its
// configuration in a code block of its language. The fields after start are changes to it:
// old, new, old, new … What is between ‹ and › in new is in the document too.
type site struct {
	name, language string
	protocols      []string // besides HTTP/1.1 and HTTP/2
	start          func(t *testing.T, config string) *servers.Server

	run         []string // for this machine, with http on another loopback address
	prefix      []string // "/app" is removed
	nodes       []string // there are two
	upload      []string // it may be long
	changedHost []string // the application gets another Host
	cache       []string // what may be cached is, and its headers say so
}

var haproxy = site{
	name: "HAProxy", language: "haproxy",
	start: func(t *testing.T, config string) *servers.Server { return servers.HAProxySite(t, config) },
	run:   []string{"bind :80\n", "bind 127.0.0.3:PORT\n", "bind :443 ", "bind ADDR "},
	prefix: []string{"default_backend app", "‹use_backend app if { path_beg /app/ }›",
		"backend app\n  server", "backend app\n  ‹http-request replace-path /app(/.*) \\1›\n  server"},
	nodes:       []string{"server app1 127.0.0.1:8080", "server app1 127.0.0.1:8080\n  server app2 127.0.0.1:8081"},
	changedHost: []string{"option forwardfor", "option forwardfor\n  http-request set-header Host app"},
	cache: []string{"\nbackend app\n", `
cache cache
  total-max-size 4
backend app
  http-request cache-use cache
  http-response cache-store cache
  http-response set-header X-Cache HIT unless { srv_id -m found }
`},
}

var sites = []site{
	{
		name: "nginx", language: "nginx",
		start:       func(t *testing.T, config string) *servers.Server { return servers.NginxSite(t, config) },
		run:         []string{"listen 80;", "listen 127.0.0.3:PORT;", "listen 443 ssl http2;", "listen ADDR ssl http2;"},
		prefix:      []string{"location / {", "‹location /app/ {›", "proxy_pass http://app;", "‹proxy_pass http://app/;›"},
		nodes:       []string{"server 127.0.0.1:8080;", "server 127.0.0.1:8080; server 127.0.0.1:8081;"},
		upload:      []string{"proxy_pass", "‹proxy_request_buffering off;›\n    ‹client_max_body_size 1g;›\n    proxy_pass"},
		changedHost: []string{"proxy_set_header Host $http_host;", ""},
		cache: []string{"proxy_pass", `proxy_cache cache; proxy_cache_valid any 1h;
			add_header X-Cache $upstream_cache_status; proxy_pass`},
	},
	haproxy,
	{
		name: "Caddy", language: "caddyfile", protocols: []string{"HTTP/3.0"},
		start:       func(t *testing.T, config string) *servers.Server { return servers.CaddySite(t, config) },
		run:         []string{"\treverse_proxy", "\tbind 127.0.0.1\n\ttls /etc/ssl/app/cert.pem /etc/ssl/app/key.pem\n\treverse_proxy"},
		prefix:      []string{"\treverse_proxy 127.0.0.1:8080", "\t‹handle_path /app/* {›\n\treverse_proxy 127.0.0.1:8080\n\t}"},
		nodes:       []string{"127.0.0.1:8080", "127.0.0.1:8080 127.0.0.1:8081"},
		changedHost: []string{"127.0.0.1:8080", "127.0.0.1:8080 {\n\theader_up Host {upstream_hostport}\n\t}"},
	},
	{
		name: "Apache", language: "apache",
		start: func(t *testing.T, config string) *servers.Server {
			return servers.ApacheSite(t, config, "alias", "ssl", "socache_shmcb", "http2", "proxy", "proxy_http", "slotmem_shm",
				"proxy_balancer", "lbmethod_byrequests", "cache", "cache_disk")
		},
		run: []string{"<VirtualHost *:80>", "Listen 127.0.0.3:PORT\n<VirtualHost 127.0.0.3:PORT>",
			"<VirtualHost *:443>", "<VirtualHost ADDR>"},
		prefix: []string{"ProxyPass / http://127.0.0.1:8080/", "‹ProxyPass /app/ http://127.0.0.1:8080/›"},
		nodes: []string{"ProxyPass / http://127.0.0.1:8080/ upgrade=websocket flushpackets=on timeout=3600", `
  ‹<Proxy balancer://app>›
    ‹BalancerMember http://127.0.0.1:8080 upgrade=websocket flushpackets=on timeout=3600›
    ‹BalancerMember http://127.0.0.1:8081 upgrade=websocket flushpackets=on timeout=3600›
  ‹</Proxy>›
  ‹ProxyPass / balancer://app/›`},
		changedHost: []string{"ProxyPreserveHost On", "ProxyPreserveHost Off"},
		cache:       []string{"ProxyPreserveHost", "CacheRoot DIR\nCacheEnable disk /\nCacheHeader on\nProxyPreserveHost"},
	},
	{
		name: "Varnish", language: "vcl",
		start: func(t *testing.T, config string) *servers.Server {
			varnish := servers.VarnishSite(t, config)
			front := changed(t, haproxy.document(t), haproxy.run)
			return haproxy.start(t, changed(t, front, []string{"server app1 127.0.0.1:8080", "server varnish " + varnish.Addr}))
		},
		prefix: []string{"sub vcl_recv {", "sub vcl_recv {\n  ‹set req.url = regsub(req.url, \"^/app/\", \"/\");›"},
		nodes: []string{"sub vcl_recv {", `
‹import directors;›
‹backend second { .host = "127.0.0.1"; .port = "8081"; .between_bytes_timeout = 1h; }›
‹sub vcl_init {›
  ‹new nodes = directors.round_robin();›
  ‹nodes.add_backend(default);›
  ‹nodes.add_backend(second);›
}
sub vcl_recv {
  ‹set req.backend_hint = nodes.backend();›`},
		changedHost: []string{"sub vcl_recv {", "sub vcl_recv {\n  set req.http.Host = \"app\";"},
		cache:       []string{}, // it is one
	},
}

var readDocument = sync.OnceValues(func() ([]byte, error) { return os.ReadFile("../../docs/proxies.md") })

// document returns the site's configuration as the document has it.
func (s site) document(t *testing.T) string {
	t.Helper()
	text, err := readDocument()
	require.NoError(t, err)
	_, block, found := strings.Cut(string(text), "\n```"+s.language+"\n")
	require.True(t, found)
	block, _, found = strings.Cut(block, "\n```\n")
	require.True(t, found)
	return block + "\n"
}

// changed returns a configuration with changes.
func changed(t *testing.T, config string, changes []string) string {
	t.Helper()
	text, err := readDocument()
	require.NoError(t, err)
	for i := 0; i < len(changes); i += 2 {
		parts := strings.FieldsFunc(changes[i+1], func(c rune) bool { return c == '›' })
		for j, part := range parts {
			if before, quoted, ok := strings.Cut(part, "‹"); ok {
				require.Contains(t, string(text), quoted)
				parts[j] = before + quoted
			}
		}
		require.Equal(t, 1, strings.Count(config, changes[i]), changes[i])
		config = strings.Replace(config, changes[i], strings.Join(parts, ""), 1)
	}
	return strings.ReplaceAll(config, "/etc/ssl/app", certificate(t).dir)
}

// serve starts the proxy in front of applications, with changes to the configuration.
func (s site) serve(t *testing.T, upstreams []string, changes ...string) *servers.Server {
	t.Helper()
	config := changed(t, changed(t, s.document(t), s.run), changes)
	for i, upstream := range upstreams {
		_, port, err := net.SplitHostPort(upstream)
		require.NoError(t, err)
		as := []string{"8080", "8081"}[i]
		config = strings.NewReplacer("127.0.0.1:"+as, upstream, `"`+as+`"`, `"`+port+`"`).Replace(config)
	}
	return s.start(t, config)
}

// A certified is a certificate for app.example.com, in files that every user can read.
type certified struct {
	dir   string
	roots *x509.CertPool
}

// certificate returns the certificate of all tests.
func certificate(t *testing.T) certified {
	t.Helper()
	c, err := makeCertificate()
	require.NoError(t, err)
	return c
}

var makeCertificate = sync.OnceValues(func() (certified, error) {
	c := certified{dir: filepath.Join(files, "certificate"), roots: x509.NewCertPool()}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"app.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return c, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return c, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	c.roots.AppendCertsFromPEM(certPEM)
	err = os.Mkdir(c.dir, 0o755)
	for name, text := range map[string][]byte{"cert.pem": certPEM, "key.pem": keyPEM, "both.pem": append(certPEM, keyPEM...)} {
		err = errors.Join(err, os.WriteFile(filepath.Join(c.dir, name), text, 0o644))
	}
	return c, err
})

// browseTLS returns a browser at https://app.example.com, where the proxy is. It sends the
// header Origin, and no Sec-Fetch-Site, as browsers did before 2023. It also claims to be
// somebody else.
func browseTLS(t *testing.T, proxy *servers.Server, protocol string) *testbrowser.Browser {
	t.Helper()
	b := testbrowser.New(t, origin, transport(t, proxy, protocol))
	b.Header.Set("Origin", origin)
	b.Header.Set("X-Forwarded-For", forged)
	return b
}

func transport(t *testing.T, proxy *servers.Server, protocol string) http.RoundTripper {
	config := &tls.Config{RootCAs: certificate(t).roots}
	if protocol == "HTTP/3.0" {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(client)})
		require.NoError(t, err)
		transport := &http3.Transport{
			TLSClientConfig: config,
			Dial: func(ctx context.Context, _ string, config *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
				addr, err := net.ResolveUDPAddr("udp", proxy.Addr)
				if err != nil {
					return nil, err
				}
				return quic.DialEarly(ctx, conn, addr, config, quicConfig)
			},
		}
		t.Cleanup(func() { transport.Close(); conn.Close() })
		return transport
	}
	var protocols http.Protocols
	protocols.SetHTTP1(protocol == "HTTP/1.1")
	protocols.SetHTTP2(protocol == "HTTP/2.0")
	transport := &http.Transport{
		TLSClientConfig: config,
		Protocols:       &protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialFrom(client).DialContext(ctx, "tcp", proxy.Addr)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func dialFrom(address string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
}

// build returns the path of an example's program.
func build(t *testing.T, example string) string {
	t.Helper()
	path, err := builds[example]()
	require.NoError(t, err)
	return path
}

var builds = map[string]func() (string, error){
	"dashboard": sync.OnceValues(func() (string, error) { return buildExample("dashboard") }),
	"cluster":   sync.OnceValues(func() (string, error) { return buildExample("cluster") }),
}

func buildExample(name string) (string, error) {
	path := filepath.Join(files, name)
	out, err := exec.Command("go", "-C", "../../examples/"+name, "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, err
}

// files is a directory for files that all tests share.
var files string

func TestMain(m *testing.M) {
	var err error
	if files, err = os.MkdirTemp("", "sessionguard-*"); err == nil {
		err = os.Chmod(files, 0o755)
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(files)
	os.Exit(code)
}
