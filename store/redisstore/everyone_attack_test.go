package redisstore

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// oneInEachGroup creates a session in each group.
func oneInEachGroup(t testing.TB, s *Store) (records []store.Record, ends []store.End) {
	for group := range store.Groups {
		r := newSession(ownerInGroup(group))
		createRecord(t, s, r)
		records, ends = append(records, r), append(ends, store.End{Owner: r.Owner, ID: r.ID, Reason: store.ReasonEnded})
	}
	return records, ends
}

// Where one group cannot be read or changed, the sessions of the others are listed and ended.
func TestAGroupThatFailsSavesNoOthers(t *testing.T) {
	s, broken := openAlone(t), 5
	records, ends := oneInEachGroup(t, s)
	sendCommand(t, s, "DEL", s.indexKey(broken))
	require.NoError(t, sendCommand(t, s, "SET", s.indexKey(broken), "no sorted set").Error())
	listed, err := listAll(t.Context(), s, records[0].Owner)
	requireInconclusive(t, err, "All")
	require.Len(t, listed, store.Groups-1)
	ended, err := s.DeleteByID(t.Context(), ends)
	requireInconclusive(t, err, "DeleteByID")
	for group, r := range records {
		if group == broken {
			require.Nil(t, ended[group].Session)
			continue
		}
		require.Equal(t, r.ID, ended[group].ID)
		require.ErrorIs(t, load(t, s, r), store.ErrNotFound)
	}
}

// The sessions on the nodes that are left end.
func TestAClusterNodeThatIsDownSavesNobodyOnOthers(t *testing.T) {
	c := newCluster(t)
	for _, node := range c { // else a cluster that lacks slots refuses all
		require.NoError(t, runOnServer(t, node, "CONFIG", "SET", "cluster-require-full-coverage", "no").Error())
	}
	s := openStore(t, Config{}, c.addresses()...)
	records, ends := oneInEachGroup(t, s)
	require.NoError(t, c[0].Kill())
	listed, err := listAll(t.Context(), s, records[0].Owner)
	requireInconclusive(t, err, "All")
	require.InDelta(t, store.Groups*2/3, len(listed), 2)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended, err := s.DeleteByID(ctx, ends)
	requireInconclusive(t, err, "DeleteByID")
	n := 0
	for _, r := range ended {
		if r.Session != nil {
			n++
		}
	}
	require.Equal(t, len(listed), n)
}

// While replicas lag, whoever ends sessions gets those that there are, and does not wait for each page.
func TestLaggingReplicasHideNoSessions(t *testing.T) {
	servers := newReplication(t)
	const wait = 300 * time.Millisecond
	s := openStore(t, Config{WaitReplicas: WaitReplicas{Number: 1, Timeout: wait}}, servers.primary.Addr)
	records, ends := oneInEachGroup(t, s)
	servers.await(t)
	require.NoError(t, servers.link.Stall())
	page, err := s.ByOwner(t.Context(), records[0].Owner, "", store.MaxPage)
	require.True(t, lags(err), "%v", err)
	require.Len(t, page, 1)
	began := time.Now()
	listed, err := listAll(t.Context(), s, records[0].Owner)
	require.True(t, lags(err), "%v", err)
	require.Len(t, listed, len(records))
	require.Less(t, time.Since(began), store.Groups*wait/2)
	ended, err := s.DeleteByID(t.Context(), ends[:3])
	require.True(t, lags(err), "%v", err)
	for i, r := range ended {
		require.Equal(t, records[i].ID, r.ID)
	}
}

// A server without memory can still end sessions, and refuses only what the replicas would be
// sent where there are none.
func TestEmptyGroupsWithoutMemoryHideNoSessions(t *testing.T) {
	replication := newReplication(t)
	s := openStore(t, Config{WaitReplicas: WaitReplicas{Number: 1}}, replication.primary.Addr)
	r := newSession(ownerInGroup(store.Groups - 1))
	createRecord(t, s, r)
	runCommand(t, s, "CONFIG", "SET", "maxmemory", "1")
	listed, err := listAll(t.Context(), s, r.Owner)
	requireInconclusive(t, err, "All")
	require.Len(t, listed, 1)
}

// The only server is asked once if it does not answer, and not for each group.
func TestAfterWhichErrorsOtherGroupsAreTried(t *testing.T) {
	single, cluster := openAlone(t), openStore(t, Config{}, sharedCluster(t).addresses()...)
	refused := sendCommand(t, single, "INCR", single.indexKey(0), "too", "many").Error()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	require.True(t, single.isDown(t.Context(), single.serverError("key", context.DeadlineExceeded)))
	require.False(t, single.isDown(t.Context(), single.serverError("key", refused)))
	require.False(t, cluster.isDown(t.Context(), cluster.serverError("key", context.DeadlineExceeded)))
	require.True(t, cluster.isDown(canceled, cluster.serverError("key", context.Canceled)))
}
