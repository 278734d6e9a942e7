package redisstore

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

func TestCorruptOrForeignRecordIsAnErrorNamingItsKey(t *testing.T) {
	other := newSession(newOwner())
	set := func(value func(r store.Record) string) func(*Store, store.Record) {
		return func(s *Store, r store.Record) { sendCommand(t, s, "SET", s.sessionKey(r.Key), value(r)) }
	}
	replace := func(command string, args ...string) func(*Store, store.Record) {
		return func(s *Store, r store.Record) {
			sendCommand(t, s, "DEL", s.sessionKey(r.Key))
			sendCommand(t, s, command, s.sessionKey(r.Key), args...)
		}
	}
	prefix := newOwner() + ":"
	for name, corrupt := range map[string]func(s *Store, r store.Record){
		"empty":           set(func(store.Record) string { return "" }),
		"foreign":         set(func(store.Record) string { return "Some other string" }),
		"a number":        set(func(store.Record) string { return "1" }),
		"only a header":   set(func(r store.Record) string { return encodeSession(r)[:headerSize] }),
		"half a record":   set(func(r store.Record) string { return encodeSession(r)[:headerSize+50] }),
		"a hash":          replace("HSET", "a", "b"),
		"a list":          replace("LPUSH", "a"),
		"another session": set(func(store.Record) string { return encodeSession(other) }),
		"half a move":     set(func(r store.Record) string { return encodeMove(r)[:50] }),
		"half a reason":   set(func(store.Record) string { return encodeTombstone(store.ReasonEnded)[:4] }),
		"like a reason":   set(func(store.Record) string { return "Elephants" }), // begins with kindTombstone
	} {
		for _, config := range []Config{{}, {CacheFor: time.Minute}} {
			config.Prefix = prefix
			s := openStore(t, config, sharedServer(t).Addr)
			for call := range allCalls(t.Context(), s, other) {
				r := newSession(newOwner())
				if call == "Load" {
					// Not created by s: it would not use its cache for its own write.
					sendCommand(t, s, "SET", s.sessionKey(r.Key), encodeSession(r))
				} else {
					createRecord(t, s, r)
				}
				corrupt(s, r)
				err := allCalls(t.Context(), s, r)[call]()
				sendCommand(t, s, "DEL", s.sessionKey(r.Key))
				isMarker := slices.Contains([]string{"half a move", "half a reason", "like a reason"}, name)
				switch {
				case call == "Count" && slices.Contains([]string{"only a header", "half a record", "another session"}, name):
					continue // it looks only at the header
				case isMarker && slices.Contains([]string{"ByOwner", "Create", "LoadByID", "DeleteByID", "All", "Count"}, call):
					continue // they skip markers without decoding them
				case name == "a hash" || name == "a list":
					requireInconclusive(t, err, name+": "+call)
					require.ErrorContains(t, err, "WRONGTYPE", name+": "+call)
				default:
					requireInconclusive(t, err, name+": "+call)
					require.ErrorIs(t, err, record.ErrCorrupt, name+": "+call)
					require.ErrorContains(t, err, quoteKey(s.sessionKey(r.Key)), name+": "+call)
				}
			}
		}
	}
}

// Whoever ends all sessions must get at all that can be read.
func TestCorruptRecordHidesNoOtherFromAll(t *testing.T) {
	s := openAlone(t)
	var keys []store.Key
	for range 300 {
		keys = append(keys, createSession(t, s).Key)
	}
	for _, corrupt := range []store.Record{createSession(t, s), createSession(t, s)} {
		sendCommand(t, s, "SET", s.sessionKey(corrupt.Key), "foreign")
	}
	records, err := listAll(t.Context(), s, newOwner())
	require.ErrorIs(t, err, record.ErrCorrupt)
	var listed []store.Key
	for _, r := range records {
		listed = append(listed, r.Key)
	}
	require.ElementsMatch(t, keys, listed)
}

func TestForeignIndexIsAnErrorAndChangesNothing(t *testing.T) {
	s := openStore(t, Config{Prefix: newOwner() + ":"}, sharedServer(t).Addr)
	r := createSession(t, s)
	sendCommand(t, s, "SET", s.indexKey(r.Key.Group()), "foreign")
	next, another := successor(r), newSession(r.Owner)
	requireInconclusive(t, s.Replace(t.Context(), r.Key, r.Version, next), "Replace")
	for _, limit := range []store.Limit{{}, {Max: 1}} {
		_, err := s.Create(t.Context(), another, limit)
		requireInconclusive(t, err, "Create")
	}
	for _, absent := range []store.Key{next.Key, another.Key} {
		_, err := s.Load(t.Context(), absent)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	_, err := s.Load(t.Context(), r.Key)
	require.NoError(t, err)
}

func TestInvalidKeysAndOwnersAreRefused(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	r := createSession(t, s)
	requireRefused := func(err error, wantText string) {
		t.Helper()
		requireInconclusive(t, err, wantText)
		require.ErrorContains(t, err, wantText)
	}
	_, err := s.Create(t.Context(), r, store.Limit{})
	requireRefused(err, "already")
	taken := successor(r)
	createRecord(t, s, taken)
	requireRefused(s.Replace(t.Context(), r.Key, r.Version, taken), "already")

	ownerless := newSession("")
	_, err = s.Create(t.Context(), ownerless, store.Limit{})
	requireRefused(err, "owner")

	wrongGroup := newSession(newOwner())
	wrongGroup.Key[31]++
	_, err = s.Create(t.Context(), wrongGroup, store.Limit{})
	requireRefused(err, "group")
	requireRefused(s.Replace(t.Context(), r.Key, r.Version, wrongGroup), "group")

	otherOwner := newSession(newOwner())
	for ; otherOwner.Key.Group() != r.Key.Group(); otherOwner = newSession(newOwner()) {
	}
	requireRefused(s.Replace(t.Context(), r.Key, r.Version, otherOwner), "another owner")
	for ; otherOwner.Key.Group() == r.Key.Group(); otherOwner = newSession(newOwner()) {
	}
	requireRefused(s.Replace(t.Context(), r.Key, r.Version, otherOwner), "group")

	got, err := s.Load(t.Context(), r.Key)
	require.NoError(t, err)
	require.Equal(t, r.ID, got.ID)
}
