package sqltest

import (
	"fmt"
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

// A meter is a proxy that counts round trips: how often clients send after the server has.
type meter struct {
	net.Listener
	roundTrips atomic.Int64
	lastSender atomic.Int64
}

// The values of lastSender.
const (
	clientSent = 1
	serverSent = 2
)

// metered returns a database of a shared server that is connected to through a meter.
func metered(t testing.TB, name string) (database, *meter) {
	t.Helper()
	address := ""
	switch name {
	case "PostgreSQL":
		address = postgreSQL(t).Addr
	case "MariaDB":
		address = mariaDB(t).Addr
	}
	d, m := databases[name](t), newMeter(t, address)
	d.dsn = strings.Replace(d.dsn, address, m.Addr().String(), 1)
	return d, m
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
			go m.copy(conn, client, clientSent)
			go m.copy(client, conn, serverSent)
		}
	}()
	return m
}

func (m *meter) copy(to, from net.Conn, sender int64) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && m.lastSender.Swap(sender) != sender && sender == clientSent {
			m.roundTrips.Add(1)
		}
		if _, failed := to.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}

// roundTripsPer returns the round trips per call, after two calls that may prepare
// statements.
func (m *meter) roundTripsPer(t *testing.T, calls int, call func(i int) error) float64 {
	t.Helper()
	for i := range 2 {
		require.NoError(t, call(i))
	}
	before := m.roundTrips.Load()
	for i := range calls {
		require.NoError(t, call(2+i))
	}
	return float64(m.roundTrips.Load()-before) / float64(calls)
}

// A protected request is one Load, and sometimes a Touch.
func TestLoadAndTouchTakeOneRoundTripEach(t *testing.T) {
	for name, options := range map[string][]string{
		"PostgreSQL": {"", "&default_query_exec_mode=simple_protocol"},
		"MariaDB":    {"", "?interpolateParams=true"},
	} {
		for _, option := range options {
			t.Run(name+option, func(t *testing.T) {
				d, m := metered(t, name)
				d.dsn += option
				s, r := d.node(t, sqlstore.Config{}), newRecord()
				create(t, s, r)
				require.InDelta(t, 1, m.roundTripsPer(t, 100, func(int) error { _, err := s.Load(t.Context(), r.Key); return err }), 0.05)
				require.InDelta(t, 1, m.roundTripsPer(t, 100, func(i int) error {
					return s.Touch(t.Context(), r.Key, r.LastSeen+store.Time(i)+1)
				}), 0.05)
				logOtherRoundTrips(t, m, s, r)
			})
		}
	}
}

func logOtherRoundTrips(t *testing.T, m *meter, s *sqlstore.Store, r store.Record) {
	t.Helper()
	t.Logf("Save %v", m.roundTripsPer(t, 20, func(i int) error { return s.Save(t.Context(), atVersion(r, r.Version+uint64(i)+1)) }))
	t.Logf("Create %v", m.roundTripsPer(t, 20, func(int) error { _, err := s.Create(t.Context(), newRecord(), store.Limit{}); return err }))
	t.Logf("Create with a limit %v", m.roundTripsPer(t, 20, func(int) error {
		_, err := s.Create(t.Context(), newRecord(), store.Limit{Max: 1})
		return err
	}))
	records := make([]store.Record, 22)
	for i := range records {
		records[i] = newRecord()
		create(t, s, records[i])
	}
	t.Logf("Delete %v", m.roundTripsPer(t, 20, func(i int) error {
		_, err := s.Delete(t.Context(), records[i].Key, store.ReasonEnded)
		return err
	}))
}

func TestTouchUpdatesRowsInPlace(t *testing.T) {
	d := databases["PostgreSQL"](t)
	s, db := d.node(t, sqlstore.Config{}), d.open(t)
	updates := func() (all, inPlace int) {
		require.NoError(t, db.QueryRow(`SELECT pg_stat_get_tuples_updated(c), pg_stat_get_tuples_hot_updated(c)
			FROM (SELECT 'sessionguard_sessions'::regclass::oid AS c) t`).Scan(&all, &inPlace))
		return all, inPlace
	}
	allBefore, inPlaceBefore := updates()
	records := createMany(t, s, 100, newRecord)
	for minute := range 10 {
		for _, r := range records {
			require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen.Add(time.Duration(minute+1)*time.Minute)))
		}
	}
	require.Eventually(t, func() bool { // PostgreSQL delays its statistics
		all, inPlace := updates()
		all, inPlace = all-allBefore, inPlace-inPlaceBefore
		t.Logf("%d updates, %d in place", all, inPlace)
		return all >= 1000 && float64(inPlace) > 0.9*float64(all)
	}, 15*time.Second, time.Second)
}

func BenchmarkStore(b *testing.B) {
	for _, name := range []string{"PostgreSQL", "MariaDB", "SQLite"} {
		d := databases[name](b)
		if name == "SQLite" {
			d.dsn += "?_pragma=journal_mode(WAL)&_pragma=busy_timeout(1000)"
		}
		s := d.node(b, sqlstore.Config{Timeout: 10 * time.Second})
		records := make([]store.Record, 1000)
		for i := range records {
			records[i] = newRecord()
			create(b, s, records[i])
		}
		var lastTouch atomic.Int64
		lastTouch.Store(int64(store.TimeOf(time.Now())))
		for _, operation := range []struct {
			name string
			run  func(r store.Record) error
		}{
			{"Load", func(r store.Record) error { _, err := s.Load(b.Context(), r.Key); return err }},
			{"Touch", func(r store.Record) error { return s.Touch(b.Context(), r.Key, store.Time(lastTouch.Add(1))) }},
			{"Create", func(store.Record) error { _, err := s.Create(b.Context(), newRecord(), store.Limit{}); return err }},
			{"Create limited", func(store.Record) error {
				_, err := s.Create(b.Context(), newRecord(), store.Limit{Max: 3})
				return err
			}},
		} {
			for _, clients := range []int{1, 16} {
				clientsName := map[int]string{1: "1 client", 16: "16 clients"}[clients]
				b.Run(fmt.Sprintf("%s/%s/%s", name, operation.name, clientsName), func(b *testing.B) {
					benchmark(b, clients, records, operation.run)
				})
			}
		}
	}
}

// benchmark runs an operation on one record after the other, from concurrent clients.
func benchmark(b *testing.B, clients int, records []store.Record, run func(r store.Record) error) {
	b.ReportAllocs()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range clients {
		workers.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := run(records[i%int64(len(records))]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
}
