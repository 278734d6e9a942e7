package sessionguard

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// The one allocation of a protected request is at most 512 B, a size class of
// its own: a byte more costs 576.
func TestRequestFitsInto512Bytes(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(request{}), uintptr(512))
}
