package acceptance

import (
	"crypto/sha256"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// BenchmarkEveryone lists, counts and ends a million sessions of as many users in a
// store.Memory, and reports how long each takes per session, and how often the time of creating
// one that is. Events go to a logger that discards them. While they end, somebody logs in again
// and again: the metric is the longest time that this takes.
func BenchmarkEveryone(b *testing.B) {
	const sessions = 1_000_000
	for b.Loop() {
		memory := store.NewMemory()
		s := newBenchSite(b, memory)
		records := benchRecords(sessions)
		runtime.GC()
		timed := func(do func()) float64 {
			start := time.Now()
			do()
			return float64(time.Since(start).Nanoseconds()) / sessions
		}
		created := timed(func() {
			for _, r := range records {
				if _, err := memory.Create(b.Context(), r, store.Limit{Max: 3}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.ReportMetric(created, "ns/create")
		report := func(name string, perSession float64) {
			b.ReportMetric(perSession, "ns/"+name)
			b.ReportMetric(perSession/created, name+"/create")
		}
		report("count", timed(func() {
			n, err := s.guard.CountSessions(b.Context())
			require.NoError(b, err)
			require.Equal(b, sessions, n)
		}))
		report("list", timed(func() {
			n := 0
			for _, err := range s.guard.AllSessions(b.Context()) {
				if n++; err != nil {
					b.Fatal(err)
				}
			}
			require.Equal(b, sessions, n)
		}))
		slowest, done := make(chan time.Duration), make(chan struct{})
		go func() {
			longest := time.Duration(0)
			defer func() { slowest <- longest }()
			for {
				select {
				case <-done:
					return
				case <-time.After(10 * time.Millisecond):
				}
				start := time.Now()
				s.login(b)
				longest = max(longest, time.Since(start))
			}
		}()
		report("end", timed(func() { require.NoError(b, s.guard.EndAll(b.Context())) }))
		close(done)
		b.ReportMetric(float64((<-slowest).Microseconds())/1000, "ms-login-max")
	}
}

// benchRecords returns sessions of users who have one each.
func benchRecords(n int) (records []store.Record) {
	now := store.TimeOf(time.Now())
	records = make([]store.Record, n)
	for i := range records {
		s := &store.Session{
			ID: strconv.Itoa(i) + "-4f6BUVU8PVG4IGRE2PC5UQB", Owner: sessionCookie + "=user" + strconv.Itoa(i),
			Authenticated: now, Expires: now.Add(absolute), IdleTimeout: idle, Created: now,
		}
		s.Key = sha256.Sum256([]byte(s.Owner))
		records[i] = store.Record{Session: s, LastSeen: now}
	}
	return records
}
