package redisstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

// A process is a Redis server of a cluster, or of a set that sentinels watch.
type process struct {
	addr    string
	command *exec.Cmd
	client  rueidis.Client // to ask this server alone
}

// start starts a server that ends with the test. Sentinels keep their own state in the
// file that configuration becomes.
func start(t servers.T, configuration string, args ...string) *process {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed: apt-get install redis-server")
	}
	dir, err := os.MkdirTemp("", "sessionguard-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort()
	command := exec.Command(path, append([]string{file, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir}, args...)...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := onStarter(command.Start); err != nil {
		t.Fatal(err)
	}
	p := &process{addr: fmt.Sprintf("127.0.0.1:%d", port), command: command}
	t.Cleanup(p.kill)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		p.client, err = rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{p.addr}, ForceSingleClient: true, DisableCache: true, PipelineMultiplex: -1,
		})
		if err == nil {
			t.Cleanup(p.client.Close)
			return p
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// onStarter runs f on a thread that lasts as long as the test binary: Pdeathsig is sent
// when the thread ends that started the process (golang.org/issue/27505).
func onStarter(f func() error) error {
	err := make(chan error)
	starter() <- func() { err <- f() }
	return <-err
}

var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func (p *process) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
}

func (p *process) do(command ...string) rueidis.RedisResult {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return p.client.Do(ctx, p.client.B().Arbitrary(command...).Build())
}

// freePort is below those that the kernel gives to clients, with the cluster's own port
// free too.
func freePort() int {
	for {
		port := 11000 + rand.IntN(10000)
		if free(port) && free(port+10000) {
			return port
		}
	}
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// A cluster is of three nodes with a third of the slots each.
type cluster [3]*process

var sharedCluster = servers.Shared(newCluster)

func newCluster(t servers.T) *cluster {
	t.Helper()
	c := new(cluster)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range c {
		c[i] = start(t, "cluster-enabled yes\ncluster-node-timeout 2000\n", "--save", "", "--appendonly", "no")
		must(c[i].do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)).Error())
		from, to := slots*i/len(c), slots*(i+1)/len(c)-1
		must(c[i].do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(from), strconv.Itoa(to)).Error())
		host, port, _ := net.SplitHostPort(c[0].addr)
		must(c[i].do("CLUSTER", "MEET", host, port).Error())
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ready := 0
		for _, p := range c {
			info, _ := p.do("CLUSTER", "INFO").ToString()
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3") {
				ready++
			}
		}
		if ready == len(c) {
			return c
		}
		if time.Now().After(end) {
			t.Fatal("the cluster does not come up")
		}
	}
}

func (c *cluster) addresses() (addresses []string) {
	for _, p := range c {
		addresses = append(addresses, p.addr)
	}
	return addresses
}

func TestEveryPromiseOnACluster(t *testing.T) {
	s := open(t, Config{}, sharedCluster(t).addresses()...)
	storetest.Run(t, func(*testing.T) store.Backend { return s })
}

func TestEveryPromiseOfTwoNodesOnACluster(t *testing.T) {
	c := sharedCluster(t)
	a, b := open(t, Config{}, c[0].addr), open(t, Config{}, c[2].addr)
	storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

func TestEveryPromiseOnAClusterWithCaching(t *testing.T) {
	s := open(t, Config{CacheFor: time.Minute}, sharedCluster(t).addresses()...)
	storetest.Run(t, func(*testing.T) store.Backend { return s })
}

func TestTheClusterAgreesOnSlots(t *testing.T) {
	c := sharedCluster(t)
	s := &Store{groups: groupPrefixes("sessionguard:")}
	used := map[int]bool{}
	for group, tag := range tags() {
		n, err := c[0].do("CLUSTER", "KEYSLOT", s.groups[group]+"s:x").AsInt64()
		require.NoError(t, err)
		require.EqualValues(t, slot(tag), n)
		used[slot(tag)] = true
	}
	require.Len(t, used, store.Groups)
}

// ofGroup is an owner of a group.
func ofGroup(group int) (owner string) {
	for owner = newOwner(); store.GroupOf(owner) != group; owner = newOwner() {
	}
	return owner
}

func TestSessionsAreSpreadEvenlyOverACluster(t *testing.T) {
	c := sharedCluster(t)
	s := open(t, Config{Prefix: newOwner() + ":"}, c.addresses()...)
	for group := range store.Groups {
		create1(t, s, newSession(ofGroup(group)))
	}
	for _, p := range c {
		keys, err := p.do("KEYS", s.prefix+"*:s:*").AsStrSlice()
		require.NoError(t, err)
		require.InDelta(t, store.Groups/3, len(keys), 2)
	}
}

func TestANodeOfAClusterThatIsAwayIsAnErrorInTime(t *testing.T) {
	c := newCluster(t)
	s := open(t, Config{Timeout: time.Second}, c.addresses()...)
	there, away := newSession(ofGroup(0)), newSession(ofGroup(store.Groups-1))
	create1(t, s, there)
	create1(t, s, away)
	require.NoError(t, c[2].command.Process.Signal(syscall.SIGSTOP))
	require.NoError(t, loads(t, s, there), "the others go on, until the cluster notices")
	for range 2 {
		requireAllFailInTime(t, s, away)
	}
}

// While a slot moves from one node to another, some of its keys are here and some there.
// What is not where a script looks is never taken for gone.
func TestNothingIsTakenForGoneWhileItsSlotMoves(t *testing.T) {
	c := newCluster(t)
	s := open(t, Config{}, c.addresses()...)
	from, to := c[0], c[1]
	names := map[*process]string{}
	for _, p := range c {
		name, err := p.do("CLUSTER", "MYID").ToString()
		require.NoError(t, err)
		names[p] = name
	}
	owner := ofGroup(0)
	number := strconv.Itoa(slot(tags()[0]))
	host, port, err := net.SplitHostPort(to.addr)
	require.NoError(t, err)

	for _, first := range []string{"its index", "one session"} {
		t.Run(first+" moves first", func(t *testing.T) {
			stays, moves := newSession(owner), newSession(owner)
			create1(t, s, stays)
			create1(t, s, moves)
			require.NoError(t, to.do("CLUSTER", "SETSLOT", number, "IMPORTING", names[from]).Error())
			require.NoError(t, from.do("CLUSTER", "SETSLOT", number, "MIGRATING", names[to]).Error())
			migrate := func(key string) {
				t.Helper()
				require.NoError(t, from.do("MIGRATE", host, port, key, "0", "1000").Error())
			}
			if first == "its index" {
				migrate(s.indexOf(owner))
			} else {
				migrate(s.keyOf(moves.Key))
			}

			require.NoError(t, loads(t, s, stays))
			require.NoError(t, loads(t, s, moves))
			for _, r := range []store.Record{stays, moves} {
				all := calls(t.Context(), s, r)
				for _, name := range []string{"Replace", "Create"} {
					requireUnknowing(t, all[name](), name)
				}
				for _, name := range []string{"Touch", "Save"} { // may succeed
					if err := all[name](); err != nil {
						requireUnknowing(t, err, name)
					}
				}
				records, err := s.ByOwner(t.Context(), owner)
				require.True(t, unknowing(err), "%v %v", err, records)
				require.NoError(t, loads(t, s, r))
			}
			n, err := to.do("CLUSTER", "COUNTKEYSINSLOT", number).AsInt64()
			require.NoError(t, err)
			require.EqualValues(t, 1, n, "a second index would be in the way of the first")
			ended, err := s.Delete(t.Context(), moves.Key, store.Ended)
			if err == nil {
				require.Equal(t, moves.ID, ended.ID)
				require.ErrorIs(t, loads(t, s, moves), store.ErrNotFound)
			} else {
				requireUnknowing(t, err, "Delete")
				require.NoError(t, loads(t, s, moves))
			}

			keys, err := from.do("CLUSTER", "GETKEYSINSLOT", number, "1000").AsStrSlice()
			require.NoError(t, err)
			for _, key := range keys {
				migrate(key)
			}
			for _, p := range []*process{to, from, c[2]} {
				require.NoError(t, p.do("CLUSTER", "SETSLOT", number, "NODE", names[to]).Error())
			}
			records, err := s.ByOwner(t.Context(), owner)
			require.NoError(t, err)
			kept := 2 // but for who has logged out
			if ended.Session != nil {
				kept--
			}
			require.Len(t, records, kept, "no session was lost from the index")
			for _, r := range records {
				_, err := s.Delete(t.Context(), r.Key, store.Ended)
				require.NoError(t, err)
			}
			from, to = to, from
			host, port, _ = net.SplitHostPort(to.addr)
		})
	}
}
