package sqltest

import (
	"context"
	"crypto/rand"
	"flag"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

var sessions = flag.Int("sessions", 1000, "how many sessions BenchmarkEveryone creates, lists, counts and ends")

// BenchmarkEveryone measures what concerns all users, beside the logins of as many.
func BenchmarkEveryone(b *testing.B) {
	for _, name := range []string{"PostgreSQL", "MariaDB", "SQLite"} {
		b.Run(name, func(b *testing.B) {
			d := databases[name](b)
			if name == "SQLite" {
				d.dsn += "?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)" // no server syncs here
			}
			s := d.node(b, sqlstore.Config{Timeout: time.Minute})
			_, err := d.open(b).Exec("DELETE FROM sessionguard_sessions")
			require.NoError(b, err)
			for b.Loop() {
				measureEveryone(b, &timedStore{Store: s}, "session"+rand.Text())
			}
		})
	}
}

func measureEveryone(b *testing.B, s *timedStore, cookieName string) {
	b.Helper()
	guard, err := sessionguard.New(sessionguard.Config[*User]{
		FindUser:     func(_ context.Context, id string) (*User, error) { return &User{id}, nil },
		Keys:         [][]byte{[]byte(rand.Text() + rand.Text())},
		Backend:      s,
		CookieName:   cookieName,
		InsecureHTTP: true,
		Logger:       slog.New(slog.DiscardHandler),
	})
	require.NoError(b, err)
	b.ReportMetric(seconds(func() { createEveryone(b, s, cookieName) }), "s/creating")

	b.ReportMetric(seconds(func() {
		n, err := guard.CountSessions(b.Context())
		require.NoError(b, err)
		require.Equal(b, *sessions, n)
	}), "s/count")

	n, longest, last := 0, time.Duration(0), time.Now()
	b.ReportMetric(seconds(func() {
		for _, err := range guard.AllSessions(b.Context()) {
			if err != nil {
				b.Fatal(err)
			}
			longest, last = max(longest, time.Since(last)), time.Now()
			n++
		}
	}), "s/all")
	require.Equal(b, *sessions, n)
	b.ReportMetric(longest.Seconds()*1000, "ms/longest-page")

	b.ReportMetric(seconds(func() { require.NoError(b, guard.EndAll(b.Context())) }), "s/end-all")
	b.ReportMetric(s.longest.Seconds()*1000, "ms/longest-end")
}

func seconds(f func()) float64 {
	start := time.Now()
	f()
	return time.Since(start).Seconds()
}

// A timedStore remembers the longest DeleteByID.
type timedStore struct {
	*sqlstore.Store
	longest time.Duration
}

func (s *timedStore) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	start := time.Now()
	ended, err := s.Store.DeleteByID(ctx, ends)
	s.longest = max(s.longest, time.Since(start))
	return ended, err
}

// createEveryone creates sessions of as many users, sixteen at a time.
func createEveryone(b *testing.B, s store.Backend, cookieName string) {
	var created atomic.Int64
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for created.Add(1) <= int64(*sessions) {
				if _, err := s.Create(b.Context(), newRecordOf(cookieName+"="+rand.Text()), store.Limit{}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
}
