package app

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"runtime"
	"time"
)

// hasher hashes passwords for storage. It is slow, so that the passwords in a stolen
// database cannot be guessed quickly, and it hashes only a few at once, so that a flood of
// logins does not occupy the whole machine.
type hasher struct {
	iterations int
	derive     func(password string, salt []byte, iterations int) ([]byte, error)
	slots      chan struct{} // holds one value for each password being hashed
}

// passwordHash stores its number of iterations, so that new hashes can use more.
type passwordHash struct {
	iterations int
	salt, key  []byte
}

// errBusy is returned when a login has waited for maxQueue because of too many others.
var errBusy = errors.New("too many logins at once")

const (
	saltSize = 16
	keySize  = 32
	// maxQueue is how long a login waits for a free slot.
	maxQueue = 5 * time.Second
)

// newHasher returns a hasher that uses PBKDF2-HMAC-SHA256 with the 600,000 iterations of
// OWASP's Password Storage Cheat Sheet, about a tenth of a second on one core. PBKDF2 is in
// the standard library. The cheat sheet prefers Argon2id (golang.org/x/crypto/argon2),
// which also costs an attacker memory.
func newHasher() *hasher {
	return &hasher{
		iterations: 600_000,
		derive: func(password string, salt []byte, iterations int) ([]byte, error) {
			return pbkdf2.Key(sha256.New, password, salt, iterations, keySize)
		},
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
}

func (h *hasher) hash(ctx context.Context, password string) (passwordHash, error) {
	p := passwordHash{iterations: h.iterations, salt: random(saltSize)}
	var err error
	p.key, err = h.key(ctx, password, p)
	return p, err
}

func (h *hasher) matches(ctx context.Context, password string, stored passwordHash) (bool, error) {
	key, err := h.key(ctx, password, stored)
	return subtle.ConstantTimeCompare(key, stored.key) == 1, err
}

// dummyHash returns a hash that matches no password, and takes as long as any other to
// compare.
func (h *hasher) dummyHash() passwordHash {
	return passwordHash{h.iterations, random(saltSize), random(keySize)}
}

func (h *hasher) key(ctx context.Context, password string, p passwordHash) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, maxQueue)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
		return h.derive(password, p.salt, p.iterations)
	case <-ctx.Done():
		return nil, errBusy
	}
}

func random(size int) []byte {
	b := make([]byte, size)
	rand.Read(b) // never returns an error: a failure ends the process
	return b
}
