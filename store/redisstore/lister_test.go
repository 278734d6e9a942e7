package redisstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

// calledCommands returns how often the server has executed each command until now.
func calledCommands(t testing.TB, server *servers.Server) map[string]int {
	t.Helper()
	info, err := runOnServer(t, server, "INFO", "commandstats").ToString()
	require.NoError(t, err)
	calls := map[string]int{}
	for line := range strings.Lines(info) {
		name, stats, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		var n int
		if _, err := fmt.Sscanf(stats, "%d,", &n); err == nil && name != "info" && name != "hello" && !strings.HasPrefix(name, "client|") {
			calls[name] = n
		}
	}
	return calls
}

// The index is that of many users. Whatever one does to it, the calls of others read as little as
// before.
func TestSessionsOfOneUserMakeCallsOfOthersNoLonger(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{}, server.Addr)
	measure := func(r store.Record) map[string]int {
		cost := map[string]int{}
		for name, call := range allCalls(t.Context(), s, r) {
			if name == "All" || name == "Count" { // of all users
				continue
			}
			before := calledCommands(t, server)
			_ = call()
			for command, n := range calledCommands(t, server) {
				cost[name] += n - before[command]
			}
		}
		return cost
	}
	group := store.GroupOf("session=hostile")
	before := measure(createSession(t, openStore(t, Config{Prefix: "unused:"}, server.Addr)))
	for i := range 1000 {
		r := newSession("session=hostile")
		createRecord(t, s, r)
		if i%2 == 0 { // expires
			sendCommand(t, s, "DEL", s.sessionKey(r.Key))
		}
	}
	for range 5 {
		r := newSession(ownerInGroup(group))
		createRecord(t, s, r)
		for name, n := range measure(r) {
			require.Less(t, n, before[name]+30, name)
		}
	}
}

// Pages are those of a realm, whatever other realms have.
func TestAllReadsOnlyTheRealm(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{}, server.Addr)
	for range 500 {
		createRecord(t, s, newSession("other="+newOwner()))
	}
	mine := createSession(t, s)
	records, err := listAll(t.Context(), s, mine.Owner)
	require.NoError(t, err)
	require.Len(t, records, 1)
	before := calledCommands(t, server)
	n, err := s.Count(t.Context(), "session=")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, 1, calledCommands(t, server)["getrange"]-before["getrange"])
	n, err = s.Count(t.Context(), "other=")
	require.NoError(t, err)
	require.Equal(t, 500, n)
}

// A session that moves to another key between two pages is in one of them. Keys are random, so it
// may come after itself.
func TestSessionsThatMoveBetweenPagesAreListedOnce(t *testing.T) {
	s, group := openAlone(t), 7
	moving := map[string]store.Record{}
	for range 3 * store.MaxPage {
		r := newSession(ownerInGroup(group))
		createRecord(t, s, r)
		moving[r.ID] = r
	}
	seen := map[string]int{}
	for r, err := range s.All(t.Context(), "session=") {
		require.NoError(t, err)
		seen[r.ID]++
		if len(seen)%(store.MaxPage/2) == 0 { // within pages, and at the end of each
			for id, r := range moving {
				next := successor(r)
				require.NoError(t, s.Replace(t.Context(), r.Key, r.Version, next))
				moving[id] = next
			}
		}
	}
	require.Len(t, seen, len(moving))
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
	n, err := s.Count(t.Context(), "session=")
	require.NoError(t, err)
	require.Equal(t, len(moving), n)
}

// Pages end anywhere, also where sessions have expired.
func TestCountsAreExactWhereSessionsHaveExpired(t *testing.T) {
	s, owner := openAlone(t), ownerInGroup(3)
	var live []string
	for i := range 2*countPage + 100 {
		r := newSession(owner)
		createRecord(t, s, r)
		if i%3 == 0 {
			live = append(live, r.ID)
		} else {
			sendCommand(t, s, "DEL", s.sessionKey(r.Key))
		}
	}
	for range 2 { // the first removes the stale entries
		n, err := s.Count(t.Context(), "session=")
		require.NoError(t, err)
		require.Equal(t, len(live), n)
		records, err := listAll(t.Context(), s, owner)
		require.NoError(t, err)
		slices.Sort(live)
		for i, r := range records {
			require.Equal(t, live[i], r.ID)
		}
		require.Len(t, records, len(live))
	}
	require.Equal(t, len(live), indexSize(t, s, newSession(owner)))
}

// Realms with the same hash cannot be had, so that the entry of one is put in its place.
func TestRealmsWithTheSameHashNeverMeet(t *testing.T) {
	s, r := openAlone(t), newSession("other="+newOwner())
	createRecord(t, s, r)
	like := newSession("session=" + r.Owner)
	like.ID, like.Key = r.ID, r.Key
	addStale(t, s, like)
	records, err := listAll(t.Context(), s, "session=")
	require.NoError(t, err)
	require.Empty(t, records)
}

// Whoever stops early leaves nothing behind: the connection serves the next call.
func TestAllMayStopEarlyAndBeNested(t *testing.T) {
	s := openShared(t, newClient(t, rueidis.ClientOption{}, sharedServer(t).Addr), Config{Prefix: newOwner() + ":"})
	for range 10 {
		createSession(t, s)
	}
	n := 0
	for r, err := range s.All(t.Context(), "session=") {
		require.NoError(t, err)
		for other, err := range s.All(t.Context(), "session=") {
			require.NoError(t, err)
			_, err = s.LoadByID(t.Context(), other.Owner, other.ID)
			require.NoError(t, err)
			break
		}
		_, err = s.Delete(t.Context(), r.Key, store.ReasonEnded)
		require.NoError(t, err)
		if n++; n == 5 {
			break
		}
	}
	left, err := s.Count(t.Context(), "session=")
	require.NoError(t, err)
	require.Equal(t, 5, left)
}
