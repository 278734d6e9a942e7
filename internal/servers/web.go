package servers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// Nginx starts nginx with a cache called "cache" in front of upstream, a host and port.
// location is what its only location has besides proxy_pass.
func Nginx(t T, upstream, location string) *Server {
	t.Helper()
	path := findProgram(t, "nginx", "nginx", "/usr/sbin")
	return startWeb(t, nil, path, `daemon off; master_process off; pid DIR/pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  proxy_cache_path DIR/cache keys_zone=cache:1m;
  upstream app { server UPSTREAM; keepalive 4; }
  server {
    listen ADDR;
    location / {
      proxy_pass http://app;
      proxy_set_header Host $http_host;
      CONFIG
    }
  }
}
`, upstream, location, "-p", "DIR", "-e", "DIR/error", "-c", "DIR/config")
}

// Varnish starts Varnish in front of upstream, a host and port. vcl has its subroutines.
func Varnish(t T, upstream, vcl string) *Server {
	t.Helper()
	path := findProgram(t, "varnishd", "varnish", "/usr/sbin")
	host, port, _ := strings.Cut(upstream, ":")
	return startWeb(t, nil, path, `vcl 4.1;
backend default { .host = "`+host+`"; .port = "`+port+`"; }
CONFIG
`, upstream, vcl, "-F", "-j", "none", "-a", "ADDR", "-f", "DIR/config", "-n", "DIR/work", "-s", "malloc,16m")
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
`, upstream, lines, "-N", "-f", "DIR/config")
}

// Apache starts the Apache HTTP server in front of upstream, a host and port. lines are
// added to its configuration.
func Apache(t T, upstream, lines string) *Server {
	t.Helper()
	path := findProgram(t, "apache2", "apache2", "/usr/sbin")
	return startWeb(t, lookupUser("www-data"), path, `ServerRoot DIR
ServerName app.example
Listen ADDR
PidFile DIR/pid
ErrorLog DIR/error
DefaultRuntimeDir DIR
Mutex file:DIR default
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule cache_module /usr/lib/apache2/modules/mod_cache.so
LoadModule cache_disk_module /usr/lib/apache2/modules/mod_cache_disk.so
CacheRoot DIR
ProxyPreserveHost On
ProxyPass / http://UPSTREAM/
CONFIG
`, upstream, lines, "-X", "-f", "DIR/config")
}

// startWeb starts a server of HTTP with a configuration file. In config and args, DIR is its
// directory and ADDR its host and port; in config, UPSTREAM and CONFIG are the arguments.
func startWeb(t T, user *unixUser, path, config, upstream, extra string, args ...string) *Server {
	t.Helper()
	return launch(t, func(port int) *Server {
		dir, addr := makeDataDir(t, user), loopback(port)
		fill := strings.NewReplacer("DIR", dir, "ADDR", addr, "UPSTREAM", upstream, "CONFIG", extra).Replace
		if err := os.WriteFile(filepath.Join(dir, "config"), []byte(fill(config)), 0o644); err != nil {
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
