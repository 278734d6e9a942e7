package sqlstore

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// A database may end any statement for the sake of others.
func TestAllAndCountTryAgain(t *testing.T) {
	for name, dialect := range map[string]Dialect{"PostgreSQL": PostgreSQL, "SQLite": SQLite} {
		t.Run(name, func(t *testing.T) {
			attempts := map[string]int{}
			f := &fakeDriver{failure: func(text string) error {
				for _, begin := range []string{"SELECT owner_hash, session_id", "SELECT COUNT"} {
					if strings.HasPrefix(text, begin) {
						if attempts[begin]++; attempts[begin] == 1 {
							return fakeSQLStateError("40001")
						}
					}
				}
				return nil
			}}
			db := sql.OpenDB(f)
			t.Cleanup(func() { db.Close() })
			s, err := New(db, dialect, Config{})
			require.NoError(t, err)
			require.NoError(t, firstError(t, s))
			_, err = s.Count(t.Context(), "session=")
			require.NoError(t, err)
			require.Equal(t, map[string]int{"SELECT owner_hash, session_id": 2, "SELECT COUNT": 2}, attempts)
		})
	}
}

func firstError(t *testing.T, s store.Lister) error {
	for _, err := range s.All(t.Context(), "session=") {
		return err
	}
	return nil
}

// A server that does not promise to use the index is asked for nothing.
func TestAllAndCountNeedTheIndex(t *testing.T) {
	s := (&fakeDriver{failure: func(text string) error {
		if strings.HasPrefix(text, "SELECT set_config") {
			return fakeSQLStateError("42704")
		}
		return nil
	}}).newStore(t, Config{})
	require.ErrorContains(t, firstError(t, s), "42704")
	_, err := s.Count(t.Context(), "session=")
	require.ErrorContains(t, err, "42704")
}

// Nobody sees the row of a Ping, and whatever fails there fails the Ping.
func TestPingIsOneTransaction(t *testing.T) {
	for _, failAt := range []string{"", "BEGIN", "SELECT 1", "INSERT", "DELETE", "COMMIT"} {
		t.Run(failAt, func(t *testing.T) {
			var texts []string
			f := &fakeDriver{rowAt: findSchema, failure: func(text string) error {
				texts = append(texts, strings.Fields(text)[0])
				if failAt != "" && strings.HasPrefix(text, failAt) {
					return fakeSQLStateError("53100")
				}
				return nil
			}}
			err := f.newStore(t, Config{}).Ping(t.Context())
			if failAt == "" {
				require.NoError(t, err)
				require.Equal(t, []string{"BEGIN", "SELECT", "INSERT", "DELETE", "COMMIT"}, texts[len(texts)-5:])
				return
			}
			require.ErrorContains(t, err, "53100")
		})
	}
}
