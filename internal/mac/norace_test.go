//go:build !race

package mac

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// With the race detector, a sync.Pool loses some of what it has.
func TestACodeAllocatesNothing(t *testing.T) {
	k, message := NewKey([]byte("key")), make([]byte, 32)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		m := k.Get()
		m.Sum(append(m.Message(), message...))
		k.Put(m)
	}))
}
