package bench

import (
	"encoding/binary"
	"hash/maphash"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard/store"
)

const heldName = "the least that holds the same sessions"

// realm is that of a guard's sessions with the default Config.CookieName.
const realm = "__Host-Http-session="

// heldSessions are the sessions of a [store.Memory] in as little memory as they can be in to be
// found by key and by owner, and to be read without a copy. Each piece of it is as large as it has
// to be, so no session can be added, changed or removed.
type heldSessions struct {
	sessions []store.Session
	lastSeen []store.Time
	byKey    heldIndex
	byOwner  heldIndex
	seed     maphash.Seed
}

// A heldIndex is a hash table of sessions, which it knows by their index + 1.
type heldIndex struct {
	first []uint32 // of each chain; there are as many as sessions
	next  []uint32 // in the chain of each session
}

func newHeldIndex(n int) heldIndex { return heldIndex{make([]uint32, n), make([]uint32, n)} }

func (x heldIndex) chain(hash uint64) *uint32 { return &x.first[hash%uint64(len(x.first))] }

func (x heldIndex) add(session int, hash uint64) {
	first := x.chain(hash)
	x.next[session], *first = *first, uint32(session+1)
}

// heapOfHeld returns how many bytes of heap each of n sessions takes, after login has logged in
// n users.
func heapOfHeld(t *testing.T, n int, login func(subject)) float64 {
	t.Helper()
	memory := store.NewMemory()
	login(newGuardSubject(t, guardName, memory))
	before := measureHeap()
	held := hold(t, memory, n)
	heap := measureHeap().heap - before.heap
	for r, err := range memory.All(t.Context(), realm) {
		want, found := *r.Session, held.find(r.Key)
		want.Details = nil
		check(err == nil && reflect.DeepEqual(*found, want) && held.findOwned(r.Owner) == found)
	}
	runtime.KeepAlive(held)
	return heap / float64(n)
}

// hold returns the n sessions of memory, each of another user, as they are now.
func hold(t *testing.T, memory *store.Memory, n int) heldSessions {
	t.Helper()
	held := heldSessions{make([]store.Session, n), make([]store.Time, n), newHeldIndex(n), newHeldIndex(n), maphash.MakeSeed()}
	i, textSize, valuesSize := 0, 0, 0
	for r, err := range memory.All(t.Context(), realm) {
		check(err == nil && reflect.DeepEqual(r.Detail(), store.Details{}))
		held.sessions[i], held.lastSeen[i] = *r.Session, r.LastSeen
		held.sessions[i].Details = nil
		for _, s := range textOf(&held.sessions[i]) {
			textSize += len(*s)
		}
		valuesSize += len(r.Values)
		i++
	}
	check(i == n)
	var text strings.Builder
	text.Grow(textSize)
	values := make([]byte, 0, valuesSize)
	client := strings.Clone(held.sessions[0].Client)
	for i := range held.sessions {
		s := &held.sessions[i]
		check(s.Client == client) // all have the same
		s.Client = client
		for _, part := range textOf(s) {
			at := text.Len()
			text.WriteString(*part)
			*part = text.String()[at:]
		}
		if at := len(values); len(s.Values) > 0 {
			values = append(values, s.Values...)
			s.Values = values[at:len(values):len(values)]
		}
		held.byKey.add(i, hashOfKey(s.Key))
		held.byOwner.add(i, maphash.String(held.seed, s.Owner))
	}
	return held
}

// textOf returns the strings of a session, which is that of no other.
func textOf(s *store.Session) [4]*string { return [...]*string{&s.ID, &s.Owner, &s.Stamp, &s.Address} }

func hashOfKey(key store.Key) uint64 { return binary.LittleEndian.Uint64(key[:]) }

func (held *heldSessions) find(key store.Key) *store.Session {
	for i := *held.byKey.chain(hashOfKey(key)); i != 0; i = held.byKey.next[i-1] {
		if s := &held.sessions[i-1]; s.Key == key {
			return s
		}
	}
	return nil
}

func (held *heldSessions) findOwned(owner string) *store.Session {
	for i := *held.byOwner.chain(maphash.String(held.seed, owner)); i != 0; i = held.byOwner.next[i-1] {
		if s := &held.sessions[i-1]; s.Owner == owner {
			return s
		}
	}
	return nil
}
