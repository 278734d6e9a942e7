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

// A cluster has three nodes, with a third of the slots each.
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

func TestConformanceOnACluster(t *testing.T) {
	s := openStore(t, Config{}, sharedCluster(t).addresses()...)
	storetest.Run(t, func(*testing.T) store.Backend { return s })
}

func TestConformanceOfTwoNodesOnACluster(t *testing.T) {
	c := sharedCluster(t)
	a, b := openStore(t, Config{}, c[0].Addr), openStore(t, Config{}, c[2].Addr)
	storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

func TestConformanceOnAClusterWithCaching(t *testing.T) {
	s := openStore(t, Config{CacheFor: time.Minute}, sharedCluster(t).addresses()...)
	storetest.Run(t, func(*testing.T) store.Backend { return s })
}

func TestHashSlotsMatchTheCluster(t *testing.T) {
	c := sharedCluster(t)
	s := &Store{groups: groupPrefixes("sessionguard:")}
	used := map[int]bool{}
	for group, tag := range groupTags() {
		n, err := runOnServer(t, c[0], "CLUSTER", "KEYSLOT", s.groups[group]+"s:x").AsInt64()
		require.NoError(t, err)
		require.EqualValues(t, hashSlot(tag), n)
		used[hashSlot(tag)] = true
	}
	require.Len(t, used, store.Groups)
}

// ownerInGroup returns a new owner whose sessions are in group.
func ownerInGroup(group int) (owner string) {
	for owner = newOwner(); store.GroupOf(owner) != group; owner = newOwner() {
	}
	return owner
}

func TestSessionsSpreadEvenlyOverACluster(t *testing.T) {
	c := sharedCluster(t)
	s := openStore(t, Config{Prefix: newOwner() + ":"}, c.addresses()...)
	for group := range store.Groups {
		createRecord(t, s, newSession(ownerInGroup(group)))
	}
	for _, node := range c {
		keys, err := runOnServer(t, node, "KEYS", s.prefix+"*:s:*").AsStrSlice()
		require.NoError(t, err)
		require.InDelta(t, store.Groups/3, len(keys), 2)
	}
}

func TestUnreachableClusterNodeFailsWithinTimeout(t *testing.T) {
	c := newCluster(t)
	s := openStore(t, Config{Timeout: time.Second}, c.addresses()...)
	reachable, unreachable := newSession(ownerInGroup(0)), newSession(ownerInGroup(store.Groups-1))
	createRecord(t, s, reachable)
	createRecord(t, s, unreachable)
	require.NoError(t, c[2].Pause())
	require.NoError(t, load(t, s, reachable), "the other nodes respond until the cluster notices")
	for range 2 {
		requireAllFailInTime(t, s, unreachable)
	}
}

// While a slot moves, each of two nodes has some of its keys. A key that is not on the node
// where a script runs must never count as gone.
func TestMovingSlotNeverMakesSessionsLookGone(t *testing.T) {
	c := newCluster(t)
	s := openStore(t, Config{}, c.addresses()...)
	from, to := c[0], c[1]
	nodeIDs := map[*servers.Server]string{}
	for _, node := range c {
		id, err := runOnServer(t, node, "CLUSTER", "MYID").ToString()
		require.NoError(t, err)
		nodeIDs[node] = id
	}
	owner := ownerInGroup(0)
	slot := strconv.Itoa(hashSlot(groupTags()[0]))
	host, port, err := net.SplitHostPort(to.Addr)
	require.NoError(t, err)

	for _, first := range []string{"its index", "one session"} {
		t.Run(first+" moves first", func(t *testing.T) {
			stays, moves := newSession(owner), newSession(owner)
			createRecord(t, s, stays)
			createRecord(t, s, moves)
			require.NoError(t, runOnServer(t, to, "CLUSTER", "SETSLOT", slot, "IMPORTING", nodeIDs[from]).Error())
			require.NoError(t, runOnServer(t, from, "CLUSTER", "SETSLOT", slot, "MIGRATING", nodeIDs[to]).Error())
			migrate := func(key string) {
				t.Helper()
				require.NoError(t, runOnServer(t, from, "MIGRATE", host, port, key, "0", "1000").Error())
			}
			if first == "its index" {
				migrate(s.indexKey(owner))
			} else {
				migrate(s.sessionKey(moves.Key))
			}

			require.NoError(t, load(t, s, stays))
			require.NoError(t, load(t, s, moves))
			for _, r := range []store.Record{stays, moves} {
				calls := allCalls(t.Context(), s, r)
				for _, name := range []string{"Replace", "Create"} {
					requireInconclusive(t, calls[name](), name)
				}
				for _, name := range []string{"Touch", "Save"} { // these may succeed
					if err := calls[name](); err != nil {
						requireInconclusive(t, err, name)
					}
				}
				records, err := s.ByOwner(t.Context(), owner, "", store.MaxPage)
				require.True(t, inconclusive(err), "%v %v", err, records)
				require.NoError(t, load(t, s, r))
			}
			n, err := runOnServer(t, to, "CLUSTER", "COUNTKEYSINSLOT", slot).AsInt64()
			require.NoError(t, err)
			require.EqualValues(t, 1, n, "a second index would prevent the first from moving")
			ended, err := s.Delete(t.Context(), moves.Key, store.ReasonEnded)
			if err == nil {
				require.Equal(t, moves.ID, ended.ID)
				require.ErrorIs(t, load(t, s, moves), store.ErrNotFound)
			} else {
				requireInconclusive(t, err, "Delete")
				require.NoError(t, load(t, s, moves))
			}

			keys, err := runOnServer(t, from, "CLUSTER", "GETKEYSINSLOT", slot, "1000").AsStrSlice()
			require.NoError(t, err)
			for _, key := range keys {
				migrate(key)
			}
			for _, node := range []*servers.Server{to, from, c[2]} {
				require.NoError(t, runOnServer(t, node, "CLUSTER", "SETSLOT", slot, "NODE", nodeIDs[to]).Error())
			}
			records, err := s.ByOwner(t.Context(), owner, "", store.MaxPage)
			require.NoError(t, err)
			remaining := 2
			if ended.Session != nil {
				remaining--
			}
			require.Len(t, records, remaining, "the index has lost a session")
			for _, r := range records {
				_, err := s.Delete(t.Context(), r.Key, store.ReasonEnded)
				require.NoError(t, err)
			}
			from, to = to, from
			host, port, _ = net.SplitHostPort(to.Addr)
		})
	}
}
