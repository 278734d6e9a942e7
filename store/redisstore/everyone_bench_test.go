package redisstore

import (
	"context"
	"flag"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

var sessionCount = flag.Int("sessions", 10_000, "number of sessions in BenchmarkEveryone")

// BenchmarkEveryone logs users in, counts and lists all sessions and ends them. Figures are per
// session, longest-… the longest time for which a server served nobody else. The package's
// documentation has those of
//
//	go test -run '^$' -bench Everyone -benchtime 1x -timeout 1h . -args -sessions 1000000
func BenchmarkEveryone(b *testing.B) {
	b.Run("server", func(b *testing.B) { benchmarkEveryone(b, servers.Redis(b, servers.RedisOptions{})) })
	b.Run("cluster", func(b *testing.B) { benchmarkEveryone(b, newCluster(b)[:]...) })
}

func benchmarkEveryone(b *testing.B, nodes ...*servers.Server) {
	var addresses []string
	for _, node := range nodes {
		addresses = append(addresses, node.Addr)
		runOnServer(b, node, "CONFIG", "SET", "slowlog-max-len", "100000")
		runOnServer(b, node, "CONFIG", "SET", "slowlog-log-slower-than", "200")
	}
	s := openStore(b, Config{Timeout: time.Minute}, addresses...)
	guard, err := sessionguard.New(sessionguard.Config[testUser]{
		FindUser: func(_ context.Context, id string) (testUser, error) { return testUser(id), nil },
		Keys:     [][]byte{[]byte(newOwner() + newOwner())}, Backend: s, InsecureHTTP: true,
		OnEvent: func(context.Context, sessionguard.Event) {},
	})
	require.NoError(b, err)
	for b.Loop() {
		before := usedMemory(b, nodes)
		measure(b, nodes, "login", func() { createMany(b, s, *sessionCount) })
		b.ReportMetric((usedMemory(b, nodes)-before)/float64(*sessionCount), "B/session")
		measure(b, nodes, "count", func() {
			n, err := guard.CountSessions(b.Context())
			require.NoError(b, err)
			require.Equal(b, *sessionCount, n)
		})
		measure(b, nodes, "all", func() {
			n := 0
			for _, err := range guard.AllSessions(b.Context()) {
				require.NoError(b, err)
				n++
			}
			require.Equal(b, *sessionCount, n)
		})
		measure(b, nodes, "end", func() { require.NoError(b, guard.EndAll(b.Context())) })
		n, err := guard.CountSessions(b.Context())
		require.NoError(b, err)
		require.Zero(b, n)
		for _, node := range nodes {
			require.NoError(b, runOnServer(b, node, "FLUSHALL").Error())
		}
	}
}

// createMany logs in n users, 32 at a time.
func createMany(b *testing.B, s *Store, n int) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				r := newSession(newOwner())
				r.Values, r.Created, r.Client, r.Address = nil, r.Authenticated, "Firefox 140 on Windows", "203.0.113.7"
				if _, err := s.Create(b.Context(), r, store.Limit{Max: 10}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// measure reports how long f takes for each session, and the longest time of one command.
func measure(b *testing.B, nodes []*servers.Server, name string, f func()) {
	b.Helper()
	for _, node := range nodes {
		require.NoError(b, runOnServer(b, node, "SLOWLOG", "RESET").Error())
	}
	runtime.GC()
	cpu, started := cpuTime(b, nodes), time.Now()
	f()
	took := time.Since(started)
	var longest int64
	for _, node := range nodes {
		entries, err := runOnServer(b, node, "SLOWLOG", "GET", "-1").ToArray()
		require.NoError(b, err)
		for _, entry := range entries {
			fields, err := entry.ToArray()
			require.NoError(b, err)
			micros, err := fields[2].AsInt64()
			require.NoError(b, err)
			longest = max(longest, micros)
		}
	}
	b.ReportMetric(float64((cpuTime(b, nodes)-cpu).Nanoseconds())/float64(*sessionCount), name+"-cpu-ns/session")
	b.ReportMetric(float64(took.Nanoseconds())/float64(*sessionCount), name+"-ns/session")
	b.ReportMetric(float64(longest), "longest-"+name+"-µs")
}

// cpuTime returns the processor time that servers have used.
func cpuTime(b *testing.B, nodes []*servers.Server) time.Duration {
	b.Helper()
	seconds := sumOfInfo(b, nodes, "used_cpu_user") + sumOfInfo(b, nodes, "used_cpu_sys")
	return time.Duration(seconds * float64(time.Second))
}

func usedMemory(b *testing.B, nodes []*servers.Server) float64 {
	b.Helper()
	return sumOfInfo(b, nodes, "used_memory")
}

// sumOfInfo returns the sum of a field of INFO.
func sumOfInfo(b *testing.B, nodes []*servers.Server, field string) (sum float64) {
	b.Helper()
	for _, node := range nodes {
		info, err := runOnServer(b, node, "INFO").ToString()
		require.NoError(b, err)
		_, after, _ := strings.Cut(info, "\n"+field+":")
		value, _, _ := strings.Cut(after, "\r")
		n, err := strconv.ParseFloat(value, 64)
		require.NoError(b, err)
		sum += n
	}
	return sum
}
