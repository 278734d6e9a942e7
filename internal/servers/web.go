package servers

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Nginx starts nginx with a cache called "cache" in front of upstream, a host and port.
// location is what its only location has besides proxy_pass.
func Nginx(t T, upstream, location string) *Server {
	t.Helper()
	return NginxSite(t, `
  upstream app { server `+upstream+`; keepalive 4; }
  server {
    listen ADDR;
    location / {
      proxy_pass http://app;
      proxy_set_header Host $http_host;
      `+location+`
    }
  }`)
}

// HAProxy starts HAProxy in front of upstream, a host and port. lines are added to its
// backend.
func HAProxy(t T, upstream, lines string) *Server {
	t.Helper()
	return HAProxySite(t, `
cache cache
  total-max-size 4
frontend app
  bind ADDR
  default_backend app
backend app
  server app `+upstream+`
  `+lines)
}

// Varnish starts Varnish in front of upstream, a host and port. vcl has its subroutines.
func Varnish(t T, upstream, vcl string) *Server {
	t.Helper()
	host, port, _ := strings.Cut(upstream, ":")
	return VarnishSite(t, `vcl 4.1;
backend default { .host = "`+host+`"; .port = "`+port+`"; }
`+vcl)
}

// Squid starts Squid as a reverse proxy of upstream, a host and port. lines are added to
// its configuration.
func Squid(t T, upstream, lines string) *Server {
	t.Helper()
	path := findProgram(t, "squid", "squid", "/usr/sbin")
	host, port, _ := strings.Cut(upstream, ":")
	return startWeb(t, lookupUser("proxy"), path, `http_port ADDR accel defaultsite=ADDR vhost
cache_peer `+host+` parent `+port+` 0 no-query originserver
http_access allow all
cache_mem 16 MB
pid_filename none
access_log none
cache_log DIR/cache.log
coredump_dir DIR
shutdown_lifetime 0 seconds
CONFIG
`, lines, "-N", "-f", "DIR/config")
}

// Apache starts the Apache HTTP server in front of upstream, a host and port. lines are
// added to its configuration.
func Apache(t T, upstream, lines string) *Server {
	t.Helper()
	return ApacheSite(t, `CacheRoot DIR
ProxyPreserveHost On
ProxyPass / http://`+upstream+`/
`+lines, "proxy", "proxy_http", "cache", "cache_disk")
}

// startWeb starts a server of HTTP with a configuration file: config, in which CONFIG is
// site. In all arguments, DIR is its directory, ADDR its host and port, and PORT that port.
func startWeb(t T, user *unixUser, path, config, site string, args ...string) *Server {
	t.Helper()
	return launch(t, func(port int) *Server {
		dir, addr := makeDataDir(t, user), loopback(port)
		fill := strings.NewReplacer("DIR", dir, "ADDR", addr, "PORT", strconv.Itoa(port)).Replace
		config := fill(strings.ReplaceAll(config, "CONFIG", site))
		if err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		filled := make([]string, len(args))
		for i, arg := range args {
			filled[i] = fill(arg)
		}
		return &Server{
			Addr:    addr,
			program: program{dir: dir, user: user, path: path, args: filled},
			ready: func(ctx context.Context) error {
				conn, err := dial(ctx, addr)
				if err == nil {
					conn.Close()
				}
				return err
			},
		}
	})
}
