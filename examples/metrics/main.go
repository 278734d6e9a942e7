// Metrics is a protected server that says how its sessions are: a page for people on one port,
// and /metrics for Prometheus on another, which only the operators can reach.
//
//	go -C examples/metrics run .
//
// What an application takes over is [observe] and [meter] (prometheus.go), or [observeOTel]
// and [meterOTel] (opentelemetry.go).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	port := flag.Int("port", 8080, "`port` of the application; 0 picks a free one")
	metricsPort := flag.Int("metrics-port", 9100, "`port` of the metrics; 0 picks a free one")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *port, *metricsPort, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
}

// run serves the application and its metrics until ctx is done.
func run(ctx context.Context, port, metricsPort int, out io.Writer) error {
	app, err := newApp()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 2)
	for _, s := range []struct {
		name    string
		port    int
		handler http.Handler
	}{{"Listening", port, app.pages}, {"Metrics", metricsPort, app.metrics}} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err != nil {
			return err
		}
		server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 5 * time.Second}
		server.RegisterOnShutdown(app.guard.EndStreams)
		context.AfterFunc(ctx, func() { _ = server.Shutdown(context.Background()) })
		go func() {
			defer stop() // the other one
			served <- server.Serve(l)
		}()
		fmt.Fprintf(out, "%s on http://%s\n", s.name, l.Addr())
	}
	fmt.Fprintln(out, "Log in as ada with any password. Ctrl-C stops.")
	for range 2 {
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
	}
	fmt.Fprintln(out, "Stopped.")
	return nil
}
