package redisstore

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// Changing a tag would lose every session of its group.
func TestGroupTagsNeverChange(t *testing.T) {
	all := groupTags()
	require.Equal(t, strings.Fields(`
		10 18 113 342 29 21 3 122 69 61 72 162 50 58 153 43 11 19 112 343 28 20
		2 123 68 60 73 163 51 59 152 42 12 102 111 119 133 23 1 9 173 63 70 78
		52 142 49 41 13 103 110 118 132 22 0 8 172 62 71 79 53 143 48 40
	`), all[:])
}

func TestGroupsSpreadEvenlyOverSlots(t *testing.T) {
	all := groupTags()
	for _, nodes := range []int{1, 2, 3, 4, 6, 10, 16, 32, 64} {
		groups := make([]int, nodes)
		for _, tag := range all {
			groups[hashSlot(tag)*nodes/slotCount]++
		}
		require.GreaterOrEqual(t, slices.Min(groups), store.Groups/nodes-1, "%d nodes: %v", nodes, groups)
		require.LessOrEqual(t, slices.Max(groups), (store.Groups+nodes-1)/nodes+1, "%d nodes: %v", nodes, groups)
	}
}

// The value is the example of the Redis Cluster specification.
func TestHashSlotMatchesTheSpecification(t *testing.T) {
	require.Equal(t, 0x31C3%slotCount, hashSlot("123456789"))
}

func TestKeysOfAnOwnerShareOneTag(t *testing.T) {
	s := &Store{groups: groupPrefixes("x:")}
	for range 100 {
		owner := newOwner() + "}{a"
		r := newSession(owner)
		tag := func(key string) string { return key[strings.Index(key, "{"):strings.Index(key, "}")] }
		require.Equal(t, tag(s.sessionKey(r.Key)), tag(s.indexKey(store.GroupOf(owner))))
	}
}

// A key may have any bytes, such as those that follow it in Redis keys.
func TestKeyFromRedisKey(t *testing.T) {
	s := &Store{groups: groupPrefixes("x:")}
	r := newSession(newOwner())
	copy(r.Key[:], "s:{}:s:\x00\xff")
	key, ok := keyFromRedisKey(s.sessionKey(r.Key))
	require.True(t, ok)
	require.Equal(t, r.Key, key)
	for _, foreign := range []string{"", "s:", "s:x", s.sessionKey(r.Key)[:38], s.sessionKey(r.Key) + "A", s.indexKey(0), string(r.Key[:])} {
		_, ok := keyFromRedisKey(foreign)
		require.False(t, ok, foreign)
	}
}

func TestKeysInErrorsAreAsRedisCLITakesThem(t *testing.T) {
	require.Equal(t, `"a{1}:s:\x00\xc3\xa9\"\\\x7f~"`, quoteKey("a{1}:s:\x00é\"\\\x7f~"))
}
