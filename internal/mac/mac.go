// Package mac makes message authentication codes (HMAC-SHA-256, RFC 2104) of short messages
// without allocating.
package mac

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// Size is the length of a code.
const Size = sha256.Size

// maxMessage is the length of the longest message that a MAC has room for.
const maxMessage = 96

// A Key makes codes with one key. It is safe for concurrent use.
type Key struct{ pool sync.Pool }

// NewKey returns a Key.
func NewKey(key []byte) *Key {
	k := new(Key)
	k.pool.New = func() any { return &MAC{hash: hmac.New(sha256.New, key)} }
	return k
}

// Get returns a MAC, which is to be handed back to Put. MACs are used again, since [hmac.New]
// allocates and hashes the key: one that has been reset is back at its state after that.
func (k *Key) Get() *MAC { return k.pool.Get().(*MAC) }

// Put takes a MAC back.
func (k *Key) Put(m *MAC) { k.pool.Put(m) }

// A MAC is an HMAC with the buffers that it needs: the compiler cannot know that a
// [hash.Hash] keeps none of them, so they would be allocated.
type MAC struct {
	hash hash.Hash
	in   [maxMessage]byte
	out  [Size]byte
}

// Message returns an empty slice with room for a message. A longer one is allocated.
func (m *MAC) Message() []byte { return m.in[:0] }

// Sum returns the code of a message, which is valid until the next call.
func (m *MAC) Sum(message []byte) []byte {
	m.hash.Reset()
	_, _ = m.hash.Write(message) // never fails
	return m.hash.Sum(m.out[:0])
}
