package redisstore

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

// A cluster is of three nodes with a third of the slots each.
type cluster [3]*servers.Server

var sharedCluster = servers.Shared(newCluster)

func newCluster(t servers.T) *cluster {
	t.Helper()
	return (*cluster)(servers.RedisCluster(t, servers.RedisOptions{}))
}

func (c *cluster) addresses() (addresses []string) {
	for _, node := range c {
		addresses = append(addresses, node.Addr)
	}
	return addresses
}

func TestEveryPromiseOnACluster(t *testing.T) {
	s := open(t, Config{}, sharedCluster(t).addresses()...)
	storetest.Run(t, func(*testing.T) store.Backend { return s })
}

func TestEveryPromiseOfTwoNodesOnACluster(t *testing.T) {
	c := sharedCluster(t)
	a, b := open(t, Config{}, c[0].Addr), open(t, Config{}, c[2].Addr)
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
		n, err := do(t, c[0], "CLUSTER", "KEYSLOT", s.groups[group]+"s:x").AsInt64()
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
	for _, node := range c {
		keys, err := do(t, node, "KEYS", s.prefix+"*:s:*").AsStrSlice()
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
	require.NoError(t, c[2].Pause())
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
	names := map[*servers.Server]string{}
	for _, node := range c {
		name, err := do(t, node, "CLUSTER", "MYID").ToString()
		require.NoError(t, err)
		names[node] = name
	}
	owner := ofGroup(0)
	number := strconv.Itoa(slot(tags()[0]))
	host, port, err := net.SplitHostPort(to.Addr)
	require.NoError(t, err)

	for _, first := range []string{"its index", "one session"} {
		t.Run(first+" moves first", func(t *testing.T) {
			stays, moves := newSession(owner), newSession(owner)
			create1(t, s, stays)
			create1(t, s, moves)
			require.NoError(t, do(t, to, "CLUSTER", "SETSLOT", number, "IMPORTING", names[from]).Error())
			require.NoError(t, do(t, from, "CLUSTER", "SETSLOT", number, "MIGRATING", names[to]).Error())
			migrate := func(key string) {
				t.Helper()
				require.NoError(t, do(t, from, "MIGRATE", host, port, key, "0", "1000").Error())
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
			n, err := do(t, to, "CLUSTER", "COUNTKEYSINSLOT", number).AsInt64()
			require.NoError(t, err)
			require.EqualValues(t, 1, n, "a second index would be in the way of the first")
			ended, err := s.Delete(t.Context(), moves.Key, store.ReasonEnded)
			if err == nil {
				require.Equal(t, moves.ID, ended.ID)
				require.ErrorIs(t, loads(t, s, moves), store.ErrNotFound)
			} else {
				requireUnknowing(t, err, "Delete")
				require.NoError(t, loads(t, s, moves))
			}

			keys, err := do(t, from, "CLUSTER", "GETKEYSINSLOT", number, "1000").AsStrSlice()
			require.NoError(t, err)
			for _, key := range keys {
				migrate(key)
			}
			for _, node := range []*servers.Server{to, from, c[2]} {
				require.NoError(t, do(t, node, "CLUSTER", "SETSLOT", number, "NODE", names[to]).Error())
			}
			records, err := s.ByOwner(t.Context(), owner)
			require.NoError(t, err)
			kept := 2 // but for who has logged out
			if ended.Session != nil {
				kept--
			}
			require.Len(t, records, kept, "no session was lost from the index")
			for _, r := range records {
				_, err := s.Delete(t.Context(), r.Key, store.ReasonEnded)
				require.NoError(t, err)
			}
			from, to = to, from
			host, port, _ = net.SplitHostPort(to.Addr)
		})
	}
}
