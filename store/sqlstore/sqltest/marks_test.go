package sqltest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/nodes"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// What taken secrets leave in a database, and that a sweep deletes it.
func TestMarksOfTakenSecretsInADatabase(t *testing.T) {
	sizes := map[string]string{
		"PostgreSQL": "SELECT pg_total_relation_size('sessionguard_sessions')",
		"SQLite":     "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
	}
	for name, query := range sizes {
		t.Run(name, func(t *testing.T) {
			const marks = 8_000
			d := databases[name](t)
			node, db := d.node(t, sqlstore.Config{Timeout: time.Minute}), d.open(t)
			number := func(query string) (n int) {
				require.NoError(t, db.QueryRow(query).Scan(&n))
				return n
			}
			_, err := db.Exec("DELETE FROM sessionguard_sessions")
			require.NoError(t, err)
			before := number(query)
			nodes.TakeSecrets(t, node, marks)
			require.Equal(t, marks, number("SELECT COUNT(*) FROM sessionguard_sessions"))
			size := (number(query) - before) / marks
			t.Logf("%d bytes for each", size)
			require.Less(t, size, 1000)

			// All are due when an hour, and what Sweep adds for clocks, has passed.
			_, err = db.Exec("UPDATE sessionguard_sessions SET delete_after = delete_after - 3600000")
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go node.Sweep(ctx)
			require.Eventually(t, func() bool {
				var left int
				err := db.QueryRow("SELECT COUNT(*) FROM sessionguard_sessions").Scan(&left)
				return err == nil && left == 0
			}, time.Minute, 100*time.Millisecond)
		})
	}
}
