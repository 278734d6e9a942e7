package redisstore

import (
	"encoding/base64"
	"strconv"
	"sync"

	"github.com/sessionguard-go/sessionguard/store"
)

// keyOf is where a session is, or what is left of it.
func (s *Store) keyOf(key store.Key) string {
	return s.groups[key.Group()] + "s:" + member(key)
}

// indexOf is where the keys of an owner's sessions are.
func (s *Store) indexOf(owner string) string {
	return s.groups[store.GroupOf(owner)] + "o:" + owner
}

// member is a session's name in its owner's index, and the last part of its key.
func member(key store.Key) string { return base64.RawURLEncoding.EncodeToString(key[:]) }

func parseMember(m string) (key store.Key, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(m)
	if err != nil || len(b) != len(key) {
		return key, false
	}
	return store.Key(b), true
}

// groupPrefixes are what the keys of each group begin with. The hash tag puts a group
// into one slot of a cluster.
func groupPrefixes(prefix string) (groups [store.Groups]string) {
	for i, tag := range tags() {
		groups[i] = prefix + "{" + tag + "}:"
	}
	return groups
}

// tags are for each group the lowest number whose slot is in the group's own share of
// all, so that nodes with equal shares of slots get equal shares of groups.
var tags = sync.OnceValue(func() (tags [store.Groups]string) {
	for n, missing := 0, len(tags); missing > 0; n++ {
		tag := strconv.Itoa(n)
		if group := slot(tag) / (slots / store.Groups); tags[group] == "" {
			tags[group] = tag
			missing--
		}
	}
	return tags
})

const slots = 16384

// slot is that of a hash tag: CRC-16/XMODEM, by the Redis Cluster specification.
func slot(tag string) int {
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
	return int(crc) % slots
}
