// Dashboard is the whole flow of a small application that people log in to:
// a welcome page, a login that a device may remember, pages by role, an account
// with a password to change, the devices that it is logged in on, a live stream,
// and a logout that is final.
//
//	go run ./examples/dashboard
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "`address` to listen on; port 0 picks a free one")
	var o options
	flag.DurationVar(&o.idle, "idle", 30*time.Minute, "log out after this long without a request")
	flag.DurationVar(&o.absolute, "absolute", 12*time.Hour, "log out this long after the login, whatever happens")
	flag.DurationVar(&o.fresh, "fresh", 5*time.Minute, "ask for the password again before a sensitive change after this long")
	flag.DurationVar(&o.remember, "remember", 14*24*time.Hour, "how long \"Remember me\" keeps a device logged in; 0 takes the checkbox away")
	flag.IntVar(&o.sessions, "sessions", 5, "how many sessions a person may have at once: one more ends the least recently active, and its device is told why; 0 for any number")
	flag.BoolVar(&o.activity, "activity", false, "keys, pointer and touch count as activity, not only requests")
	flag.BoolVar(&o.secure, "secure", false, "https, with a self-signed certificate")
	flag.Parse()
	o.log = slog.Default()

	// The first Ctrl-C stops the server, a second one the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)

	var err error
	if flag.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q (-h shows the flags)", flag.Arg(0))
	} else {
		err = run(ctx, *addr, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, addr string, o options, out io.Writer) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	app, err := newApp(o, newHasher())
	if err != nil {
		return err
	}

	server := &http.Server{
		Handler: app.handler(),
		// Nobody holds a connection by being slow. The event stream, which
		// takes longer, moves its own deadline.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	// Shutdown waits for requests to end, and a stream does not end by itself.
	server.RegisterOnShutdown(app.stop)

	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	at := listener.Addr().(*net.TCPAddr)
	scheme, serve := "http", server.Serve
	if o.secure {
		certificate, err := selfSigned("localhost", "127.0.0.1", "::1", host, at.IP.String())
		if err != nil {
			return err
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
		scheme, serve = "https", func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}

	shown := at.String()
	if at.IP.IsUnspecified() {
		shown = fmt.Sprintf("localhost:%d", at.Port)
	}
	fmt.Fprintf(out, "Listening on %s://%s\n\nLog in as\n", scheme, shown)
	for _, a := range demoAccounts {
		note := ""
		if !a.user.Active {
			note = ", inactive: may not log in"
		}
		fmt.Fprintf(out, "  %-6s %-19s %s%s\n", a.user.ID, a.password, a.user.Role, note)
	}
	if o.secure {
		fmt.Fprintln(out, "\nThe certificate is self-signed: your browser will ask.")
	} else if !at.IP.IsLoopback() {
		fmt.Fprintln(out, "\nPlain http: anyone on the network can read passwords and take sessions. Use -secure.")
	}
	fmt.Fprintln(out, "\nCtrl-C stops.")

	served := make(chan error, 1)
	go func() { served <- serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if server.Shutdown(bounded) != nil {
		server.Close() // whoever is still being served had the time to finish
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	fmt.Fprintln(out, "Stopped.")
	return nil
}
