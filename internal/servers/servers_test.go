package servers

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { Main(m) }

// A server answers, not while it is killed or paused, and again after that.
func requireServes(t *testing.T, s *Server) {
	t.Helper()
	answers := func() error { return s.ready(t.Context()) }
	require.NoError(t, answers())
	require.NoError(t, s.Pause())
	require.Error(t, answers())
	require.NoError(t, s.Resume())
	require.NoError(t, answers())
	require.NoError(t, s.Kill())
	require.Error(t, answers())
	require.NoError(t, s.Start())
	require.NoError(t, answers())
}

func TestRedisServes(t *testing.T)      { requireServes(t, Redis(t, RedisOptions{})) }
func TestPostgreSQLServes(t *testing.T) { requireServes(t, PostgreSQL(t)) }
func TestMariaDBServes(t *testing.T)    { requireServes(t, MariaDB(t)) }

