package nodes

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// What taken secrets leave in memory, which is gone when the marks are no longer needed.
func TestMarksOfTakenSecretsInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const marks = 32_000
		heap := func() float64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return float64(m.HeapAlloc)
		}
		memory := store.NewMemory()
		TakeSecrets(t, memory, 8) // what a guard needs once
		before := heap()
		TakeSecrets(t, memory, marks)
		size := (heap() - before) / marks
		t.Logf("%.0f bytes for each", size)
		require.Less(t, size, 500.0)
		time.Sleep(11*time.Minute + store.Grace + time.Second)
		TakeSecrets(t, memory, marks/4) // each call frees a few
		require.Less(t, heap()-before, 2*size*marks/4, "few others are left")
		runtime.KeepAlive(memory)
	})
}
