package sessionguard

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// A request is the one allocation of a protected request. 512 B is a size class of the Go
// allocator: one byte more takes 576.
func TestRequestFitsInto512Bytes(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(request{}), uintptr(512))
}

// stack calls do below depth more frames.
func stack(depth int, do func() bool) bool {
	if depth == 0 {
		return do()
	}
	return stack(depth-1, do)
}

func (l *locked) callBack(do func() bool) bool { return do() }

// However deep a callback is, it is noticed.
func TestACallbackIsNoticedOnTheStack(t *testing.T) {
	l := (*locked)(new(request))
	for _, depth := range []int{0, 1, 50, 60, 61, 62, 63, 64, 65, 200, 5000} {
		require.False(t, stack(depth, holdsLock), depth)
		require.True(t, l.callBack(func() bool { return stack(depth, holdsLock) }), depth)
		require.True(t, stack(depth, func() bool { return l.callBack(holdsLock) }), depth)
	}
	done := make(chan bool)
	require.False(t, l.callBack(func() bool {
		go func() { done <- holdsLock() }()
		return <-done
	}), "another goroutine's stack is another stack")
}

// W2: thousands of responses of a timeout middleware do not keep all processors busy while they
// wait for their locks.
func TestSoonGivesUpEarlierIfManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		require.False(t, soon(func() bool { tries++; return false }))
		require.Equal(t, 1000, tries)
		tries = 0
		require.False(t, soon(func() bool { tries++; time.Sleep(time.Millisecond); return false }))
		require.Equal(t, 20, tries)
		tries = 0
		require.True(t, soon(func() bool { tries++; return tries == 7 }))
		require.Equal(t, 7, tries)
	})
}

// The machines only rise, and max is what combines them: so the order of their values is
// what their comments say.
func TestTheOrderOfTheStates(t *testing.T) {
	require.True(t, slices.IsSorted([]stage{0, unresolved, loaded, resolved}))
	require.True(t, slices.IsSorted([]exposure{0, public, personal, protected}))
	require.True(t, slices.IsSorted([]activity{0, active, noRevival, passive}))
	require.True(t, slices.IsSorted([]outcome{0, served, denied, failed}))
}
