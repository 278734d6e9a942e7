package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	scsgoredis "github.com/alexedwards/scs/goredisstore"
	scsredigo "github.com/alexedwards/scs/redisstore"
	"github.com/boj/redistore"
	"github.com/gomodule/redigo/redis"
	gorillasessions "github.com/gorilla/sessions"
	rbcervilla "github.com/rbcervilla/redisstore/v9"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/redisstore"
)

// cacheFor is how long a node with client-side caching believes its copy at most.
const cacheFor = 10 * time.Second

var redisServer = servers.Shared(func(t servers.T) *servers.Server {
	return servers.Redis(t, servers.RedisOptions{})
})

func newRedis(t *testing.T, addr string, config redisstore.Config) *redisstore.Store {
	t.Helper()
	s, err := redisstore.New(rueidis.ClientOption{InitAddress: []string{addr}}, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestRedis(t *testing.T) {
	addr := redisServer(t).Addr
	connections := slices.Max(clients)

	pool := &redis.Pool{MaxIdle: connections, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", addr) }}
	t.Cleanup(func() { pool.Close() })
	client := goredis.NewClient(&goredis.Options{Addr: addr, PoolSize: connections})
	t.Cleanup(func() { client.Close() })
	boj, err := redistore.NewRediStore(connections, "tcp", addr, "", "", keys[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { boj.Close() })
	boj.SetMaxAge(int(idle / time.Second))
	rbc, err := rbcervilla.NewRedisStore(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	rbc.Options(gorillasessions.Options{Path: "/", MaxAge: int(idle / time.Second), HttpOnly: true})

	strict := newRedis(t, addr, redisstore.Config{})
	one := mustOurs(t, "sessionguard", strict)
	// What a node has written itself it does not cache for as long.
	another := mustOurs(t, "sessionguard, CacheFor 10 s", newRedis(t, addr, redisstore.Config{CacheFor: cacheFor}))
	another.login = one.login
	subjects := []subject{
		one,
		mustOurs(t, "sessionguard, when every request touches", newLate(strict)),
		another,
		ofSCS("scs, redisstore (redigo)", scsredigo.New(pool)),
		ofSCS("scs, goredisstore", scsgoredis.New(client)),
		ofGorilla("gorilla, boj/redistore", boj),
		ofGorilla("gorilla, rbcervilla/redisstore", rbc),
	}
	c := compare(t, subjects)
	publish(t, "redis", turns(*rounds, *each), c.table("Redis"))
	beside := "the fastest of scs's and gorilla/sessions' Redis stores"
	slid := subjects[1].name
	headlines["redis16"] = headline{"on Redis, 16 clients at a time", beside, asManyAsWith(c, 16, one.name, slid)}
	headlines["redis64"] = headline{"on Redis, 64 clients", beside, asManyAsWith(c, 64, one.name, slid)}
	headlines["cachefor"] = headline{"with `CacheFor`, from the process's cache, 16 clients", beside, timesAsMany(c.times(another.name, 16), "as many")}
}

// asManyAsWith is a headline's result: the usual case, and the worst one.
func asManyAsWith(c comparison, clients int, usual, worst string) string {
	return timesAsMany(c.times(usual, clients), "as many requests/s") + "; " +
		timesAsMany(c.times(worst, clients), "when every one of them has to be stored")
}

// late makes every request the first in a long time, which has to be stored. However
// quickly they come, each brings another time: a store need not write one it has.
type late struct {
	store.Backend
	touches *atomic.Int64
}

func newLate(b store.Backend) late { return late{b, new(atomic.Int64)} }

func (l late) Load(ctx context.Context, key store.Key) (store.Record, error) {
	r, err := l.Backend.Load(ctx, key)
	r.LastSeen = min(r.LastSeen, store.TimeOf(time.Now())).Add(-idle / 2)
	return r, err
}

func (l late) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	// Milliseconds of the idle timeout, which is longer than there are turns.
	return l.Backend.Touch(ctx, key, seen+store.Time(l.touches.Add(1)%int64(idle/2/time.Millisecond)))
}

// How long another node with client-side caching still accepts a session after a
// logout has been answered.
func TestRevocationSeenElsewhere(t *testing.T) {
	addr := redisServer(t).Addr
	here := newRedis(t, addr, redisstore.Config{})
	there := newRedis(t, addr, redisstore.Config{CacheFor: cacheFor})
	revocations := max(20, *rounds*120)

	table := "| Client-side caching | median | p99 | longest | of |\n|---|---|---|---|---|\n"
	for _, state := range []string{"idle", "both cores saturated by 4 clients"} {
		ctx, stop := context.WithCancel(t.Context())
		if state != "idle" {
			s := mustOurs(t, "load", there)
			s.login = mustOurs(t, "here", here).login
			busy(ctx, s.page, s.visitors(t, 4))
		}
		all := make([]time.Duration, 0, revocations)
		for range revocations {
			all = append(all, revoke(t, here, there))
		}
		stop()
		slices.Sort(all)
		table += fmt.Sprintf("| %s | %s | %s | %s | %d |\n", state, micros(all), micros(all[len(all)*99/100:][:1]), micros(all[len(all)-1:]), len(all))
	}
	publish(t, "revocation", count(revocations, "logout")+" in each state", table)
}

// revoke ends a session here that there has in its cache, and returns when there has
// accepted it for the last time. It asks all the time, and leaves the processor in between.
func revoke(t *testing.T, here, there store.Backend) (last time.Duration) {
	t.Helper()
	now := store.TimeOf(time.Now())
	owner := "session=ada"
	r := store.Record{LastSeen: now, Session: &store.Session{
		Key: newKey(owner), ID: "id", Owner: owner, Authenticated: now, Expires: now.Add(absolute), IdleTimeout: idle,
	}}
	if _, err := here.Create(t.Context(), r, store.Limit{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := there.Load(t.Context(), r.Key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := here.Delete(t.Context(), r.Key, store.ReasonLoggedOut); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; time.Sleep(10 * time.Microsecond) {
		_, err := there.Load(t.Context(), r.Key)
		switch since := time.Since(start); {
		case err == nil:
			last = since
		case errors.Is(err, store.ErrNotFound):
			return last
		default:
			t.Fatal(err)
		}
		if last > cacheFor {
			t.Fatal("it is accepted for longer than CacheFor")
		}
	}
}

func newKey(owner string) (key store.Key) {
	for {
		if rand.Read(key[:]); key.Group() == store.GroupOf(owner) {
			return key
		}
	}
}
