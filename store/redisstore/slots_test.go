package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

// A movingSlot is a slot that moves from one node of a cluster to another.
type movingSlot struct {
	cluster  *cluster
	slot     string
	from, to *servers.Server
	clients  map[*servers.Server]rueidis.Client
	nodeIDs  map[*servers.Server]string
}

// slotOfGroup returns the slot of a group on the first node, which moves to the second.
func slotOfGroup(t testing.TB, c *cluster, group int) *movingSlot {
	t.Helper()
	m := &movingSlot{
		cluster: c, slot: strconv.Itoa(hashSlot(groupTags()[group])),
		from: c[0], to: c[1], clients: map[*servers.Server]rueidis.Client{}, nodeIDs: map[*servers.Server]string{},
	}
	for _, node := range c {
		m.clients[node] = newClient(t, rueidis.ClientOption{ForceSingleClient: true, DisableCache: true}, node.Addr)
		id, err := m.run(t, node, "CLUSTER", "MYID").ToString()
		require.NoError(t, err)
		m.nodeIDs[node] = id
	}
	return m
}

// run sends a command to a node.
func (m *movingSlot) run(t testing.TB, node *servers.Server, command ...string) rueidis.RedisResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return m.clients[node].Do(ctx, m.clients[node].B().Arbitrary(command...).Build())
}

// begin begins the move. Each of the two nodes may then have some of the slot's keys.
func (m *movingSlot) begin(t testing.TB) {
	t.Helper()
	require.NoError(t, m.run(t, m.to, "CLUSTER", "SETSLOT", m.slot, "IMPORTING", m.nodeIDs[m.from]).Error())
	require.NoError(t, m.run(t, m.from, "CLUSTER", "SETSLOT", m.slot, "MIGRATING", m.nodeIDs[m.to]).Error())
}

// migrate moves one key.
func (m *movingSlot) migrate(t testing.TB, key string) {
	t.Helper()
	host, port, err := net.SplitHostPort(m.to.Addr)
	require.NoError(t, err)
	require.NoError(t, m.run(t, m.from, "MIGRATE", host, port, key, "0", "1000").Error())
}

// keys returns the keys that have not moved yet.
func (m *movingSlot) keys(t testing.TB) []string {
	t.Helper()
	keys, err := m.run(t, m.from, "CLUSTER", "GETKEYSINSLOT", m.slot, "1000").AsStrSlice()
	require.NoError(t, err)
	return keys
}

// finish moves the other keys and then the slot itself, and waits until each node has heard of it:
// a node that takes the slot back before, and does not know the other's epoch, has an older claim
// to it. The next move is the way back.
func (m *movingSlot) finish(t testing.TB) {
	t.Helper()
	for _, key := range m.keys(t) {
		m.migrate(t, key)
	}
	for _, node := range []*servers.Server{m.to, m.from, m.cluster[2]} {
		require.NoError(t, m.run(t, node, "CLUSTER", "SETSLOT", m.slot, "NODE", m.nodeIDs[m.to]).Error())
	}
	epoch := m.epoch(t, m.to, "cluster_my_epoch")
	for _, node := range m.cluster {
		require.Eventually(t, func() bool { return m.epoch(t, node, "cluster_current_epoch") >= epoch }, 10*time.Second, time.Millisecond)
	}
	m.from, m.to = m.to, m.from
}

// epoch returns a field of CLUSTER INFO.
func (m *movingSlot) epoch(t testing.TB, node *servers.Server, field string) int {
	t.Helper()
	info, err := m.run(t, node, "CLUSTER", "INFO").ToString()
	require.NoError(t, err)
	_, value, _ := strings.Cut(info, field+":")
	value, _, _ = strings.Cut(value, "\r")
	epoch, err := strconv.Atoi(value)
	require.NoError(t, err)
	return epoch
}

// While a slot moves, each of two nodes has some of its keys. A key that is not on the node
// where a script runs must never count as gone.
func TestMovingSlotNeverMakesSessionsLookGone(t *testing.T) {
	for name, config := range map[string]Config{"without caching": {}, "with caching": {CacheFor: time.Minute}} {
		for _, first := range []string{"its index", "one session"} {
			t.Run(name+" "+first+" moves first", func(t *testing.T) {
				config.Prefix = newOwner() + ":"
				s := openStore(t, config, sharedCluster(t).addresses()...)
				owner, slot := ownerInGroup(0), slotOfGroup(t, sharedCluster(t), 0)
				stays, moves := newSession(owner), newSession(owner)
				createRecord(t, s, stays)
				createRecord(t, s, moves)
				slot.begin(t)
				if first == "its index" {
					slot.migrate(t, s.indexKey(0))
				} else {
					slot.migrate(t, s.sessionKey(moves.Key))
				}

				for _, r := range []store.Record{stays, moves} {
					require.NoError(t, load(t, openStore(t, config, slot.from.Addr), r), "read for the first time")
					require.NoError(t, load(t, s, r))
					calls := allCalls(t.Context(), s, r)
					for _, name := range []string{"Replace", "Create"} {
						requireInconclusive(t, calls[name](), name)
					}
					for _, name := range []string{"Touch", "Save"} { // these may succeed
						if err := calls[name](); err != nil {
							requireInconclusive(t, err, name)
						}
					}
					for _, name := range []string{"ByOwner", "All", "Count"} {
						requireInconclusive(t, calls[name](), name)
					}
					require.NoError(t, load(t, s, r))
				}
				require.Len(t, keysOf(t, s, slot.to), 1, "a second index would prevent the first from moving")
				ended, err := s.Delete(t.Context(), moves.Key, store.ReasonEnded)
				if err == nil {
					require.Equal(t, moves.ID, ended.ID)
					require.ErrorIs(t, load(t, s, moves), store.ErrNotFound)
				} else {
					requireInconclusive(t, err, "Delete")
					require.NoError(t, load(t, s, moves))
				}

				slot.finish(t)
				records, err := s.ByOwner(t.Context(), owner, "", store.MaxPage)
				require.NoError(t, err)
				remaining := 2
				if ended.Session != nil {
					remaining--
				}
				require.Len(t, records, remaining, "the index has lost a session")
				all, err := listAll(t.Context(), s, owner)
				require.NoError(t, err)
				require.Len(t, all, remaining)
				n, err := s.Count(t.Context(), store.RealmOf(owner))
				require.NoError(t, err)
				require.Equal(t, remaining, n)
				slot.begin(t)
				slot.finish(t)
			})
		}
	}
}

// While a slot moves, a touch may find the session and not the index. The index must not expire
// before a session that lives on.
func TestTouchWhileASlotMovesKeepsTheIndexAsLongAsTheSession(t *testing.T) {
	for _, first := range []string{"its index", "the session"} {
		s := openStore(t, Config{Prefix: newOwner() + ":"}, sharedCluster(t).addresses()...)
		r, slot := newSession(ownerInGroup(0)), slotOfGroup(t, sharedCluster(t), 0)
		r.LastSeen = r.LastSeen.Add(-54 * time.Minute) // of an hour
		createRecord(t, s, r)
		slot.begin(t)
		if first == "its index" {
			slot.migrate(t, s.indexKey(0))
		} else {
			slot.migrate(t, s.sessionKey(r.Key))
		}
		requireInconclusive(t, s.Touch(t.Context(), r.Key, r.LastSeen.Add(54*time.Minute)), "Touch")
		slot.finish(t)

		require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen.Add(55*time.Minute)))
		requireTTL(t, s, s.sessionKey(r.Key), 76*time.Minute+store.Grace)
		requireTTL(t, s, s.indexKey(0), 76*time.Minute+store.Grace)
		slot.begin(t)
		slot.finish(t)
	}
}

// keysOf returns the keys of s on one node.
func keysOf(t testing.TB, s *Store, node *servers.Server) []string {
	t.Helper()
	keys, err := runOnServer(t, node, "KEYS", s.prefix+"*").AsStrSlice()
	require.NoError(t, err)
	return keys
}

// While slots move, each call is answered: no client library may panic, and no session looks
// gone.
func TestCallsGoOnWhileASlotMoves(t *testing.T) {
	t.Parallel()
	const callers, moves = 8, 20
	for name, cacheFor := range map[string]time.Duration{"without caching": 0, "with caching": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Config{Prefix: newOwner() + ":", CacheFor: cacheFor}, sharedCluster(t).addresses()...)
			owner, slot := ownerInGroup(0), slotOfGroup(t, sharedCluster(t), 0)
			var all sync.WaitGroup
			done := make(chan struct{})
			for range callers {
				r := newSession(owner)
				createRecord(t, s, r)
				all.Go(func() {
					for {
						select {
						case <-done:
							return
						default:
						}
						for _, name := range []string{"Load", "Touch", "ByOwner", "LoadByID"} {
							if err := callSafely(allCalls(t.Context(), s, r)[name]); err != nil && !inconclusive(err) || errors.Is(err, errPanic) {
								t.Errorf("%s: %v", name, err)
								return
							}
						}
					}
				})
			}
			all.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					n, err := s.Count(t.Context(), store.RealmOf(owner))
					if err == nil && n != callers {
						t.Errorf("Count returned %d", n)
					}
					listed, err := listAll(t.Context(), s, owner)
					if err == nil && len(listed) != callers {
						t.Errorf("All yielded %d sessions", len(listed))
					}
				}
			})
			for range moves {
				slot.begin(t)
				for _, key := range slot.keys(t) {
					slot.migrate(t, key)
				}
				slot.finish(t)
			}
			close(done)
			all.Wait()
		})
	}
}

var errPanic = errors.New("a panic")

// callSafely calls f, and returns its panic as an errPanic.
func callSafely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	return f()
}
