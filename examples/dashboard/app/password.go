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

// hasher turns passwords into what may be stored: so slowly that a stolen
// database is not soon a list of passwords, and so few at once that a flood of
// logins does not take the whole machine.
type hasher struct {
	iterations int
	derive     func(password string, salt []byte, iterations int) ([]byte, error)
	slots      chan struct{} // one for each password being hashed
}

// passwordHash keeps its iterations, so that new passwords can get more.
type passwordHash struct {
	iterations int
	salt, key  []byte
}

// errBusy says that too many others are waiting to have a password hashed.
var errBusy = errors.New("too many logins at once")

const (
	saltSize = 16
	keySize  = 32
	// maxQueue is how long a login waits for its turn.
	maxQueue = 5 * time.Second
)

// newHasher hashes with PBKDF2-HMAC-SHA256 and the 600,000 iterations of
// OWASP's Password Storage Cheat Sheet, a tenth of a second or so of one core.
// It is what the standard library has; the first choice of the cheat sheet is
// Argon2id (golang.org/x/crypto/argon2), which costs an attacker memory too.
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

// unmatchable is a hash that takes as long as any other to find out that the
// password is wrong.
func (h *hasher) unmatchable() passwordHash {
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
	rand.Read(b) // never fails: it ends the process instead
	return b
}
