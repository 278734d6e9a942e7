// Cluster runs the application of examples/dashboard on several nodes that share their
// sessions, in an SQLite file or in Redis. Each node has its own port, guard and
// connections, as if it were another machine. The nodes share the sessions, the keys for
// the cookies and the accounts.
//
//	cd examples/cluster
//	go run . -db sessions.db
//	go run . -redis localhost:6379 -keys cookie.keys
//
// -redis also takes the comma-separated addresses of a Redis Cluster, or a redis:// or
// rediss:// URL. -nodes sets the number of nodes, which listen on consecutive ports from
// that of -addr. The dashboard's other flags work too.
//
// Browsers keep cookies by host, not by port, so a login on one node is valid on all. The
// footer of each page names the node that served it. Things to try:
//
//   - Log in on one node, continue on another, log out on a third: you are logged out on
//     all of them.
//   - Stop the program and start it again: every user is still logged in.
//   - In another browser, log in as the administrator on another node and end the first
//     browser's session, under People: its next page says why. A page at /live closes at
//     once with Redis, and within half a minute with SQLite, which sends no notifications
//     and has to be polled.
//   - Start a second process with the same -db, or -redis and -keys, and another -addr.
//
// The accounts are in the process's memory. After a change of password, other processes
// and a restarted one still know the old password, and they end the sessions that were
// created with the new one.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	var c cluster
	flag.StringVar(&c.addr, "addr", "localhost:8080", "`address` of the first node; the others use the next ports, and port 0 picks free ones")
	flag.IntVar(&c.nodes, "nodes", 3, "number of nodes")
	flag.StringVar(&c.db, "db", "", "keep sessions in this SQLite `file`")
	flag.StringVar(&c.redis, "redis", "", "keep sessions in Redis: `host:port`, several separated by commas for a cluster, or a redis:// or rediss:// URL")
	flag.StringVar(&c.keys, "keys", "", "`file` of the keys that sign the cookies, created if it does not exist (default: the path of -db with .keys appended)")
	c.options.Flags(flag.CommandLine)
	flag.Parse()

	// The first Ctrl-C shuts the nodes down, the second one ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)

	var err error
	if flag.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q (-h shows the flags)", flag.Arg(0))
	} else {
		err = c.run(ctx, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}
