package servers

import (
	"path/filepath"
	"strings"
)

// NginxSite starts nginx with what Debian's configuration includes from /etc/nginx/conf.d. Here
// and in the functions below, ADDR is the server's host and port, PORT that port, and DIR a
// directory that it may write to. There is a cache called "cache".
func NginxSite(t T, site string) *Server {
	t.Helper()
	path := findProgram(t, "nginx", "nginx", "/usr/sbin")
	return startWeb(t, nil, path, `daemon off; master_process off; pid DIR/pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  proxy_cache_path DIR/cache keys_zone=cache:1m;
  CONFIG
}
`, site, "-p", "DIR", "-e", "DIR/error", "-c", "DIR/config")
}

// HAProxySite starts HAProxy with what follows the sections global and defaults.
func HAProxySite(t T, site string) *Server {
	t.Helper()
	path := findProgram(t, "haproxy", "haproxy", "/usr/sbin")
	return startWeb(t, nil, path, `defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
CONFIG
`, site, "-db", "-f", "DIR/config")
}

// CaddySite starts Caddy with the sites of a Caddyfile: for https, unless a site is http://ADDR.
func CaddySite(t T, site string) *Server {
	t.Helper()
	scheme := "https"
	if strings.Contains(site, "http://ADDR") {
		scheme = "http"
	}
	path := findProgram(t, "caddy", "caddy")
	return startWeb(t, nil, path, `{
	admin off
	auto_https disable_redirects
	`+scheme+`_port PORT
}
CONFIG
`, site, "run", "--config", "DIR/config", "--adapter", "caddyfile")
}

// ApacheSite starts the Apache HTTP server with a site, and the modules that site needs.
func ApacheSite(t T, site string, modules ...string) *Server {
	t.Helper()
	path := findProgram(t, "apache2", "apache2", "/usr/sbin")
	load := ""
	for _, name := range modules {
		load += "LoadModule " + name + "_module /usr/lib/apache2/modules/mod_" + name + ".so\n"
	}
	return startWeb(t, lookupUser("www-data"), path, `ServerRoot DIR
ServerName app.example
Listen ADDR
PidFile DIR/pid
ErrorLog DIR/error
DefaultRuntimeDir DIR
Mutex file:DIR default
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
`+load+`CONFIG
`, site, "-X", "-f", "DIR/config")
}

// VarnishSite starts Varnish with a VCL.
func VarnishSite(t T, vcl string) *Server {
	t.Helper()
	path := findProgram(t, "varnishd", "varnish", "/usr/sbin")
	return startWeb(t, nil, path, "CONFIG\n", vcl,
		"-F", "-j", "none", "-a", "ADDR", "-f", "DIR/config", "-n", "DIR/work", "-s", "malloc,16m")
}

// Program starts a program that is no proxy, and that listens on ADDR.
func Program(t T, path string, args ...string) *Server {
	t.Helper()
	path = findProgram(t, filepath.Base(path), "", filepath.Dir(path))
	return startWeb(t, nil, path, "", "", args...)
}
