package sqltest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

const shortTimeout = 400 * time.Millisecond

func TestUnresponsiveServerFailsWithinTimeout(t *testing.T) {
	for name, server := range map[string]*servers.Server{"PostgreSQL": postgreSQL(t), "MariaDB": mariaDB(t)} {
		t.Run(name, func(t *testing.T) {
			s := databases[name](t).node(t, sqlstore.Config{Timeout: shortTimeout})
			r := newRecord()
			create(t, s, r)
			_, err := s.Load(t.Context(), r.Key)
			require.NoError(t, err)

			require.NoError(t, server.Pause())
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			swept := make(chan struct{})
			go func() { defer close(swept); s.Sweep(ctx) }()
			requireFails(t, s, shortTimeout)
			cancel()
			<-swept
			t.Logf("all calls together took %v", time.Since(start))
			require.NoError(t, server.Resume())

			require.Eventually(t, func() bool {
				got, err := s.Load(t.Context(), r.Key)
				return err == nil && got.ID == r.ID
			}, 10*time.Second, 50*time.Millisecond)
		})
	}
}

// The server stops at different points of the transaction.
func TestServerThatStopsDuringALoginFailsWithinTimeout(t *testing.T) {
	for name, server := range map[string]*servers.Server{"PostgreSQL": postgreSQL(t), "MariaDB": mariaDB(t)} {
		t.Run(name, func(t *testing.T) {
			s := databases[name](t).node(t, sqlstore.Config{Timeout: shortTimeout})
			for delay := range 12 {
				r := newRecord()
				create(t, s, r)
				done := make(chan time.Duration, 1)
				go func() {
					start := time.Now()
					_, _ = s.Create(t.Context(), newRecordOf(r.Owner), store.Limit{Max: 1})
					done <- time.Since(start)
				}()
				time.Sleep(time.Duration(delay) * 200 * time.Microsecond)
				require.NoError(t, server.Pause())
				took := <-done
				require.NoError(t, server.Resume())
				require.Less(t, took, shortTimeout+slack)
			}
		})
	}
}

func TestLockedSQLiteFileFailsWithinTimeout(t *testing.T) {
	for _, options := range []string{"", "?_pragma=busy_timeout(10000)"} {
		d := databases["SQLite"](t)
		d.dsn += options
		s := d.node(t, sqlstore.Config{Timeout: shortTimeout})
		other, err := d.open(t).Conn(t.Context())
		require.NoError(t, err)
		_, err = other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
		require.NoError(t, err)
		requireFails(t, s, shortTimeout, "Create Limit Replace Delete Touch Save Ping")
		_, err = other.ExecContext(t.Context(), "ROLLBACK")
		require.NoError(t, err)
		require.NoError(t, other.Close())
		create(t, s, newRecord())
	}
}
