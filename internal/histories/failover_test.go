package histories

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/histories/check"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store/redisstore"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// lag is for how long a replica has received nothing when its primary is killed.
const lag = 100 * time.Millisecond

// A pair is a primary and its replica, which take turns.
type pair struct{ primary, replica *servers.Server }

// faults kills the primary once its replica lags behind. The replica takes its place, and
// what was the primary becomes the replica.
func (p *pair) faults(loses bool, cutOff, promote, join func() error) []fault {
	return []fault{
		{
			name: "primary killed", loses: loses,
			begin: func() error {
				err := cutOff()
				time.Sleep(lag)
				return errors.Join(err, p.primary.Kill())
			},
			end: func() error {
				err := promote()
				p.primary, p.replica = p.replica, p.primary
				return err
			},
		},
		{name: "replica joined", begin: join, end: func() error { return nil }},
	}
}

// sentinelSetup lets a Sentinel replace the primary of Redis.
func sentinelSetup(t *testing.T, wait redisstore.WaitReplicas) setup {
	r := servers.RedisFailover(t, servers.RedisOptions{})
	f := startFleet(t, func(int) nodeConfig {
		return nodeConfig{Redis: []string{r.Sentinel.Addr}, Sentinel: r.Name, WaitReplicas: wait}
	})
	// On a busy machine, a primary may be silent for so long that the Sentinel would replace it.
	_, err := redisCommand(r.Sentinel, "SENTINEL", "SET", r.Name, "down-after-milliseconds", "60000")
	require.NoError(t, err)
	p := &pair{r.Primary, r.Replica}
	keeps := check.Nothing
	switch {
	case wait.EveryWrite:
		keeps = check.Writes
	case wait.Number > 0:
		keeps = check.Ends
	}
	policy := check.Policy{Exceptions: check.Exceptions{Keeps: keeps}}
	return setup{fleet: f, policy: policy, faults: p.faults(true, func() error {
		// The replica connects again at once, and is then refused.
		return redisCommands(p.primary, []string{"CONFIG", "SET", "requirepass", "unknown"}, []string{"CLIENT", "KILL", "TYPE", "replica"})
	}, func() error {
		return await(func() error {
			_, _ = redisCommand(r.Sentinel, "SENTINEL", "FAILOVER", r.Name) // it may be busy with one
			return redisContains(p.replica, "role:master", "INFO", "replication")
		})
	}, func() error {
		host, port, _ := net.SplitHostPort(p.primary.Addr)
		err := p.replica.Start()
		if err == nil {
			_, err = redisCommand(p.replica, "REPLICAOF", host, port)
		}
		return errors.Join(err, await(func() error {
			return errors.Join(
				redisContains(p.replica, "master_link_status:up", "INFO", "replication"),
				redisContains(r.Sentinel, "flags:slave ", "SENTINEL", "REPLICAS", r.Name))
		}))
	})}
}

// standbySetup does the same to PostgreSQL with streaming replication.
func standbySetup(t *testing.T, synchronous bool) setup {
	first := servers.PostgreSQL(t)
	p := &pair{first, servers.PostgreSQLStandby(t, first)}
	if synchronous {
		require.NoError(t, p.makeSynchronous())
	}
	both := strings.Replace(p.primary.DSN(p.primary.Addr+","+p.replica.Addr), "?", "?target_session_attrs=read-write&connect_timeout=1&", 1)
	f := startFleet(t, func(int) nodeConfig { return nodeConfig{Dialect: sqlstore.PostgreSQL, DSN: both} })
	return setup{fleet: f, faults: p.faults(!synchronous, func() error {
		// The standby connects again after 5 seconds.
		return postgresQuery(p.primary, `SELECT pg_terminate_backend(pid) FROM pg_stat_replication`)
	}, func() error {
		_ = postgresQuery(p.replica, `SELECT pg_promote(wait => false)`) // which recovery may cancel
		return await(func() error { return postgresQuery(p.replica, `SELECT NOT pg_is_in_recovery()`) })
	}, func() error {
		err := servers.PostgreSQLRejoin(p.replica, p.primary)
		if synchronous {
			err = errors.Join(err, p.makeSynchronous())
		}
		return err
	})}
}

// makeSynchronous makes commits wait until the standby has them, and waits until they do.
func (p *pair) makeSynchronous() error {
	return errors.Join(
		postgresQuery(p.primary, `ALTER SYSTEM SET synchronous_standby_names = '*'`),
		postgresQuery(p.primary, `SELECT pg_reload_conf()`),
		await(func() error {
			return postgresQuery(p.primary, `SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'`)
		}))
}

// postgresQuery returns an error if a query fails or returns false.
func postgresQuery(s *servers.Server, query string) error {
	db, err := sql.Open("pgx", s.DSN(s.Addr))
	if err != nil {
		return err
	}
	defer db.Close()
	done := false
	switch err = db.QueryRow(query).Scan(&done); {
	case errors.Is(err, sql.ErrNoRows): // a command
		return nil
	case err == nil && !done:
		return errors.New(query + " returned false")
	}
	return err
}

func redisClient(s *servers.Server) (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr}, ForceSingleClient: true, DisableCache: true})
}

func redisCommand(s *servers.Server, command ...string) (string, error) {
	client, err := redisClient(s)
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	reply, err := client.Do(ctx, client.B().Arbitrary(command...).Build()).ToAny()
	return fmt.Sprint(reply), err
}

// redisCommands sends commands on one connection.
func redisCommands(s *servers.Server, commands ...[]string) error {
	client, err := redisClient(s)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return client.Dedicated(func(c rueidis.DedicatedClient) error {
		for _, command := range commands {
			if err == nil {
				err = c.Do(ctx, c.B().Arbitrary(command...).Build()).Error()
			}
		}
		return err
	})
}

func redisContains(s *servers.Server, part string, command ...string) error {
	text, err := redisCommand(s, command...)
	if err == nil && !strings.Contains(text, part) {
		err = fmt.Errorf("%s: no %s in %s", s.Addr, part, text)
	}
	return err
}

// await calls f until it succeeds.
func await(f func() error) (err error) {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return nil
		}
	}
	return err
}
