package servers

// NginxSite starts nginx with what Debian's configuration includes from /etc/nginx/conf.d.
// Here and in CaddySite, ADDR is the server's host and port.
func NginxSite(t T, site string) *Server {
	t.Helper()
	path := findProgram(t, "nginx", "nginx", "/usr/sbin")
	return startWeb(t, nil, path, `daemon off; master_process off; pid DIR/pid; error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
  `+site+`
}
`, "", "", "-p", "DIR", "-e", "DIR/error", "-c", "DIR/config")
}

// CaddySite starts Caddy with the sites of a Caddyfile.
func CaddySite(t T, site string) *Server {
	t.Helper()
	path := findProgram(t, "caddy", "caddy")
	return startWeb(t, nil, path, `{
	admin off
	auto_https disable_redirects
}
`+site+`
`, "", "", "run", "--config", "DIR/config", "--adapter", "caddyfile")
}
