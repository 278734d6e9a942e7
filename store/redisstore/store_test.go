package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
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

// patient is for a busy machine, where several tests run at once that do not depend on the Timeout.
var (
	patient        = Config{Timeout: 20 * time.Second}
	patientCaching = Config{Timeout: 20 * time.Second, CacheFor: time.Minute}
)

var (
	_ store.Backend = (*Store)(nil)
	_ store.Watcher = (*Store)(nil)
	_ store.Cacher  = (*Store)(nil)
	_ store.Lister  = (*Store)(nil)
)

func TestConformance(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	storetest.Run(t, func(*testing.T) store.Backend { return s })
}

func TestConformanceOfTwoNodes(t *testing.T) {
	a, b := openStore(t, Config{}, sharedServer(t).Addr), openStore(t, Config{}, sharedServer(t).Addr)
	storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

// A process sees its own writes at once, whatever it has cached.
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

// openRemote returns a server behind a network that a test can break, a store connected to
// it directly, and one connected through that network.
func openRemote(t testing.TB, config Config) (network servers.Remote, direct, remote *Store) {
	t.Helper()
	network = servers.NewRemote(t, servers.Redis(t, servers.RedisOptions{}))
	return network, openStore(t, Config{}, network.Server.Addr), openStore(t, config, network.Proxy.Addr)
}

// newSession returns a session of owner, last seen now, with an idle timeout of an hour.
func newSession(owner string) store.Record {
	now := store.TimeOf(time.Now())
	r := store.Record{
		Session: &store.Session{
			ID: rand.Text(), Owner: owner, Stamp: "stamp", Authenticated: now,
			Expires: now.Add(12 * time.Hour), IdleTimeout: time.Hour, Version: 1, Values: []byte("values"),
		},
		LastSeen: now,
	}
	rand.Read(r.Key[:])
	r.Key[31] += byte(store.GroupOf(owner) - r.Key.Group())
	return r
}

func newOwner() string { return "session=" + rand.Text() }

// createSession creates a session of a new owner in s.
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

func load(t testing.TB, s *Store, r store.Record) error {
	_, err := s.Load(t.Context(), r.Key)
	return err
}

// successor returns a session to which Replace may move r.
func successor(r store.Record) store.Record {
	next := newSession(r.Owner)
	next.ID, next.Version = r.ID, r.Version+1
	return next
}

// allCalls returns a call of each method of [store.Backend] and [store.Lister] for r.
func allCalls(ctx context.Context, s *Store, r store.Record) map[string]func() error {
	return map[string]func() error{
		"Load":     func() error { _, err := s.Load(ctx, r.Key); return err },
		"Touch":    func() error { return s.Touch(ctx, r.Key, r.LastSeen+1) },
		"Save":     func() error { return s.Save(ctx, withValues(r, []byte("new"))) },
		"Replace":  func() error { return s.Replace(ctx, r.Key, r.Version, successor(r)) },
		"Delete":   func() error { _, err := s.Delete(ctx, r.Key, store.ReasonEnded); return err },
		"ByOwner":  func() error { _, err := s.ByOwner(ctx, r.Owner, "", store.MaxPage); return err },
		"LoadByID": func() error { _, err := s.LoadByID(ctx, r.Owner, r.ID); return err },
		"All":      func() error { _, err := listAll(ctx, s, r.Owner); return err },
		"Count":    func() error { _, err := s.Count(ctx, store.RealmOf(r.Owner)); return err },
		"DeleteByID": func() error {
			_, err := s.DeleteByID(ctx, []store.End{{Owner: r.Owner, ID: r.ID, Reason: store.ReasonEnded}})
			return err
		},
		"Create": func() error {
			_, err := s.Create(ctx, newSession(r.Owner), store.Limit{Max: 1, Refuse: true})
			return err
		},
	}
}

// listAll returns what All yields for the realm of an owner.
func listAll(ctx context.Context, s *Store, owner string) (records []store.Record, err error) {
	for r, e := range s.All(ctx, store.RealmOf(owner)) {
		if err = e; err == nil {
			records = append(records, r)
		}
	}
	return records, err
}

// inconclusive reports whether err is an error that says nothing about a session.
func inconclusive(err error) bool {
	return err != nil && !errors.Is(err, store.ErrNotFound) &&
		!errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrLimit)
}

func requireInconclusive(t testing.TB, err error, call string) {
	t.Helper()
	require.True(t, inconclusive(err), "%s: %v", call, err)
}

// sendCommand sends a command to the server of s, in a cluster to the node that has redisKey.
func sendCommand(t testing.TB, s *Store, command, redisKey string, args ...string) rueidis.RedisResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return s.client.Do(ctx, s.client.B().Arbitrary(command).Keys(redisKey).Args(args...).Build())
}

// runCommand sends a command without a key, which must succeed.
func runCommand(t testing.TB, s *Store, command ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.NoError(t, s.client.Do(ctx, s.client.B().Arbitrary(command...).Build()).Error())
}

// runOnServer sends a command to this very server, even if it is part of a cluster.
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

// withValues returns a copy of r with other values, which Save can store.
func withValues(r store.Record, values []byte) store.Record {
	s := *r.Session
	s.Values = values
	s.Version++
	r.Session = &s
	return r
}

// atVersion returns a copy of r with another Version.
func atVersion(r store.Record, version uint64) store.Record {
	s := *r.Session
	s.Version = version
	r.Session = &s
	return r
}
