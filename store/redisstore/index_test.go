package redisstore

import (
	"crypto/sha1"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

func exists(t testing.TB, s *Store, redisKey string) bool {
	t.Helper()
	n, err := sendCommand(t, s, "EXISTS", redisKey).AsInt64()
	require.NoError(t, err)
	return n == 1
}

// openAlone returns a store whose keys no other store uses.
func openAlone(t testing.TB) *Store {
	t.Helper()
	return openStore(t, Config{Prefix: newOwner() + ":"}, sharedServer(t).Addr)
}

// indexSize returns the number of entries in the index of r's group.
func indexSize(t testing.TB, s *Store, r store.Record) int {
	t.Helper()
	n, err := sendCommand(t, s, "ZCARD", s.indexKey(r.Key.Group())).AsInt64()
	require.NoError(t, err)
	return int(n)
}

// indexEntry returns r's entry in the index, as scripts make it.
func indexEntry(r store.Record) string {
	realm, owner := sha1.Sum([]byte(store.RealmOf(r.Owner))), sha1.Sum([]byte(r.Owner))
	return string(realm[:6]) + string(owner[:18]) + r.ID + "\x00" + string(r.Key[:])
}

// addStale adds the entry of a session that has expired in Redis.
func addStale(t testing.TB, s *Store, r store.Record) {
	t.Helper()
	require.NoError(t, sendCommand(t, s, "ZADD", s.indexKey(r.Key.Group()), "0", indexEntry(r)).Error())
}

func TestIndexEntries(t *testing.T) {
	for _, owner := range []string{"session=ada", "a", "a:", "/", "a\x00=b:c/d", "\xff\xff:\xff", "é=}{a"} {
		for _, id := range []string{"id", "\x01", "\xff", strings.Repeat("\xff", 255)} {
			s, r := openAlone(t), newSession(owner)
			r.ID = id
			createRecord(t, s, r)
			entries, err := sendCommand(t, s, "ZRANGE", s.indexKey(r.Key.Group()), "0", "-1").AsStrSlice()
			require.NoError(t, err)
			require.Equal(t, []string{indexEntry(r)}, entries)
			got, err := s.LoadByID(t.Context(), owner, id)
			require.NoError(t, err)
			require.Equal(t, r.Key, got.Key)
		}
	}
}

// A range ends before what is one greater, and a hash may end with the greatest byte.
func TestRangesOfHashesThatEndWithTheGreatestByte(t *testing.T) {
	realm, owner := "session=", ""
	for i := 0; indexEntry(newSession(realm))[5] != 0xff; i++ {
		realm = fmt.Sprintf("session%d=", i)
	}
	for i := 0; owner == "" || indexEntry(newSession(owner))[23] != 0xff; i++ {
		owner = fmt.Sprint(realm, i)
	}
	s := openAlone(t)
	createRecord(t, s, newSession(owner))
	createRecord(t, s, newSession(realm+"other"))
	page, err := s.ByOwner(t.Context(), owner, "", store.MaxPage)
	require.NoError(t, err)
	require.Len(t, page, 1)
	n, err := s.Count(t.Context(), realm)
	require.NoError(t, err)
	require.Equal(t, 2, n)
}

func TestIndexDropsSessionsThatAreGone(t *testing.T) {
	const stale = 20
	newStaleIndex := func() (*Store, store.Record) { // one live session, the others expired in Redis
		s, live := openAlone(t), newSession(newOwner())
		live.ID = "z" // the last in the order of IDs
		createRecord(t, s, live)
		for range stale {
			addStale(t, s, newSession(live.Owner))
		}
		require.Equal(t, 1+stale, indexSize(t, s, live))
		return s, live
	}
	t.Run("up to four per login, of any owner", func(t *testing.T) {
		s, live := newStaleIndex()
		for _, limit := range []store.Limit{{}, {Max: 1}, {Max: 1, Refuse: true}} {
			before := indexSize(t, s, live)
			_, err := s.Create(t.Context(), newSession(ownerInGroup(live.Key.Group())), limit)
			require.NoError(t, err)
			require.LessOrEqual(t, indexSize(t, s, live), before)
			require.GreaterOrEqual(t, indexSize(t, s, live), before-3)
		}
		for range 100 {
			createRecord(t, s, newSession(ownerInGroup(live.Key.Group())))
		}
		require.LessOrEqual(t, indexSize(t, s, live), 104+5, "those that are stored, and hardly more")
	})
	t.Run("in a steady stream of logins", func(t *testing.T) {
		for name, owner := range map[string]func() string{
			"of one user": func() string { return "session=one" },
			"of many":     func() string { return ownerInGroup(store.GroupOf("session=one")) },
		} {
			const live = 64
			s, created := openAlone(t), []store.Record{}
			for i := range 10 * live {
				r := newSession(owner())
				createRecord(t, s, r)
				if created = append(created, r); i >= live { // expires in Redis
					sendCommand(t, s, "DEL", s.sessionKey(created[i-live].Key))
				}
			}
			require.Less(t, indexSize(t, s, created[0]), 2*live, name)
		}
	})
	t.Run("all of an owner at a login with a limit", func(t *testing.T) {
		s, live := newStaleIndex()
		_, err := s.Create(t.Context(), newSession(live.Owner), store.Limit{Max: 9})
		require.NoError(t, err)
		require.Equal(t, 2, indexSize(t, s, live))
	})
	for name, read := range map[string]func(*Store, string) (int, error){
		"ByOwner": func(s *Store, owner string) (int, error) {
			records, err := s.ByOwner(t.Context(), owner, "", store.MaxPage)
			return len(records), err
		},
		"All": func(s *Store, owner string) (int, error) {
			records, err := listAll(t.Context(), s, owner)
			return len(records), err
		},
		"Count": func(s *Store, owner string) (int, error) { return s.Count(t.Context(), store.RealmOf(owner)) },
	} {
		t.Run("all in "+name, func(t *testing.T) {
			s, live := newStaleIndex()
			n, err := read(s, live.Owner)
			require.NoError(t, err)
			require.Equal(t, 1, n)
			require.Equal(t, 1, indexSize(t, s, live))
		})
	}
	t.Run("the session that ends or moves", func(t *testing.T) {
		s := openAlone(t)
		r := createSession(t, s)
		next := successor(r)
		require.NoError(t, s.Replace(t.Context(), r.Key, r.Version, next))
		require.Equal(t, 1, indexSize(t, s, r))
		_, err := s.Delete(t.Context(), next.Key, store.ReasonEnded)
		require.NoError(t, err)
		require.False(t, exists(t, s, s.indexKey(r.Key.Group())))
	})
}

// An index may be missing because of an eviction policy, against all advice, or an operator.
func TestTouchRestoresTheIndex(t *testing.T) {
	for name, change := range map[string]func(*store.Record){
		"idle timeout":     func(*store.Record) {},
		"absolute timeout": func(r *store.Record) { r.Expires = r.LastSeen.Add(time.Hour) },
		"remembered":       func(r *store.Record) { r.Details = &store.Details{RememberUntil: r.Expires} },
	} {
		t.Run(name, func(t *testing.T) {
			s, r := openAlone(t), newSession(newOwner())
			change(&r)
			createRecord(t, s, r)
			for after := time.Minute; after < 40*time.Minute; after += 16 * time.Minute {
				sendCommand(t, s, "DEL", s.indexKey(r.Key.Group()))
				createRecord(t, s, newSession(ownerInGroup(r.Key.Group()))) // makes a new one
				require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen.Add(after)))
				require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen.Add(after+15*time.Minute)))
				records, err := s.ByOwner(t.Context(), r.Owner, "", store.MaxPage)
				require.NoError(t, err)
				require.Len(t, records, 1, after)
			}
		})
	}
}

// A user may send any ID. With zero bytes it could be like the entry of a session and part of
// its key.
func TestOnlyTheWholeIDFindsASession(t *testing.T) {
	s, r := openAlone(t), newSession(newOwner())
	copy(r.Key[:], "\x00key\x00")
	createRecord(t, s, r)
	for _, id := range []string{"", r.ID[:5], r.ID + "\x00", r.ID + "\x00\x00key", indexEntry(r)[24:], strings.Repeat("x", 1<<16)} {
		_, err := s.LoadByID(t.Context(), r.Owner, id)
		require.ErrorIs(t, err, store.ErrNotFound, "%q", id)
		ended, err := s.DeleteByID(t.Context(), []store.End{{Owner: r.Owner, ID: id, Reason: store.ReasonEnded}})
		require.NoError(t, err)
		require.Nil(t, ended[0].Session, "%q", id)
	}
	require.NoError(t, load(t, s, r))
}

// Two owners with the same hash cannot be had, so that the entry of one is put in its place.
func TestOwnersWithTheSameHashNeverMeet(t *testing.T) {
	s, r := openAlone(t), newSession(newOwner())
	other := newSession(ownerInGroup(r.Key.Group()))
	other.ID, other.LastSeen = r.ID, other.LastSeen-1
	createRecord(t, s, other)
	createRecord(t, s, r)
	like := newSession(r.Owner)
	like.ID, like.Key = r.ID, other.Key
	require.NoError(t, sendCommand(t, s, "ZREM", s.indexKey(r.Key.Group()), indexEntry(other)).Error())
	addStale(t, s, like)
	requireUnmet := func(page []store.Record, err error) {
		t.Helper()
		require.NoError(t, err)
		require.Len(t, page, 1)
		require.Equal(t, r.Key, page[0].Key)
	}
	requireUnmet(s.ByOwner(t.Context(), r.Owner, "", store.MaxPage))
	found, err := s.LoadByID(t.Context(), r.Owner, r.ID)
	requireUnmet([]store.Record{found}, err)
	next := newSession(r.Owner)
	requireUnmet(s.Create(t.Context(), next, store.Limit{Max: 1}))
	ended, err := s.DeleteByID(t.Context(), []store.End{{Owner: r.Owner, ID: other.ID, Reason: store.ReasonEnded}})
	require.NoError(t, err)
	require.Nil(t, ended[0].Session)
	require.NoError(t, load(t, s, other))
}

// Pages are full even where sessions have expired in Redis, and values do not count.
func TestPagesAreFullWhereSessionsHaveExpired(t *testing.T) {
	s, owner := openAlone(t), newOwner()
	var live []string
	for i := range 60 {
		r := newSession(owner)
		r.Client = strings.Repeat("u", 100*i) // some heads are long
		r.Values = make([]byte, 5000)
		createRecord(t, s, r)
		if i%3 == 0 {
			live = append(live, r.ID)
		} else {
			sendCommand(t, s, "DEL", s.sessionKey(r.Key))
		}
	}
	slices.Sort(live)
	for after := ""; len(live) > 0; {
		page, err := s.ByOwner(t.Context(), owner, after, 7)
		require.NoError(t, err)
		require.Len(t, page, min(7, len(live)))
		for i, r := range page {
			require.Equal(t, live[i], r.ID)
			require.Empty(t, r.Values)
			after = r.ID
		}
		live = live[len(page):]
	}
	require.Equal(t, 20, indexSize(t, s, newSession(owner)))
}

// A page that ends with a stale entry goes on right behind it.
func TestStaleEntryHidesNoSessionWithItsID(t *testing.T) {
	s, r := openAlone(t), newSession(newOwner())
	r.Key[0] = 0xff
	createRecord(t, s, r)
	stale := newSession(r.Owner)
	stale.ID, stale.Key[0] = r.ID, 0
	addStale(t, s, stale)
	page, err := s.ByOwner(t.Context(), r.Owner, "", 1)
	require.NoError(t, err)
	require.Len(t, page, 1)
	require.Equal(t, r.Key, page[0].Key)
}

// A cluster has several groups of owners, each on one node.
func TestDeleteByIDSpansGroups(t *testing.T) {
	s := openStore(t, Config{CacheFor: time.Minute}, sharedCluster(t).addresses()...)
	var ends []store.End
	for range store.MaxPage {
		r := createSession(t, s)
		require.NoError(t, load(t, s, r))
		ends = append(ends, store.End{Owner: r.Owner, ID: r.ID, Reason: store.ReasonEnded})
	}
	ended, err := s.DeleteByID(t.Context(), ends)
	require.NoError(t, err)
	for i, r := range ended {
		require.Equal(t, ends[i].ID, r.ID)
		require.ErrorIs(t, load(t, s, r), store.ErrNotFound)
	}
}
