package store

import (
	"context"
	"encoding/binary"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func BenchmarkMemoryLoad(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, m *Memory, keys []Key) {
		for i := 0; b.Loop(); i++ {
			if _, err := m.Load(b.Context(), keys[i%len(keys)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMemoryTouch(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, m *Memory, keys []Key) {
		now := TimeOf(time.Now())
		for i := 0; b.Loop(); i++ {
			if err := m.Touch(b.Context(), keys[i%len(keys)], now); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMemoryLoadAndTouchInParallel(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, m *Memory, keys []Key) {
		now := TimeOf(time.Now())
		b.RunParallel(func(pb *testing.PB) {
			for i := int(newTestKey()[0]); pb.Next(); i++ {
				m.Load(b.Context(), keys[i%len(keys)])
				m.Touch(b.Context(), keys[i%len(keys)], now)
			}
		})
	})
}

func BenchmarkMemoryCreateAndDelete(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, m *Memory, _ []Key) {
		b.ReportAllocs()
		for b.Loop() {
			r := testRecord("alice", time.Hour)
			if _, err := m.Create(b.Context(), r, Limit{Max: 3}); err != nil {
				b.Fatal(err)
			}
			m.Delete(b.Context(), r.Key, ReasonLoggedOut)
		}
	})
}

// BenchmarkMemoryLoginAfterMillionExpired reports how long a login takes, at most and at the
// 99.99th percentile, while logins free a million sessions that ended at once.
func BenchmarkMemoryLoginAfterMillionExpired(b *testing.B) {
	m := NewMemory()
	for i := range 1_000_000 {
		m.Create(b.Context(), testRecord(strconv.Itoa(i), time.Hour), Limit{})
	}
	m.forEach(func(_ *shard, s *slot) { s.lastSeen, s.sweepAt = 0, 0 })
	runtime.GC()
	var took []time.Duration
	for b.Loop() {
		r := testRecord("alice", time.Hour)
		start := time.Now()
		m.Create(b.Context(), r, Limit{Max: 3})
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*9999/10000].Microseconds()), "µs-p99.99")
	b.ReportMetric(float64(took[len(took)-1].Microseconds()), "µs-max")
	b.ReportMetric(float64(m.entryCount()), "held")
}

func TestMemoryNeedsLittleHeapPerSession(t *testing.T) {
	const sessions = 64_000
	perSession := heapPerSession(sessions)
	t.Logf("%.0f B per session", perSession)
	require.Less(t, perSession, 300.0) // 184 of them the Session, 26 the text of its ID
}

func BenchmarkMemoryHeapOfMillionSessions(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(heapPerSession(1_000_000), "B/session")
	}
}

// heapPerSession measures sessions that each have an owner of their own. It does not count
// the owners' strings, and the sessions have no other strings and no values.
func heapPerSession(sessions int) float64 {
	owners := make([]string, sessions)
	for i := range owners {
		owners[i] = strconv.Itoa(i)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m := newFilledMemory(owners)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(m)
	runtime.KeepAlive(owners)
	return (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(sessions)
}

func benchmarkSizes(b *testing.B, bench func(*testing.B, *Memory, []Key)) {
	for _, sessions := range []int{1000, 1_000_000} {
		b.Run(strconv.Itoa(sessions), func(b *testing.B) {
			owners := make([]string, sessions)
			for i := range owners {
				owners[i] = strconv.Itoa(i)
			}
			m := newFilledMemory(owners)
			var keys []Key
			m.forEach(func(shard *shard, s *slot) { keys = append(keys, shard.session(s).Key) })
			// Shuffled, so that accesses do not follow the order in memory.
			for i := range keys {
				j := int(binary.LittleEndian.Uint64(keys[i][:]) % uint64(len(keys)))
				keys[i], keys[j] = keys[j], keys[i]
			}
			b.ResetTimer()
			bench(b, m, keys)
		})
	}
}

func newFilledMemory(owners []string) *Memory {
	m := NewMemory()
	for _, owner := range owners {
		m.Create(context.Background(), testRecord(owner, time.Hour), Limit{})
	}
	return m
}
