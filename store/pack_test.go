package store

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	mathrand "math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"
)

// Sessions move between packs all the time. Whoever holds one must not see that, nor may what
// belongs to one session be found in another's.
func TestMemoryRecordStaysAsItWasLoaded(t *testing.T) {
	m, now := NewMemory(), map[Key]string{}
	var keys []Key // of now
	type held struct {
		Record
		as string
	}
	var loaded []held
	create := func() {
		r := testSession(strconv.Itoa(mathrand.IntN(50)))
		mustCreate(t, m, r)
		now[r.Key] = asText(r)
		keys = append(keys, r.Key)
	}
	forget := func(i int) {
		delete(now, keys[i])
		keys[i] = keys[len(keys)-1]
		keys = keys[:len(keys)-1]
	}
	for range 20_000 {
		if len(keys) == 0 || len(keys) < 500 && mathrand.IntN(2) == 0 {
			create()
			continue
		}
		i := mathrand.IntN(len(keys))
		r, err := m.Load(t.Context(), keys[i])
		require.NoError(t, err)
		require.Equal(t, now[r.Key], asText(r))
		loaded = append(loaded, held{r, now[r.Key]})
		switch mathrand.IntN(5) {
		case 0:
			require.NoError(t, errOf(m.Delete(t.Context(), r.Key, ReasonEnded)))
			forget(i)
		case 1:
			next := copyOf(r)
			next.Key = testSession("").Key
			require.NoError(t, m.Replace(t.Context(), r.Key, r.Version, next))
			forget(i)
			now[next.Key] = asText(next)
			keys = append(keys, next.Key)
		case 2:
			saved := copyOf(r)
			saved.Values = randomValues()
			saved.Version++
			require.NoError(t, m.Save(t.Context(), saved))
			now[r.Key] = asText(saved)
		}
	}
	for key, as := range now {
		r, err := m.Load(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, as, asText(r))
		byID, err := m.LoadByID(t.Context(), r.Owner, r.ID)
		require.NoError(t, err)
		require.Equal(t, as, asText(byID))
	}
	for _, h := range loaded {
		require.Equal(t, h.as, asText(h.Record))
	}
}

// The race detector watches that nobody writes to what others read.
func TestMemoryRecordIsNotWrittenToWhileItIsRead(t *testing.T) {
	m := NewMemory()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 30 {
				var mine []Record
				for range 3 * packSize {
					r := testSession("alice")
					mustCreate(t, m, r)
					mine = append(mine, r)
				}
				for _, r := range mine {
					got, err := m.Load(t.Context(), r.Key)
					require.NoError(t, err)
					require.Equal(t, asText(r), asText(got))
					m.Save(t.Context(), atVersion(got, got.Version+1))
					m.Delete(t.Context(), r.Key, ReasonLoggedOut)
					require.Equal(t, asText(r), asText(got))
				}
			}
		})
		wg.Go(func() {
			for range 100 {
				owned, _ := m.ByOwner(t.Context(), "alice", "", MaxPage)
				for _, r := range owned {
					require.Equal(t, "address of "+r.ID, r.Address)
				}
			}
		})
	}
	wg.Wait()
}

// However sessions come and go, packs hold little more than what is stored.
func TestMemoryFreesPacksOfEndedSessions(t *testing.T) {
	m := NewMemory()
	var keys []Key
	requireDense := func() {
		t.Helper()
		for i := range m.shards {
			p := &m.shards[i].packs
			held, stored, loose, alone := 0, 0, 0, 0
			for _, pack := range p.all {
				if len(pack.sessions) == 1 && len(pack.sessions[0].Values) > maxPackedValues {
					alone++
					require.Equal(t, 1, pack.stored)
					continue
				}
				held += len(pack.sessions)
				stored += pack.stored
			}
			for _, session := range p.loose {
				if session != nil {
					loose++
				}
			}
			require.Equal(t, m.shards[i].count, stored+loose+alone)
			require.LessOrEqual(t, len(p.loose), maxLoose)
			require.LessOrEqual(t, held, stored*packSize/minStored)
			require.LessOrEqual(t, len(p.all)-len(p.free)-alone-1, stored/minStored)
		}
	}
	for range 5000 {
		r := testSession("alice")
		r.Key[0] %= 2
		mustCreate(t, m, r)
		keys = append(keys, r.Key)
	}
	requireDense()
	for range 1000 { // a free slot is used again
		r := testSession("alice")
		r.Key[0] = 0
		mustCreate(t, m, r)
		require.NoError(t, errOf(m.Delete(t.Context(), r.Key, ReasonLoggedOut)))
		require.LessOrEqual(t, len(m.shards[0].slots), 1+m.shards[0].count+1)
	}
	mathrand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for i, key := range keys {
		r, err := m.Load(t.Context(), key)
		require.NoError(t, err)
		require.NoError(t, m.Save(t.Context(), atVersion(r, r.Version+1)))
		require.NoError(t, errOf(m.Delete(t.Context(), key, ReasonLoggedOut)))
		if i%100 == 0 {
			requireDense()
		}
	}
	require.Zero(t, m.entryCount())
	for i := range m.shards {
		require.LessOrEqual(t, len(m.shards[i].slots), 1+64, "the slots of a million sessions that are gone stay")
	}
}

// Long values, and secrets in them, are not kept because the neighbors of their session live on.
func TestMemoryForgetsLongValuesOfEndedSession(t *testing.T) {
	m := NewMemory()
	ended, saved := testSession("alice"), testSession("alice")
	key := ended.Key
	var held []weak.Pointer[byte]
	longValues := func() []byte {
		values := make([]byte, maxPackedValues+1)
		held = append(held, weak.Make(&values[0]))
		return values
	}
	requireHeld := func(n int) {
		t.Helper()
		runtime.GC()
		held = slices.DeleteFunc(held, func(p weak.Pointer[byte]) bool { return p.Value() == nil })
		require.Len(t, held, n)
	}
	save := func() {
		saved = copyOf(saved)
		saved.Values = longValues()
		saved.Version++
		require.NoError(t, m.Save(t.Context(), saved))
	}
	ended.Values = longValues()
	mustCreate(t, m, ended, saved)
	save()
	for range 10 * packSize {
		r := testSession("bob")
		r.Key[0] = key[0]
		mustCreate(t, m, r)
	}
	requireHeld(2)
	require.NoError(t, errOf(m.Delete(t.Context(), key, ReasonLoggedOut)))
	ended = Record{}
	requireHeld(1)
	for range 3 {
		save()
		requireHeld(1)
	}
	runtime.KeepAlive(m)
}

// Whoever appends to values gets a copy, and writes neither to a neighbor's nor to what another
// request appends.
func TestMemoryValuesHaveNoRoomToAppend(t *testing.T) {
	m := NewMemory()
	for n := range 3 * packSize {
		r := testSession("alice")
		r.Key[0], r.Values = 0, make([]byte, 40*n, 80*n)
		mustCreate(t, m, r)
		if n%2 == 0 {
			saved := atVersion(r, r.Version+1)
			saved.Values = make([]byte, 20*n, 80*n)
			require.NoError(t, m.Save(t.Context(), saved))
		}
	}
	m.forEach(func(shard *shard, s *slot) {
		values := shard.session(s).Values
		require.Equal(t, len(values), cap(values))
	})
}

// testSession returns a session in which every field has a value of its own. It is in one of
// three shards.
func testSession(owner string) Record {
	r := testRecord(owner, time.Hour)
	r.Key[0] %= 3
	r.Stamp, r.Values, r.Created = "stamp of "+r.ID, randomValues(), r.LastSeen
	r.Client, r.Address = "browser of "+r.ID, "address of "+r.ID
	r.Details = &Details{Label: "label of " + r.ID}
	return r
}

func randomValues() []byte {
	return bytes.Repeat([]byte(rand.Text()), mathrand.IntN(30))
}

// asText returns all fields of r.
func asText(r Record) string {
	text, _ := json.Marshal(r.Session)
	return string(text)
}

func copyOf(r Record) Record {
	s := *r.Session
	r.Session = &s
	return r
}
