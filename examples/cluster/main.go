// Cluster is the application of examples/dashboard on several nodes that share
// their sessions, in an SQLite file or in Redis. Each node has a port, a guard and
// connections of its own, as if it were another machine; what they have in common
// are the sessions, the keys of the cookies and the accounts.
//
//	cd examples/cluster
//	go run . -db sessions.db
//	go run . -redis localhost:6379 -keys cookie.keys
//
// -redis also takes the addresses of a Redis Cluster, with commas, or a redis:// or
// rediss:// URL. -nodes is how many nodes, on the port of -addr and those after it.
// Every flag of the dashboard works too.
//
// Browsers keep cookies by host, not by port, so one that is logged in on one node
// is on all of them. The foot of each page says which one has answered. Things to try:
//
//   - Log in on one node, go on at another, log out on a third: you are out on all.
//   - Stop it and start it again: whoever was logged in still is.
//   - In another browser, log in as the administrator on another node and end the
//     first one's session, under People: its next page says why. If it is at /live,
//     it goes away at once with Redis, and within half a minute with SQLite, which
//     cannot tell and has to be asked.
//   - Start a second process with the same -db, or -redis and -keys, and another -addr.
//
// The accounts are in the process's memory: a new password is not known in other
// processes, nor after a restart, and the sessions that know of it end there.
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
	flag.StringVar(&c.addr, "addr", "localhost:8080", "`address` of the first node, the others have the next ports; port 0 picks free ones")
	flag.IntVar(&c.nodes, "nodes", 3, "how many nodes")
	flag.StringVar(&c.db, "db", "", "keep sessions in this SQLite `file`")
	flag.StringVar(&c.redis, "redis", "", "keep sessions in Redis: `host:port`, several with commas for a cluster, or a redis:// or rediss:// URL")
	flag.StringVar(&c.keys, "keys", "", "`file` of the keys that sign the cookies, made if there is none (default: that of -db with .keys after it)")
	c.options.Flags(flag.CommandLine)
	flag.Parse()

	// The first Ctrl-C stops the nodes, a second one the process.
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
