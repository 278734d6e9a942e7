package redisstore

import (
	"encoding/base64"
	"strconv"
	"sync"

	"github.com/sessionguard-go/sessionguard/store"
)

// sessionKey returns the Redis key of a session, or of the tombstone or move marker that
// took its place.
func (s *Store) sessionKey(key store.Key) string {
	return s.groups[key.Group()] + "s:" + member(key)
}

// indexKey returns the Redis key of an owner's index, a sorted set of entries.
func (s *Store) indexKey(owner string) string {
	return s.groups[store.GroupOf(owner)] + "o:" + owner
}

// member returns what ends a session's Redis key, and its entry in its owner's index.
func member(key store.Key) string { return base64.RawURLEncoding.EncodeToString(key[:]) }

// indexEntry returns a session's entry in its owner's index: see prelude in scripts.go.
func indexEntry(r store.Record) string { return r.ID + "\x00" + member(r.Key) }

func parseMember(m string) (key store.Key, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(m)
	if err != nil || len(b) != len(key) {
		return key, false
	}
	return store.Key(b), true
}

// groupPrefixes returns the prefix of each group's keys. Its hash tag puts the whole group
// into one slot of a cluster.
func groupPrefixes(prefix string) (groups [store.Groups]string) {
	for i, tag := range groupTags() {
		groups[i] = prefix + "{" + tag + "}:"
	}
	return groups
}

// groupTags returns the hash tag of each group. Each group owns an equal, contiguous share
// of the slots, and its tag is the lowest number that hashes into that share. So nodes
// with equal shares of the slots get equal shares of the groups.
var groupTags = sync.OnceValue(func() (tags [store.Groups]string) {
	for n, missing := 0, len(tags); missing > 0; n++ {
		tag := strconv.Itoa(n)
		if group := hashSlot(tag) / (slotCount / store.Groups); tags[group] == "" {
			tags[group] = tag
			missing--
		}
	}
	return tags
})

const slotCount = 16384 // of every Redis Cluster

// hashSlot returns the slot of a hash tag: its CRC-16/XMODEM modulo the number of slots,
// by the Redis Cluster specification.
func hashSlot(tag string) int {
	var crc uint16
	for _, b := range []byte(tag) {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
	}
	return int(crc) % slotCount
}
