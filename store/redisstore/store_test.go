package redisstore

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

func TestMain(m *testing.M) { servers.Main(m) }

var sharedServer = servers.Shared(func(t servers.T) *servers.Server {
	return servers.Redis(t, servers.RedisOptions{})
})

var (
	_ store.Backend = (*Store)(nil)
	_ store.Watcher = (*Store)(nil)
	_ store.Cacher  = (*Store)(nil)
)

func TestConformance(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	storetest.Run(t, func(*testing.T) store.Backend { return s })
}

func TestConformanceOfTwoNodes(t *testing.T) {
	a, b := openStore(t, Config{}, sharedServer(t).Addr), openStore(t, Config{}, sharedServer(t).Addr)
	storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

// One process sees what it has written at once, whatever it has cached.
func TestConformanceWithCaching(t *testing.T) {
	s := openStore(t, Config{CacheFor: time.Minute}, sharedServer(t).Addr)
	storetest.Run(t, func(*testing.T) store.Backend { return s })
}

func openStore(t testing.TB, config Config, addresses ...string) *Store {
	t.Helper()
	s, err := New(rueidis.ClientOption{InitAddress: addresses}, config)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// newSession is an owner's, seen just now and good for an hour.
func newSession(owner string) store.Record {
	now := store.TimeOf(time.Now())
	r := store.Record{
		Session: &store.Session{
			ID: rand.Text(), Owner: owner, Stamp: "stamp", Authenticated: now,
			Expires: now.Add(12 * time.Hour), IdleTimeout: time.Hour, Version: 1, Values: []byte("values"),
		},
		LastSeen: now,
	}
	for rand.Read(r.Key[:]); r.Key.Group() != store.GroupOf(owner); {
		rand.Read(r.Key[:])
	}
	return r
}

func newOwner() string { return "session=" + rand.Text() }

// created is a session that s has.
func createSession(t testing.TB, s *Store) store.Record {
	t.Helper()
	r := newSession(newOwner())
	createRecord(t, s, r)
	return r
}

func createRecord(t testing.TB, s *Store, r store.Record) {
	t.Helper()
	_, err := s.Create(t.Context(), r, store.Limit{})
	require.NoError(t, err)
}

// successor is what Replace may move r to.
func successor(r store.Record) store.Record {
	next := newSession(r.Owner)
	next.ID, next.Version = r.ID, r.Version+1
	return next
}

// ask sends one command to the server of s, to the node that has key.
func sendCommand(t testing.TB, s *Store, command, key string, args ...string) rueidis.RedisResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return s.client.Do(ctx, s.client.B().Arbitrary(command).Keys(key).Args(args...).Build())
}

// configure sends one command without a key.
func runCommand(t testing.TB, s *Store, command ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.NoError(t, s.client.Do(ctx, s.client.B().Arbitrary(command...).Build()).Error())
}

// do sends one command to a server alone, whatever others it works with.
func runOnServer(t testing.TB, server *servers.Server, command ...string) rueidis.RedisResult {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{server.Addr}, ForceSingleClient: true, DisableCache: true,
	})
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return client.Do(ctx, client.B().Arbitrary(command...).Build())
}
