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

// cluster holds the values of the flags.
type cluster struct {
	addr            string
	nodes           int
	db, redis, keys string
	options         app.Options // for every node
}

// A storage is a place for sessions, which every node opens.
type storage struct {
	name string // as shown to the user
	open func(context.Context) (store.Backend, func(), error)
}

// A node is a server with a backend of its own.
type node struct {
	*app.Server
	close func() // closes the backend
}

// run serves on all nodes until ctx is done or one of them fails.
func (c cluster) run(ctx context.Context, out io.Writer) error {
	sessions, keys, err := c.storage()
	if err != nil {
		return err
	}
	nodes, err := c.startNodes(ctx, sessions, keys)
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
	fmt.Fprintf(out, "\nSessions are stored in %s, the keys for their cookies in %s.\n\nLog in as\n%s", sessions.name, keys, app.Accounts())
	if warning := nodes[0].Warning; warning != "" {
		fmt.Fprintf(out, "\n%s\n", warning)
	}
	fmt.Fprintln(out, "\nTry: log in on one node, continue on another, log out on a third. Or stop and restart the program: you are still logged in.")
	fmt.Fprintln(out, "\nCtrl-C stops.")

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stopped := make(chan error, len(nodes))
	for i, n := range nodes {
		go func() {
			defer stop() // stops the other nodes if this one fails
			stopped <- nodeError(i, n.Serve(ctx))
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

// storage returns the storage that the flags select, and the path of the key file.
func (c cluster) storage() (sessions storage, keys string, err error) {
	switch {
	case c.db == "" && c.redis == "":
		err = errors.New("specify where to keep sessions: -db FILE or -redis ADDRESS (-h shows the flags)")
	case c.db != "" && c.redis != "":
		err = errors.New("-db and -redis exclude each other")
	case c.db != "":
		keys = cmp.Or(c.keys, c.db+".keys")
		sessions, err = sqlite(c.db)
	case c.keys == "":
		err = errors.New("-redis needs -keys FILE, which is created if it does not exist")
	default:
		keys = c.keys
		sessions, err = redis(c.redis)
	}
	return sessions, keys, err
}

// startNodes opens a backend and a port for every node. If it fails, it also returns the
// nodes opened until then.
func (c cluster) startNodes(ctx context.Context, sessions storage, keys string) ([]node, error) {
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
			err = nodeError(i, err)
		}
		if err != nil {
			n.close()
			return nodes, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// nodeError adds the number of node i to err, unless that is nil.
func nodeError(i int, err error) error {
	if err != nil {
		return fmt.Errorf("node %d: %w", i+1, err)
	}
	return nil
}

// addrs returns the nodes' addresses.
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
		nodePort := 0 // lets the system pick a free port
		if port != 0 {
			nodePort = port + i
		}
		addrs = append(addrs, net.JoinHostPort(host, strconv.Itoa(nodePort)))
	}
	return addrs, nil
}
