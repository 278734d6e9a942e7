package redisstore

import (
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
	t.Parallel()
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
