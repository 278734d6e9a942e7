package redisstore

import (
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/nodes"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

// newClient returns a client as an application has one.
func newClient(t testing.TB, o rueidis.ClientOption, addresses ...string) rueidis.Client {
	t.Helper()
	o.InitAddress = addresses
	client, err := rueidis.NewClient(o)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// openShared returns a store with the client of an application.
func openShared(t testing.TB, client rueidis.Client, config Config) *Store {
	t.Helper()
	s, err := NewWithClient(client, config)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// Whatever an application sets for its own use.
var sharedOptions = map[string]rueidis.ClientOption{
	"by default":             {},
	"RESP2":                  {AlwaysRESP2: true, DisableCache: true},
	"without auto pipelines": {DisableAutoPipelining: true},
	"always a pipeline":      {AlwaysPipelining: true, MaxFlushDelay: 20 * time.Microsecond},
	"without retries":        {DisableRetry: true},
	"with tracking":          {ClientTrackingOptions: []string{"PREFIX", "app:", "BCAST"}},
	"a single client":        {ForceSingleClient: true},
}

func TestConformanceWithASharedClient(t *testing.T) {
	for name, option := range sharedOptions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, option, sharedServer(t).Addr)
			a, b := openShared(t, client, patient), openShared(t, client, patient)
			storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
		})
	}
}

func TestConformanceWithASharedClientOnACluster(t *testing.T) {
	c := sharedCluster(t)
	for _, name := range []string{"by default", "always a pipeline"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := openShared(t, newClient(t, sharedOptions[name], c[0].Addr), patient)
			b := openStore(t, patientCaching, c.addresses()...)
			storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
		})
	}
}

func TestConformanceWithASharedClientThatWaitsForReplicas(t *testing.T) {
	client := newClient(t, rueidis.ClientOption{}, newReplication(t).primary.Addr)
	s := openShared(t, client, Config{Timeout: 20 * time.Second, WaitReplicas: WaitReplicas{Number: 1, EveryWrite: true}})
	storetest.Run(t, func(*testing.T) store.Backend { return s })
}

func TestTwoGuardsWithSharedClients(t *testing.T) {
	addr := sharedServer(t).Addr
	a := openShared(t, newClient(t, rueidis.ClientOption{}, addr), Config{})
	b := openShared(t, newClient(t, rueidis.ClientOption{}, addr), Config{})
	nodes.Run(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

// replicaReader returns the options of a client that sends what ok says to the replica.
func replicaReader(r *replication, ok func(rueidis.Completed) bool) rueidis.ClientOption {
	return rueidis.ClientOption{
		Standalone:     rueidis.StandaloneOption{ReplicaAddress: []string{r.replica.Addr}},
		SendToReplicas: ok,
	}
}

// Whoever reads from replicas shares the client all the same: this package reads nothing there.
func TestSharedClientThatReadsFromReplicas(t *testing.T) {
	r := newReplication(t)
	option := replicaReader(r, func(cmd rueidis.Completed) bool { return cmd.IsReadOnly() })
	s := openShared(t, newClient(t, option, r.primary.Addr), Config{})
	require.NoError(t, r.link.Stall()) // the replica learns nothing more
	live, ended := createSession(t, s), createSession(t, s)
	_, err := s.Delete(t.Context(), ended.Key, store.ReasonEnded)
	require.NoError(t, err)
	require.NoError(t, load(t, s, live))
	require.ErrorIs(t, load(t, s, ended), store.ErrNotFound)
	page, err := s.ByOwner(t.Context(), live.Owner, "", store.MaxPage)
	require.NoError(t, err)
	require.Len(t, page, 1)
	storetest.Run(t, func(*testing.T) store.Backend { return s })
}

func TestNewWithClientRefuses(t *testing.T) {
	addr := sharedServer(t).Addr
	client := newClient(t, rueidis.ClientOption{}, addr)
	closed, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}})
	require.NoError(t, err)
	closed.Close()
	replicas := newReplication(t)
	for name, c := range map[string]struct {
		client rueidis.Client
		config Config
		want   string
	}{
		"no client":          {want: "client"},
		"a brace":            {client: client, config: Config{Prefix: "{"}, want: "Prefix"},
		"a negative Timeout": {client: client, config: Config{Timeout: -1}, want: "Timeout"},
		"CacheFor":           {client: client, config: Config{CacheFor: time.Second}, want: "CacheFor"},
		"WaitReplicas without a Number": {
			client: client, config: Config{WaitReplicas: WaitReplicas{EveryWrite: true}}, want: "WaitReplicas",
		},
		"a closed client": {client: closed, want: "not usable"},
		"a replica":       {client: newClient(t, rueidis.ClientOption{}, replicas.replica.Addr), want: "READONLY"},
		"a client that sends everything to replicas": {
			client: newClient(t, replicaReader(replicas, func(rueidis.Completed) bool { return true }), replicas.primary.Addr),
			want:   "READONLY",
		},
	} {
		s, err := NewWithClient(c.client, c.config)
		require.Nil(t, s, name)
		require.ErrorContains(t, err, c.want, name)
		require.True(t, strings.HasPrefix(err.Error(), "redisstore: "), name)
	}
}

func TestCloseLeavesASharedClientOpen(t *testing.T) {
	client := newClient(t, rueidis.ClientOption{}, servers.Redis(t, servers.RedisOptions{}).Addr)
	before := runtime.NumGoroutine()
	s, err := NewWithClient(client, Config{})
	require.NoError(t, err)
	r := createSession(t, s)
	require.NoError(t, s.Watch(t.Context(), func(store.Ending) {}))
	s.Close()
	for name, call := range allCalls(t.Context(), s, r) {
		require.ErrorIs(t, call(), errClosed, name)
	}
	require.ErrorIs(t, s.Ping(t.Context()), errClosed)
	require.Error(t, s.Watch(t.Context(), func(store.Ending) {}))
	requireGoroutinesAtMost(t, before)
	require.NoError(t, client.Do(t.Context(), client.B().Ping().Build()).Error())
	require.NoError(t, load(t, openShared(t, client, Config{}), r), "another store may use it")
}

func TestUnreachableServerOfASharedClientFailsWithinTimeout(t *testing.T) {
	config := Config{Timeout: 500 * time.Millisecond}
	option := rueidis.ClientOption{
		Dialer:           net.Dialer{Timeout: config.Timeout / 2, KeepAlive: config.Timeout / 4},
		ConnWriteTimeout: config.Timeout / 2,
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			network := servers.NewRemote(t, servers.Redis(t, servers.RedisOptions{}))
			remote := openShared(t, newClient(t, option, network.Proxy.Addr), config)
			requireFaultIsAnError(t, network, fault, remote, createSession(t, remote))
		})
	}
}

// An application may block as many connections as there are.
func TestCallsFailWithinTimeoutWhileTheApplicationBlocksAllConnections(t *testing.T) {
	servers := newReplication(t)
	client := newClient(t, rueidis.ClientOption{BlockingPoolSize: 1}, servers.primary.Addr)
	s := openShared(t, client, Config{Timeout: 200 * time.Millisecond, WaitReplicas: WaitReplicas{Number: 1}})
	r := createSession(t, s)
	_, release := client.Dedicate()
	started := time.Now()
	_, err := s.Delete(t.Context(), r.Key, store.ReasonEnded)
	requireInconclusive(t, err, "Delete")
	require.Error(t, s.Watch(t.Context(), func(store.Ending) {}))
	require.Less(t, time.Since(started), 2*s.timeout+slack)
	release()
	require.Eventually(t, func() bool {
		_, err := s.Delete(t.Context(), r.Key, store.ReasonEnded)
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "no call has kept the connection")
	_, release = client.Dedicate()
	defer release()
	require.Error(t, s.Watch(t.Context(), func(store.Ending) {}))
	s.Close() // does not wait for a connection
}
