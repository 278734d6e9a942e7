package redisstore

import (
	"context"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

// A replication is a primary and a replica with a network in between that a test can break.
type replication struct {
	primary, replica *servers.Server
	link             *servers.Proxy
}

func newReplication(t testing.TB) *replication {
	t.Helper()
	r := &replication{primary: servers.Redis(t, servers.RedisOptions{}), replica: servers.Redis(t, servers.RedisOptions{})}
	r.link = servers.NewProxy(t, r.primary.Addr)
	require.NoError(t, runOnServer(t, r.primary, "CONFIG", "SET", "repl-diskless-sync-delay", "0").Error())
	host, port, err := net.SplitHostPort(r.link.Addr)
	require.NoError(t, err)
	require.NoError(t, runOnServer(t, r.replica, "REPLICAOF", host, port).Error())
	r.await(t)
	return r
}

// await waits until the replica receives what the primary writes.
func (r *replication) await(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool {
		info, err := runOnServer(t, r.primary, "INFO", "replication").ToString()
		return err == nil && strings.Contains(info, "state=online")
	}, 30*time.Second, 10*time.Millisecond)
	mark := strconv.FormatInt(time.Now().UnixNano(), 10)
	require.NoError(t, runOnServer(t, r.primary, "SET", "mark", mark).Error())
	require.Eventually(t, func() bool {
		now, err := runOnServer(t, r.replica, "GET", "mark").ToString()
		return err == nil && now == mark
	}, 30*time.Second, 10*time.Millisecond)
}

// promote makes the replica the primary, without what it has not received.
func (r *replication) promote(t testing.TB) *Store {
	t.Helper()
	require.NoError(t, r.primary.Kill())
	require.NoError(t, r.link.Cut())
	require.NoError(t, runOnServer(t, r.replica, "REPLICAOF", "NO", "ONE").Error())
	return openStore(t, Config{}, r.replica.Addr)
}

// endingCalls are calls that end or replace r.
func endingCalls(t testing.TB, s *Store, r store.Record) map[string]func() error {
	return map[string]func() error{
		"Delete":     func() error { _, err := s.Delete(t.Context(), r.Key, store.ReasonLoggedOut); return err },
		"DeleteByID": allCalls(t.Context(), s, r)["DeleteByID"],
		"Replace":    allCalls(t.Context(), s, r)["Replace"],
		"Create": func() error {
			_, err := s.Create(t.Context(), newSession(r.Owner), store.Limit{Max: 1})
			return err
		},
	}
}

// What a failover undoes, and that nobody is told that it has happened.
func TestFailoverBringsBackNoEndThatWaitedForReplicas(t *testing.T) {
	for name, config := range map[string]Config{
		"without": {}, "with": {WaitReplicas: WaitReplicas{Number: 1, Timeout: 100 * time.Millisecond}},
	} {
		t.Run(name+" WaitReplicas", func(t *testing.T) {
			servers := newReplication(t)
			s := openStore(t, config, servers.primary.Addr)
			records := map[string]store.Record{}
			for call := range endingCalls(t, s, store.Record{Session: &store.Session{}}) {
				records[call] = createSession(t, s)
			}
			servers.await(t)
			require.NoError(t, servers.link.Stall())
			for call, r := range records {
				err := endingCalls(t, s, r)[call]()
				if name == "without" {
					require.NoError(t, err, call)
				} else {
					requireInconclusive(t, err, call)
					require.ErrorContains(t, err, "0 of 1 replicas", call)
				}
				require.ErrorIs(t, load(t, s, r), store.ErrNotFound, "the server has made the change")
			}
			promoted := servers.promote(t)
			for call, r := range records {
				require.NoError(t, load(t, promoted, r), call)
			}
		})
	}
}

func TestEndThatReplicasHaveReceivedSurvivesAFailover(t *testing.T) {
	servers := newReplication(t)
	s := openStore(t, Config{Timeout: 20 * time.Second, WaitReplicas: WaitReplicas{Number: 1}}, servers.primary.Addr)
	records := map[string]store.Record{}
	for call := range endingCalls(t, s, store.Record{Session: &store.Session{}}) {
		records[call] = createSession(t, s)
		require.NoError(t, endingCalls(t, s, records[call])[call](), call)
	}
	promoted := servers.promote(t)
	for call, r := range records {
		require.ErrorIs(t, load(t, promoted, r), store.ErrNotFound, call)
	}
}

// A repetition confirms nothing that the replicas still lack, although the session is gone.
func TestRepeatedEndWaitsForReplicasToo(t *testing.T) {
	servers := newReplication(t)
	s := openStore(t, Config{WaitReplicas: WaitReplicas{Number: 1, Timeout: 200 * time.Millisecond}}, servers.primary.Addr)
	r := createSession(t, s)
	servers.await(t)
	require.NoError(t, servers.link.Stall())
	ended, err := s.Delete(t.Context(), r.Key, store.ReasonLoggedOut)
	requireInconclusive(t, err, "Delete")
	require.Equal(t, r.ID, ended.ID, "whoever ends it learns of it")
	for range 2 {
		for name, call := range map[string]func(*Store) error{
			"Delete":     func(s *Store) error { return endingCalls(t, s, r)["Delete"]() },
			"DeleteByID": func(s *Store) error { return endingCalls(t, s, r)["DeleteByID"]() },
			"ByOwner":    func(s *Store) error { return allCalls(t.Context(), s, r)["ByOwner"]() },
			"All":        func(s *Store) error { return allCalls(t.Context(), s, r)["All"]() },
		} {
			requireInconclusive(t, call(s), name)
			node := openStore(t, Config{WaitReplicas: WaitReplicas{Number: 1, Timeout: 200 * time.Millisecond}}, servers.primary.Addr)
			requireInconclusive(t, call(node), name+" of another node, which has written nothing")
		}
	}
	require.NoError(t, servers.link.Restore())
	servers.await(t)
	require.Eventually(t, func() bool {
		ended, err = s.Delete(t.Context(), r.Key, store.ReasonLoggedOut)
		return err == nil
	}, 30*time.Second, 10*time.Millisecond)
	require.Nil(t, ended.Session)
	require.ErrorIs(t, load(t, servers.promote(t), r), store.ErrNotFound)
}

// Since Redis 7.2, WAIT does not wait if its connection has changed nothing. So each call that
// waits sends something to the replicas.
func TestEachCallThatWaitsWritesSomething(t *testing.T) {
	servers := newReplication(t)
	s := openStore(t, Config{Timeout: 20 * time.Second, WaitReplicas: WaitReplicas{Number: 1}}, servers.primary.Addr)
	changes := func() string {
		info, err := runOnServer(t, servers.primary, "INFO", "persistence").ToString()
		require.NoError(t, err)
		_, after, found := strings.Cut(info, "rdb_changes_since_last_save:")
		require.True(t, found)
		count, _, _ := strings.Cut(after, "\r\n")
		return count
	}
	ended, never, live := createSession(t, s), newSession(newOwner()), createSession(t, s)
	require.NoError(t, endingCalls(t, s, ended)["Delete"]())
	for name, r := range map[string]store.Record{"ended": ended, "never": never} {
		for _, call := range []string{"Delete", "DeleteByID"} {
			before := changes()
			require.NoError(t, endingCalls(t, s, r)[call]())
			require.NotEqual(t, before, changes(), "%s: %s", call, name)
		}
	}
	for _, memory := range []string{"0", "1"} {
		require.NoError(t, runOnServer(t, servers.primary, "CONFIG", "SET", "maxmemory", memory).Error())
		before := changes()
		page, err := s.ByOwner(t.Context(), live.Owner, "", store.MaxPage)
		require.NoError(t, err, "with maxmemory %s", memory)
		require.Len(t, page, 1)
		require.NotEqual(t, before, changes(), "ByOwner")
	}
}

func TestWhichWritesWaitForReplicas(t *testing.T) {
	servers := newReplication(t)
	require.NoError(t, servers.link.Stall())
	for _, everyWrite := range []bool{false, true} {
		s := openStore(t, Config{WaitReplicas: WaitReplicas{Number: 1, Timeout: 50 * time.Millisecond, EveryWrite: everyWrite}}, servers.primary.Addr)
		r := newSession(newOwner())
		_, err := s.Create(t.Context(), r, store.Limit{Max: 1, Refuse: true})
		if everyWrite {
			requireInconclusive(t, err, "Create")
		} else {
			require.NoError(t, err)
		}
		for name, call := range allCalls(t.Context(), s, r) {
			switch name {
			case "Load", "Touch", "LoadByID":
				require.NoError(t, call(), name)
			case "Save":
				if err := call(); everyWrite {
					requireInconclusive(t, err, name)
				} else {
					require.NoError(t, err)
				}
			}
		}
	}
}

func TestConformanceWithWaitReplicas(t *testing.T) {
	t.Parallel()
	servers := newReplication(t)
	config := Config{Timeout: 20 * time.Second, WaitReplicas: WaitReplicas{Number: 1, EveryWrite: true}}
	a, b := openStore(t, config, servers.primary.Addr), openStore(t, config, servers.primary.Addr)
	config.CacheFor = time.Minute
	cached := openStore(t, config, servers.primary.Addr)
	storetest.Run(t, func(*testing.T) store.Backend { return a })
	storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
	storetest.Run(t, func(*testing.T) store.Backend { return cached })
}

// A server that has just started does not know the scripts.
func TestWaitReplicasDoesNotWaitForAnUnknownScript(t *testing.T) {
	servers := newReplication(t)
	s := openStore(t, Config{WaitReplicas: WaitReplicas{Number: 1}}, servers.primary.Addr)
	for _, stalled := range []bool{false, true} {
		r := createSession(t, s)
		servers.await(t)
		if stalled {
			require.NoError(t, servers.link.Stall())
		}
		runCommand(t, s, "SCRIPT", "FLUSH")
		ended, err := s.Delete(t.Context(), r.Key, store.ReasonLoggedOut)
		require.Equal(t, stalled, lags(err), "%v", err)
		require.Equal(t, r.ID, ended.ID)
	}
}

// On a cluster, WAIT has to reach the node that has made the change, wherever it was.
func TestWaitReplicasOnACluster(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	servers.RedisClusterReplica(t, servers.RedisOptions{}, c[:], c[0])
	s := openStore(t, Config{Timeout: 10 * time.Second, WaitReplicas: WaitReplicas{Number: 1, Timeout: 2 * time.Second}}, c.addresses()...)
	owner, slot := ownerInGroup(0), slotOfGroup(t, c, 0)
	replicated, moving, moved := newSession(owner), newSession(owner), newSession(owner)
	other := newSession(ownerInGroup(store.Groups - 1))
	for _, r := range []store.Record{replicated, moving, moved, other} {
		createRecord(t, s, r)
	}
	end := func(r store.Record) error { return endingCalls(t, s, r)["Delete"]() }
	require.NoError(t, end(replicated))
	requireInconclusive(t, end(other), "on a node without a replica")

	slot.begin(t)
	for _, key := range slot.keys(t) {
		slot.migrate(t, key)
	}
	requireInconclusive(t, end(moving), "on the node that the slot moves to, which has no replica")
	require.ErrorIs(t, load(t, s, moving), store.ErrNotFound)
	slot.finish(t)
	requireInconclusive(t, end(moved), "on the node that the slot has moved to")
	require.ErrorIs(t, load(t, s, moved), store.ErrNotFound)
	slot.begin(t)
	slot.finish(t)
	require.NoError(t, end(moved), "back where the replica is")
}

func TestCallsThatWaitFailWithinTimeout(t *testing.T) {
	network := servers.NewRemote(t, servers.Redis(t, servers.RedisOptions{}))
	s := openStore(t, Config{Timeout: time.Second, WaitReplicas: WaitReplicas{Number: 1, EveryWrite: true}}, network.Proxy.Addr)
	r := newSession(newOwner())
	_, err := s.Create(t.Context(), r, store.Limit{})
	require.True(t, lags(err), "%v", err)

	var callers sync.WaitGroup
	for range 1000 {
		callers.Go(func() {
			started := time.Now()
			if _, err := s.Delete(t.Context(), store.Key{}, store.ReasonLoggedOut); !inconclusive(err) {
				t.Error(err)
			}
			if took := time.Since(started); took > s.timeout+slack {
				t.Errorf("Delete took %v", took)
			}
		})
	}
	callers.Wait()
	info, err := runOnServer(t, network.Server, "INFO", "stats").ToString()
	require.NoError(t, err)
	_, after, _ := strings.Cut(info, "total_connections_received:")
	count, _, _ := strings.Cut(after, "\r\n")
	connections, err := strconv.Atoi(count)
	require.NoError(t, err)
	require.Less(t, connections, 900, "128 calls at a time share theirs, but for those that are late, and close their own")

	require.NoError(t, network.Pause())
	requireAllFailInTime(t, s, r)
	require.NoError(t, network.Resume())
	require.NoError(t, network.Kill())
	requireAllFailInTime(t, s, r)
	require.NoError(t, network.Start())
	require.Eventually(t, func() bool {
		_, err := s.Delete(t.Context(), store.Key{}, store.ReasonLoggedOut)
		return lags(err)
	}, 10*time.Second, 10*time.Millisecond, "the store must recover")
}

// A call that has little time left, as after a wait for its turn, knows what it has done. A guard
// gives a logout five seconds, whatever Config.Timeout is.
func TestCallWithLittleTimeReportsWhatItHasEnded(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{Timeout: time.Minute, WaitReplicas: WaitReplicas{Number: 1}}, server.Addr)
	r := createSession(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	ended, err := s.Delete(ctx, r.Key, store.ReasonLoggedOut)
	require.True(t, lags(err), "%v", err)
	require.Equal(t, r.ID, ended.ID)
}

func TestWaitReplicasNeedsConnections(t *testing.T) {
	_, err := New(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}, BlockingPoolSize: 2*maxWaiting - 1}, Config{WaitReplicas: WaitReplicas{Number: 1}})
	require.ErrorContains(t, err, "BlockingPoolSize")
}

func TestWaitReplicasRefusesWhatNeverWaits(t *testing.T) {
	for _, wait := range []WaitReplicas{
		{Number: -1}, {Number: 1, Timeout: -1}, {Number: 1, Timeout: 2 * time.Second}, {Timeout: time.Second}, {EveryWrite: true},
	} {
		_, err := New(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}, Config{WaitReplicas: wait})
		require.ErrorContains(t, err, "Config.WaitReplicas", "%+v", wait)
	}
}

type testUser string

func (u testUser) UserID() string    { return string(u) }
func (testUser) IsActive() bool      { return true }
func (testUser) HasRole(string) bool { return true }

func TestLogoutThatReplicasLackIs503(t *testing.T) {
	servers := newReplication(t)
	guard, err := sessionguard.New(sessionguard.Config[testUser]{
		FindUser:     func(_ context.Context, id string) (testUser, error) { return testUser(id), nil },
		Keys:         [][]byte{[]byte(newOwner() + newOwner())},
		Backend:      openStore(t, Config{WaitReplicas: WaitReplicas{Number: 1, Timeout: time.Second}}, servers.primary.Addr),
		InsecureHTTP: true,
	})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, guard.Login(w, r, "ada"))
	})
	mux.Handle("POST /logout", guard.Logout("/"))
	server := httptest.NewServer(guard.Handler(mux))
	defer server.Close()
	client := server.Client()
	client.Jar, _ = cookiejar.New(nil)
	post := func(path string) int {
		resp, err := client.Post(server.URL+path, "", nil)
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, want := range []int{http.StatusNoContent, http.StatusServiceUnavailable} {
		require.Equal(t, http.StatusOK, post("/login"))
		servers.await(t)
		if want == http.StatusServiceUnavailable {
			require.NoError(t, servers.link.Stall())
		}
		require.Equal(t, want, post("/logout"))
	}
}
