package histories

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A fleet is the nodes of an application, each a process.
type fleet struct {
	nodes  []*node
	client *http.Client
}

// A node is a process that runs runNode. It can be killed, started again and stopped for a
// while.
type node struct {
	config  string
	log     string // the file with its errors
	url     atomic.Value
	command *exec.Cmd
	stdin   io.Closer
	ended   chan struct{}
}

const nodeCount = 3

// startFleet starts nodes whose configuration may differ.
func startFleet(t *testing.T, config func(n int) nodeConfig) *fleet {
	t.Helper()
	f := &fleet{client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 100},
		// Longer than any fault and the node's timeouts: whoever waits so long never gets a
		// response.
		Timeout:       15 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for n := range nodeCount {
		text, err := json.Marshal(config(n))
		require.NoError(t, err)
		node := &node{config: string(text), log: filepath.Join(t.TempDir(), "log")}
		f.nodes = append(f.nodes, node)
		require.NoError(t, node.start())
		t.Cleanup(func() {
			err := node.kill()
			text, _ := os.ReadFile(node.log)
			if err != nil || bytes.Contains(text, []byte("DATA RACE")) {
				t.Errorf("node %d: %v", n, err)
			}
			if t.Failed() && len(text) > 0 {
				t.Logf("node %d wrote:\n%s", n, text[:min(len(text), 8000)])
			}
		})
	}
	t.Cleanup(f.client.CloseIdleConnections)
	return f
}

// start starts the node, which then listens on another port than before.
func (n *node) start() error {
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	n.command = exec.Command(os.Args[0])
	n.command.Env = append(os.Environ(), nodeVariable+"="+n.config)
	n.command.Stderr = log
	if n.stdin, err = n.command.StdinPipe(); err != nil {
		return err
	}
	stdout, err := n.command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := n.command.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	ended := make(chan struct{})
	n.ended = ended
	go func(command *exec.Cmd) {
		_ = command.Wait()
		close(ended)
	}(n.command)
	if err != nil {
		text, _ := os.ReadFile(n.log)
		_ = n.kill()
		return fmt.Errorf("a node does not start: %s", text)
	}
	n.url.Store("http://" + strings.TrimSpace(line))
	return nil
}

// kill kills the process, and waits for its end. It returns an error if the process had ended
// before.
func (n *node) kill() error {
	select {
	case <-n.ended:
		return fmt.Errorf("the process had ended: %v", n.command.ProcessState)
	default:
	}
	err := n.command.Process.Kill()
	<-n.ended
	_ = n.stdin.Close()
	return err
}

// freeze stops the process for a while: its connections stay open. A shell continues it,
// even if the test is killed meanwhile.
func (n *node) freeze(d time.Duration) error {
	return exec.Command("/bin/sh", "-c", `kill -STOP "$0" && sleep "$1"; kill -CONT "$0"`,
		fmt.Sprint(n.command.Process.Pid), fmt.Sprint(d.Seconds())).Run()
}
