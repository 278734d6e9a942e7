package sqltest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// A node whose network dies in a transaction keeps what it has locked until the server
// notices: by TCP that takes hours.
func TestANodeThatVanishesKeepsNobodyOutForLong(t *testing.T) {
	server := postgreSQL(t)
	d := databases["PostgreSQL"](t)
	here, db, owner := d.node(t, sqlstore.Config{}), d.open(t), "session=ada"
	proxy := servers.NewProxy(t, server.Addr)
	d.dsn = server.DSN(proxy.Addr)
	away := d.node(t, sqlstore.Config{Timeout: 500 * time.Millisecond})

	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("SELECT id FROM sessionguard_locks WHERE id = $1 FOR UPDATE", store.GroupOf(owner))
	require.NoError(t, err)
	failed := make(chan error)
	go func() {
		_, err := away.Create(t.Context(), newRecordOf(owner), store.Limit{Max: 1})
		failed <- err
	}()
	require.Eventually(t, func() bool { // it waits in its transaction
		var waiting int
		err := db.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%sessionguard_locks%'").Scan(&waiting)
		return err == nil && waiting == 1
	}, 400*time.Millisecond, time.Millisecond)
	require.NoError(t, proxy.Stall())
	require.NoError(t, tx.Rollback()) // now it has what it waited for
	require.Error(t, <-failed)

	require.Eventually(t, func() bool {
		_, err := here.Create(t.Context(), newRecordOf(owner), store.Limit{Max: 1})
		return err == nil
	}, 10*time.Second, time.Millisecond)
}
