package redisstore

import (
	"fmt"
	"strconv"
	"sync"

	"github.com/sessionguard-go/sessionguard/store"
)

// sessionKey returns the Redis key of a session, or of the tombstone or move marker that
// took its place. It ends with the 32 bytes of key, the session's member.
func (s *Store) sessionKey(key store.Key) string {
	return s.groups[key.Group()] + "s:" + string(key[:])
}

// keyFromRedisKey returns the key of the session at a Redis key.
func keyFromRedisKey(redisKey string) (key store.Key, ok bool) {
	at := len(redisKey) - len(key)
	if at < 2 || redisKey[at-2:at] != "s:" {
		return key, false
	}
	return store.Key([]byte(redisKey[at:])), true
}

// indexKey returns the Redis key of the index of a group's sessions: see prelude in scripts.go.
// It is one for each group, and not one for each owner, so that All and Count find all
// sessions, and each costs less memory.
func (s *Store) indexKey(group int) string { return s.groups[group] + "index" }

// quoteKey returns a Redis key as redis-cli takes it.
func quoteKey(redisKey string) string {
	b := []byte{'"'}
	for _, c := range []byte(redisKey) {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c > '~':
			b = fmt.Appendf(b, `\x%02x`, c)
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
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
