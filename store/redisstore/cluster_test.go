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

// ofGroup is an owner of a group.
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
	there, away := newSession(ownerInGroup(0)), newSession(ownerInGroup(store.Groups-1))
	createRecord(t, s, there)
	createRecord(t, s, away)
	require.NoError(t, c[2].Pause())
	require.NoError(t, load(t, s, there), "the others go on, until the cluster notices")
	for range 2 {
		requireAllFailInTime(t, s, away)
	}
}

// While a slot moves from one node to another, some of its keys are here and some there.
// What is not where a script looks is never taken for gone.
func TestMovingSlotNeverMakesSessionsLookGone(t *testing.T) {
	c := newCluster(t)
	s := openStore(t, Config{}, c.addresses()...)
	from, to := c[0], c[1]
	names := map[*servers.Server]string{}
	for _, node := range c {
		name, err := runOnServer(t, node, "CLUSTER", "MYID").ToString()
		require.NoError(t, err)
		names[node] = name
	}
	owner := ownerInGroup(0)
	number := strconv.Itoa(hashSlot(groupTags()[0]))
	host, port, err := net.SplitHostPort(to.Addr)
	require.NoError(t, err)

	for _, first := range []string{"its index", "one session"} {
		t.Run(first+" moves first", func(t *testing.T) {
			stays, moves := newSession(owner), newSession(owner)
			createRecord(t, s, stays)
			createRecord(t, s, moves)
			require.NoError(t, runOnServer(t, to, "CLUSTER", "SETSLOT", number, "IMPORTING", names[from]).Error())
			require.NoError(t, runOnServer(t, from, "CLUSTER", "SETSLOT", number, "MIGRATING", names[to]).Error())
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
				all := allCalls(t.Context(), s, r)
				for _, name := range []string{"Replace", "Create"} {
					requireInconclusive(t, all[name](), name)
				}
				for _, name := range []string{"Touch", "Save"} { // may succeed
					if err := all[name](); err != nil {
						requireInconclusive(t, err, name)
					}
				}
				records, err := s.ByOwner(t.Context(), owner)
				require.True(t, inconclusive(err), "%v %v", err, records)
				require.NoError(t, load(t, s, r))
			}
			n, err := runOnServer(t, to, "CLUSTER", "COUNTKEYSINSLOT", number).AsInt64()
			require.NoError(t, err)
			require.EqualValues(t, 1, n, "a second index would be in the way of the first")
			ended, err := s.Delete(t.Context(), moves.Key, store.ReasonEnded)
			if err == nil {
				require.Equal(t, moves.ID, ended.ID)
				require.ErrorIs(t, load(t, s, moves), store.ErrNotFound)
			} else {
				requireInconclusive(t, err, "Delete")
				require.NoError(t, load(t, s, moves))
			}

			keys, err := runOnServer(t, from, "CLUSTER", "GETKEYSINSLOT", number, "1000").AsStrSlice()
			require.NoError(t, err)
			for _, key := range keys {
				migrate(key)
			}
			for _, node := range []*servers.Server{to, from, c[2]} {
				require.NoError(t, runOnServer(t, node, "CLUSTER", "SETSLOT", number, "NODE", names[to]).Error())
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
