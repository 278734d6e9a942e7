package sqltest

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// meter is a proxy that counts how often clients speak after the server has.
type meter struct {
	net.Listener
	trips, last atomic.Int64 // last: who spoke last, 1 for the clients
}

func newMeter(t testing.TB, server string) *meter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	m := &meter{Listener: l}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			conn, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			go m.copy(conn, client, 1)
			go m.copy(client, conn, 2)
		}
	}()
	return m
}

func (m *meter) copy(to, from net.Conn, who int64) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && m.last.Swap(who) != who && who == 1 {
			m.trips.Add(1)
		}
		if _, failed := to.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}

// A protected request is one Load, and sometimes a Touch.
func TestLoadAndTouchAreOneRoundTripEach(t *testing.T) {
	for name, options := range map[string][]string{
		"PostgreSQL": {"", "&default_query_exec_mode=simple_protocol"},
		"MariaDB":    {"", "?interpolateParams=true"},
	} {
		for _, option := range options {
			t.Run(name+option, func(t *testing.T) {
				d := databases[name](t)
				address := map[string]func() string{
					"PostgreSQL": func() string { return postgreSQL(t).Addr },
					"MariaDB":    func() string { return mariaDB(t).Addr },
				}[name]()
				m := newMeter(t, address)
				d.dsn = strings.Replace(d.dsn, address, m.Addr().String(), 1) + option
				s, r := d.node(t, sqlstore.Config{}), newRecord()
				create(t, s, r)
				trips := func(times int, do func(i int) error) float64 {
					for i := range 2 { // what is prepared once
						require.NoError(t, do(i))
					}
					before := m.trips.Load()
					for i := range times {
						require.NoError(t, do(2+i))
					}
					return float64(m.trips.Load()-before) / float64(times)
				}
				require.InDelta(t, 1, trips(100, func(int) error { _, err := s.Load(t.Context(), r.Key); return err }), 0.05)
				require.InDelta(t, 1, trips(100, func(i int) error { return s.Touch(t.Context(), r.Key, r.LastSeen+store.Time(i)+1) }), 0.05)
				t.Logf("Save %v", trips(20, func(i int) error { return s.Save(t.Context(), r.Key, uint64(i)+1, nil) }))
				t.Logf("Create %v", trips(20, func(int) error { _, err := s.Create(t.Context(), newRecord(), store.Limit{}); return err }))
				t.Logf("Create, limited %v", trips(20, func(int) error {
					_, err := s.Create(t.Context(), newRecord(), store.Limit{Max: 1})
					return err
				}))
				records := make([]store.Record, 22)
				for i := range records {
					records[i] = newRecord()
					create(t, s, records[i])
				}
				t.Logf("Delete %v", trips(20, func(i int) error { _, err := s.Delete(t.Context(), records[i].Key, store.ReasonEnded); return err }))
			})
		}
	}
}

func TestTouchingIsAnUpdateInPlace(t *testing.T) {
	d := databases["PostgreSQL"](t)
	s, db := d.node(t, sqlstore.Config{}), d.open(t)
	hot := func() (updated, hot int) {
		require.NoError(t, db.QueryRow(`SELECT pg_stat_get_tuples_updated(c), pg_stat_get_tuples_hot_updated(c)
			FROM (SELECT 'sessionguard_sessions'::regclass::oid AS c) t`).Scan(&updated, &hot))
		return updated, hot
	}
	updatedBefore, hotBefore := hot()
	records := createMany(t, s, 100, newRecord)
	for minute := range 10 {
		for _, r := range records {
			require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen.Add(time.Duration(minute+1)*time.Minute)))
		}
	}
	require.Eventually(t, func() bool { // the statistics come late
		updated, inPlace := hot()
		t.Logf("%d updates, %d in place", updated-updatedBefore, inPlace-hotBefore)
		return updated-updatedBefore >= 1000 && float64(inPlace-hotBefore) > 0.9*float64(updated-updatedBefore)
	}, 15*time.Second, time.Second)
}

func BenchmarkStore(b *testing.B) {
	for _, name := range []string{"PostgreSQL", "MariaDB", "SQLite"} {
		d := benchmarked(b, name)
		s := d.node(b, sqlstore.Config{Timeout: 10 * time.Second})
		records := make([]store.Record, 1000)
		for i := range records {
			records[i] = newRecord()
			create(b, s, records[i])
		}
		var next, at atomic.Int64
		at.Store(int64(store.TimeOf(time.Now())))
		for _, do := range []struct {
			name string
			f    func(r store.Record) error
		}{
			{"Load", func(r store.Record) error { _, err := s.Load(b.Context(), r.Key); return err }},
			{"Touch", func(r store.Record) error { return s.Touch(b.Context(), r.Key, store.Time(at.Add(1))) }},
			{"Create", func(store.Record) error { _, err := s.Create(b.Context(), newRecord(), store.Limit{}); return err }},
			{"Create limited", func(r store.Record) error {
				_, err := s.Create(b.Context(), newRecord(), store.Limit{Max: 3})
				return err
			}},
		} {
			for _, clients := range []int{1, 16} {
				b.Run(name+"/"+do.name+"/"+map[int]string{1: "1 client", 16: "16 clients"}[clients], func(b *testing.B) {
					b.ReportAllocs()
					var left atomic.Int64
					left.Store(int64(b.N))
					var workers sync.WaitGroup
					for range clients {
						workers.Go(func() {
							for left.Add(-1) >= 0 {
								if err := do.f(records[next.Add(1)%int64(len(records))]); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					workers.Wait()
				})
			}
		}
	}
}

func benchmarked(b *testing.B, name string) database {
	switch name {
	case "PostgreSQL":
		s := postgreSQL(b)
		return database{sqlstore.PostgreSQL, "pgx", s.DSN(s.Addr)}
	case "MariaDB":
		s := mariaDB(b)
		return database{sqlstore.MySQL, "mysql", s.DSN(s.Addr)}
	}
	return database{sqlstore.SQLite, "sqlite", b.TempDir() + "/sessions.db?_pragma=journal_mode(WAL)&_pragma=busy_timeout(1000)"}
}
