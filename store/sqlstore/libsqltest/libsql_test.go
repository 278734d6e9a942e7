package libsqltest

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "github.com/tursodatabase/go-libsql"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

func openFile(t *testing.T, path string) *sqlstore.Store {
	t.Helper()
	db, err := sql.Open("libsql", "file:"+path)
	require.NoError(t, err)
	var mode string // which the file remembers
	require.NoError(t, db.QueryRow("PRAGMA journal_mode=WAL").Scan(&mode))
	require.Equal(t, "wal", mode)
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	s, err := sqlstore.New(db, sqlstore.SQLite, sqlstore.Config{Timeout: 20 * time.Second})
	require.NoError(t, err)
	require.NoError(t, s.EnsureSchema(t.Context()))
	return s
}

func TestStorePassesStoretest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	storetest.Run(t, func(t *testing.T) store.Backend { return openFile(t, path) })
}

func TestTwoNodesPassStoretest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	storetest.RunNodes(t, func(t *testing.T) (a, b store.Backend) { return openFile(t, path), openFile(t, path) })
}
