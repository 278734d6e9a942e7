// Dashboard is a small but complete application with a login: a welcome page, "Remember
// me", pages by role, an account page with a change of password, a list of the devices
// that are logged in, a live stream, and a final logout. The program prints the demo
// accounts, and the welcome page says what to try. The application is in package app.
//
//	go run ./examples/dashboard
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/sessionguard-go/sessionguard/examples/dashboard/app"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "`address` to listen on; port 0 picks a free one")
	var o app.Options
	o.Flags(flag.CommandLine)
	flag.Parse()

	// The first Ctrl-C shuts the server down, the second one ends the process.
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

const whatToTry = `
What to try
  Back after logout  Open Account, log out, press Back: the login page.
  Two tabs           Log out in one: the other one leaves its page.
  The warning        Start again with -idle 30s, log in, and do nothing.
  The welcome page lists more.
`

// run serves the application until ctx is done.
func run(ctx context.Context, addr string, o app.Options, out io.Writer) error {
	dashboard, err := app.New(o)
	if err != nil {
		return err
	}
	server, err := dashboard.Listen(addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Listening on %s\n\nLog in as\n%s", server.URL, app.Accounts())
	if server.Warning != "" {
		fmt.Fprintf(out, "\n%s\n", server.Warning)
	}
	fmt.Fprint(out, whatToTry, "\nCtrl-C stops.\n")
	if err := server.Serve(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "Stopped.")
	return nil
}
