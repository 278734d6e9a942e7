// Signin is an application that shows the ways in which people log in: a password with a code
// of an authenticator app, passkeys, and an OpenID provider. The provider runs in the same
// process. The application is in package app, the provider in package provider.
//
//	go -C examples/signin run .
package main

import (
	"context"
	"crypto/rand"
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

	dashboard "github.com/sessionguard-go/sessionguard/examples/dashboard/app"
	"github.com/sessionguard-go/sessionguard/examples/signin/app"
	"github.com/sessionguard-go/sessionguard/examples/signin/provider"
)

func main() {
	port := flag.Int("port", 8080, "`port` of the application; 0 picks a free one")
	providerPort := flag.Int("provider-port", 8090, "`port` of the OpenID provider; 0 picks a free one")
	flag.Parse()

	// The first Ctrl-C shuts the servers down, the second one ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)

	var err error
	if flag.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q (-h shows the flags)", flag.Arg(0))
	} else {
		err = run(ctx, *port, *providerPort, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "signin:", err)
		os.Exit(1)
	}
}

// run serves the application and the provider until ctx is done.
func run(ctx context.Context, port, providerPort int, out io.Writer) error {
	// Both are needed before either can be configured: each has to know the other's address.
	listener, err := listen(port)
	if err != nil {
		return err
	}
	defer listener.Close()
	providerListener, err := listen(providerPort)
	if err != nil {
		return err
	}
	defer providerListener.Close()

	users, err := dashboard.NewDirectory()
	if err != nil {
		return err
	}
	// A passkey is good for a name and not for an address. To a browser, the provider's
	// address is another site, as it is anywhere but here.
	origin := fmt.Sprintf("http://localhost:%d", portOf(listener))
	issuer := fmt.Sprintf("http://127.0.0.1:%d", portOf(providerListener))
	client := newClient(origin)
	id, err := provider.New(provider.Options{Issuer: issuer, Client: client, Users: users})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 2)
	go serveUntil(ctx, stop, providerListener, &http.Server{Handler: id.Handler()}, served)

	signin, err := app.New(ctx, app.Options{Origin: origin, Accounts: users, Provider: app.ProviderOptions{
		Issuer:       issuer,
		ClientID:     client.ID,
		ClientSecret: client.Secret,
		Subjects:     provider.Subjects(),
	}})
	if err != nil {
		return err
	}
	server := &http.Server{Handler: signin.Handler()}
	server.RegisterOnShutdown(signin.EndStreams)
	go serveUntil(ctx, stop, listener, server, served)

	fmt.Fprintf(out, "Listening on %s\n\nLog in as\n%s", origin, dashboard.Accounts())
	fmt.Fprintf(out, "\nThe OpenID provider, Example ID, is on %s and has the same accounts.\n\nCtrl-C stops.\n", issuer)
	if err := errors.Join(<-served, <-served); err != nil {
		return err
	}
	fmt.Fprintln(out, "Stopped.")
	return nil
}

// newClient is what the provider knows of the application.
func newClient(origin string) provider.Client {
	return provider.Client{
		ID:                   "signin",
		Secret:               rand.Text(),
		Origin:               origin,
		RedirectURI:          origin + app.CallbackPath,
		PostLogoutURI:        origin + app.PostLogoutPath,
		BackChannelLogoutURI: origin + app.BackChannelLogoutPath,
	}
}

// listen opens a port for this machine alone.
func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// serveUntil serves requests until ctx is done, or fails and stops the other server too.
func serveUntil(ctx context.Context, stop func(), l net.Listener, server *http.Server, served chan<- error) {
	defer stop()
	server.ReadHeaderTimeout, server.ReadTimeout = 5*time.Second, 15*time.Second
	server.WriteTimeout, server.IdleTimeout = 30*time.Second, 2*time.Minute
	ended := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(ended)
		bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if server.Shutdown(bounded) != nil {
			server.Close() // the remaining requests had five seconds to finish
		}
	})
	err := server.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	} else {
		stop()
	}
	<-ended
	served <- err
}
