package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"

	"github.com/sessionguard-go/sessionguard/examples/dashboard/app"
	"github.com/sessionguard-go/sessionguard/store"
)

// cluster is what the flags say.
type cluster struct {
	addr            string
	nodes           int
	db, redis, keys string
	options         app.Options // of every node
}

// A place is where sessions are.
type place struct {
	name string // for people
	open func(context.Context) (store.Backend, func(), error)
}

// A node is a server with a backend of its own.
type node struct {
	*app.Server
	close func() // the backend
}

// run serves on all nodes until ctx is done, or one of them fails.
func (c cluster) run(ctx context.Context, out io.Writer) error {
	sessions, keys, err := c.place()
	if err != nil {
		return err
	}
	nodes, err := c.start(ctx, sessions, keys)
	defer func() {
		for _, n := range nodes {
			n.Server.Close()
			n.close()
		}
	}()
	if err != nil {
		return err
	}

	for i, n := range nodes {
		fmt.Fprintf(out, "Node %d on %s\n", i+1, n.URL)
	}
	fmt.Fprintf(out, "\nSessions are in %s, the keys of their cookies in %s.\n\nLog in as\n%s", sessions.name, keys, app.Accounts())
	if warning := nodes[0].Warning; warning != "" {
		fmt.Fprintf(out, "\n%s\n", warning)
	}
	fmt.Fprintln(out, "\nTry: log in on one node, go on at another, log out on a third. Or stop, start again, and still be logged in.")
	fmt.Fprintln(out, "\nCtrl-C stops.")

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stopped := make(chan error, len(nodes))
	for i, n := range nodes {
		go func() {
			defer stop() // the others too, if this one has failed
			stopped <- ofNode(i, n.Serve(ctx))
		}()
	}
	for range nodes {
		err = errors.Join(err, <-stopped)
	}
	if err == nil {
		fmt.Fprintln(out, "Stopped.")
	}
	return err
}

// place is where the flags say that sessions are, and the file of the keys.
func (c cluster) place() (sessions place, keys string, err error) {
	switch {
	case c.db == "" && c.redis == "":
		err = errors.New("where to keep sessions: -db FILE or -redis ADDRESS (-h shows the flags)")
	case c.db != "" && c.redis != "":
		err = errors.New("-db and -redis exclude each other")
	case c.db != "":
		keys = cmp.Or(c.keys, c.db+".keys")
		sessions, err = sqlite(c.db)
	case c.keys == "":
		err = errors.New("-redis needs -keys FILE, which is made if there is none")
	default:
		keys = c.keys
		sessions, err = redis(c.redis)
	}
	return sessions, keys, err
}

// start opens every node's backend and port. With an error, it returns the nodes that
// there are already.
func (c cluster) start(ctx context.Context, sessions place, keys string) ([]node, error) {
	addrs, err := c.addrs()
	if err != nil {
		return nil, err
	}
	o := c.options
	if o.Keys, err = loadKeys(keys); err != nil {
		return nil, err
	}
	if o.Users, err = app.NewDirectory(); err != nil {
		return nil, err
	}
	var nodes []node
	for i, addr := range addrs {
		var n node
		if o.Backend, n.close, err = sessions.open(ctx); err != nil {
			return nodes, fmt.Errorf("%s: %w", sessions.name, err)
		}
		o.Node = fmt.Sprintf("Node %d of %d", i+1, len(addrs))
		o.Log = cmp.Or(c.options.Log, slog.Default()).With("node", i+1)
		dashboard, err := app.New(o)
		if err == nil {
			n.Server, err = dashboard.Listen(addr)
			err = ofNode(i, err)
		}
		if err != nil {
			n.close()
			return nodes, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func ofNode(i int, err error) error {
	if err != nil {
		return fmt.Errorf("node %d: %w", i+1, err)
	}
	return nil
}

// addrs are the nodes' addresses.
func (c cluster) addrs() ([]string, error) {
	if c.nodes < 1 {
		return nil, errors.New("-nodes must be 1 or more")
	}
	host, service, err := net.SplitHostPort(c.addr)
	if err != nil {
		return nil, fmt.Errorf("-addr: %w", err)
	}
	port, err := net.LookupPort("tcp", service)
	if err != nil {
		return nil, fmt.Errorf("-addr: %w", err)
	}
	var addrs []string
	for i := range c.nodes {
		next := 0 // picks a free one
		if port != 0 {
			next = port + i
		}
		addrs = append(addrs, net.JoinHostPort(host, strconv.Itoa(next)))
	}
	return addrs, nil
}
