//go:build !race

package cookie

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Verify runs before each call of a remote backend. With the race detector, a sync.Pool loses
// some of what it has.
func TestVerifyAllocatesNothing(t *testing.T) {
	c := newTestCodec(t)
	value := newTestToken(t, c)
	forged := withOtherCharacter(value, 40)
	require.Zero(t, testing.AllocsPerRun(100, func() { c.Verify(value); c.Verify(forged) }))
}
