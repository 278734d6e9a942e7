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

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// lag is for how long a replica has received nothing when its primary is killed.
const lag = 100 * time.Millisecond

// sentinelSetup kills a Redis primary whose replica lags behind. What was confirmed in that
// time is lost, as documented.
func sentinelSetup(t *testing.T) setup {
	r := servers.RedisFailover(t, servers.RedisOptions{})
	f := startFleet(t, func(int) nodeConfig { return nodeConfig{Redis: []string{r.Sentinel.Addr}, Sentinel: r.Name} })
	return setup{fleet: f, once: true, faults: []fault{{
		name: "primary killed", loses: true,
		begin: func() error {
			// The replica connects again within a second, and is then refused.
			_, err := redisCommand(r.Primary, "CLIENT", "KILL", "TYPE", "replica")
			if err == nil {
				_, err = redisCommand(r.Primary, "CONFIG", "SET", "requirepass", "unknown")
			}
			time.Sleep(lag)
			return errors.Join(err, r.Primary.Kill())
		},
		end: func() error {
			return await(func() error { return redisContains(r.Replica, "role:master", "INFO", "replication") })
		},
	}}}
}

// standbySetup does the same to PostgreSQL with asynchronous streaming replication.
func standbySetup(t *testing.T) setup {
	primary := servers.PostgreSQL(t)
	standby := servers.PostgreSQLStandby(t, primary)
	both := strings.Replace(primary.DSN(primary.Addr+","+standby.Addr), "?", "?target_session_attrs=read-write&connect_timeout=1&", 1)
	f := startFleet(t, func(int) nodeConfig { return nodeConfig{Dialect: sqlstore.PostgreSQL, DSN: both} })
	query := func(s *servers.Server, text string) error {
		db, err := sql.Open("pgx", s.DSN(s.Addr))
		if err != nil {
			return err
		}
		defer db.Close()
		done := false
		if err = db.QueryRow(text).Scan(&done); err == nil && !done {
			err = errors.New(text + " returned false")
		}
		return err
	}
	return setup{fleet: f, once: true, faults: []fault{{
		name: "primary killed", loses: true,
		begin: func() error {
			// The standby connects again after 5 seconds.
			err := query(primary, `SELECT pg_terminate_backend(pid) FROM pg_stat_replication`)
			time.Sleep(lag)
			return errors.Join(err, primary.Kill())
		},
		end: func() error {
			_ = query(standby, `SELECT pg_promote(wait => false)`) // which recovery may cancel
			return await(func() error { return query(standby, `SELECT NOT pg_is_in_recovery()`) })
		},
	}}}
}

// promotionSetup makes the replica of a server of a Redis Cluster take its place: at a
// command, which loses nothing, and because the primary was killed.
func promotionSetup(t *testing.T) setup {
	o := servers.RedisOptions{}
	cluster := servers.RedisCluster(t, o)
	primary, replica := cluster[0], servers.RedisClusterReplica(t, o, cluster, cluster[0])
	f := startFleet(t, func(int) nodeConfig { return nodeConfig{Redis: addresses(cluster[1:])} })
	isPrimary := func(s *servers.Server) func() error {
		return func() error { return redisContains(s, "role:master", "INFO", "replication") }
	}
	isReplica := func(s *servers.Server) func() error {
		return func() error { return redisContains(s, "master_link_status:up", "INFO", "replication") }
	}
	return setup{fleet: f, faults: []fault{
		{
			name: "replica promoted",
			begin: func() error {
				_, err := redisCommand(replica, "CLUSTER", "FAILOVER")
				return errors.Join(err, await(isPrimary(replica)))
			},
			end: func() error { return await(isReplica(primary)) },
		},
		{
			name: "primary killed", loses: true,
			begin: replica.Kill,
			end: func() error {
				return errors.Join(await(isPrimary(primary)), replica.Start(), await(isReplica(replica)))
			},
		},
	}}
}

// slotsSetup moves the sessions of a third of the users from one server of a Redis Cluster
// to another and back, slot by slot.
func slotsSetup(t *testing.T, config nodeConfig) setup {
	cluster := servers.RedisCluster(t, servers.RedisOptions{})
	f := startFleet(t, func(int) nodeConfig {
		c := config
		c.Redis = addresses(cluster)
		return c
	})
	move := func(from, to *servers.Server) func() error {
		return func() error { return moveSlots(cluster, from, to) }
	}
	return setup{fleet: f, faults: []fault{
		{name: "slots moved", begin: move(cluster[0], cluster[1]), end: move(cluster[1], cluster[0])},
		{name: "slots moved", begin: move(cluster[2], cluster[0]), end: move(cluster[0], cluster[2])},
	}}
}

// moveSlots moves every slot that holds a session, as redis-cli --cluster reshard does.
func moveSlots(cluster []*servers.Server, from, to *servers.Server) error {
	client, err := redisClient(from)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	run := func(command ...string) rueidis.RedisResult {
		return client.Do(ctx, client.B().Arbitrary(command...).Build())
	}
	keys, err := run("KEYS", "*").AsStrSlice()
	if err != nil {
		return err
	}
	moved := map[int64]bool{}
	for _, key := range keys {
		slot, err := run("CLUSTER", "KEYSLOT", key).AsInt64()
		if err == nil && !moved[slot] {
			err = moveSlot(cluster, from, to, fmt.Sprint(slot), run)
		}
		if err != nil {
			return err
		}
		moved[slot] = true
	}
	return nil
}

func moveSlot(cluster []*servers.Server, from, to *servers.Server, slot string, run func(...string) rueidis.RedisResult) error {
	fromID, err := redisCommand(from, "CLUSTER", "MYID")
	if err != nil {
		return err
	}
	toID, err := redisCommand(to, "CLUSTER", "MYID")
	if err == nil {
		_, err = redisCommand(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	}
	if err == nil {
		err = run("CLUSTER", "SETSLOT", slot, "MIGRATING", toID).Error()
	}
	host, port, _ := net.SplitHostPort(to.Addr)
	for err == nil {
		var keys []string
		if keys, err = run("CLUSTER", "GETKEYSINSLOT", slot, "5").AsStrSlice(); len(keys) == 0 {
			break
		}
		err = run(append([]string{"MIGRATE", host, port, "", "0", "1000", "KEYS"}, keys...)...).Error()
	}
	for _, s := range append([]*servers.Server{to, from}, cluster...) {
		if err == nil {
			_, err = redisCommand(s, "CLUSTER", "SETSLOT", slot, "NODE", toID)
		}
	}
	return err
}

func addresses(cluster []*servers.Server) (all []string) {
	for _, s := range cluster {
		all = append(all, s.Addr)
	}
	return all
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
