package sqltest

import (
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/nodes"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

func TestTwoGuardsShareSessions(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			nodes.Run(t, func(t *testing.T) (a, b store.Backend) {
				if d.dialect == sqlstore.PostgreSQL {
					return d.listener(t, sqlstore.Config{}), d.listener(t, sqlstore.Config{})
				}
				return d.node(t, sqlstore.Config{}), d.node(t, sqlstore.Config{})
			})
		})
	}
}

func TestStreamsAreCutWithoutNotifications(t *testing.T) {
	for _, name := range []string{"MariaDB", "SQLite"} {
		t.Run(name, func(t *testing.T) {
			d := databases[name](t)
			nodes.RunPolled(t, func(t *testing.T) (a, b store.Backend) {
				return d.node(t, sqlstore.Config{}), d.node(t, sqlstore.Config{})
			})
		})
	}
}

func TestFaultsNeitherEndNorBringBackSessions(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		remote := servers.NewRemote(t, servers.PostgreSQL(t))
		d := database{sqlstore.PostgreSQL, "pgx", remote.DSN()}
		nodes.Faults(t, remote, func(t *testing.T) store.Backend {
			return d.listener(t, sqlstore.Config{Timeout: time.Second})
		}, nodes.Expect{Keeps: true})
	})
	t.Run("MariaDB", func(t *testing.T) {
		remote := servers.NewRemote(t, servers.MariaDB(t))
		d := database{sqlstore.MySQL, "mysql", remote.DSN()}
		nodes.Faults(t, remote, func(t *testing.T) store.Backend {
			return d.node(t, sqlstore.Config{Timeout: time.Second})
		}, nodes.Expect{Keeps: true})
	})
}
