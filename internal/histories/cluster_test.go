package histories

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/internal/servers"
)

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
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
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
