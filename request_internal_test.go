package sessionguard

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// A request is the one allocation of a protected request. 512 B is a size class of the Go
// allocator: one byte more takes 576.
func TestRequestFitsInto512Bytes(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(request{}), uintptr(512))
}
