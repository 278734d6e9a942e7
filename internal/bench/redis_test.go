package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
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

// cacheFor limits how long a node with client-side caching uses its copy of a session.
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

// newRueidis returns a client with the settings of redisstore.
func newRueidis(t *testing.T, addr string) rueidis.Client {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{addr}, DisableCache: true, DisableAutoPipelining: true, PipelineMultiplex: -1, MaxFlushDelay: 50 * time.Microsecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

const redigoName = "scs, redisstore (redigo)"

// newRedisPeers returns the peers, and the pool of those that use redigo.
func newRedisPeers(t *testing.T, addr string) (*redis.Pool, []subject) {
	t.Helper()
	connections := slices.Max(clientCounts)

	pool := &redis.Pool{MaxIdle: connections, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", addr) }}
	t.Cleanup(func() { pool.Close() })
	client := goredis.NewClient(&goredis.Options{Addr: addr, PoolSize: connections})
	t.Cleanup(func() { client.Close() })
	boj, err := redistore.NewRediStoreWithPool(pool, keys[0]) // NewRediStore's own pool sends a PING first, each time
	if err != nil {
		t.Fatal(err)
	}
	boj.SetMaxAge(int(idle / time.Second))
	rbc, err := rbcervilla.NewRedisStore(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	rbc.Options(gorillasessions.Options{Path: "/", MaxAge: int(idle / time.Second), HttpOnly: true})
	return pool, []subject{
		newSCSSubject(redigoName, scsredigo.New(pool)),
		newSCSSubject("scs, goredisstore", scsgoredis.New(client)),
		newGorillaSubject("gorilla, boj/redistore", boj),
		newGorillaSubject("gorilla, rbcervilla/redisstore", rbc),
	}
}

func TestRedis(t *testing.T) {
	addr := redisServer(t).Addr
	pool, peers := newRedisPeers(t, addr)
	strict := newRedis(t, addr, redisstore.Config{})
	plain := newGuardSubject(t, "sessionguard", strict)
	touching := newGuardSubject(t, touchingName, newAlwaysTouched(strict))
	caching := newGuardSubject(t, "sessionguard, CacheFor 10 s", newRedis(t, addr, redisstore.Config{CacheFor: cacheFor}))
	caching.login = plain.login // a node caches what it has written itself for a shorter time
	subjects := slices.Concat([]subject{plain, touching, caching}, peers, []subject{
		newSCSSubjectWithJSON(redigoName, scsredigo.New(pool)),
		newSCSSubjectWithoutSlide(redigoName, scsredigo.New(pool)),
		newRedigoFloor(pool), newRueidisFloor(newRueidis(t, addr)), newScriptFloor(newRueidis(t, addr)),
	})
	c := compare(t, subjects)
	publish(t, "redis", describeTurns(*rounds, *turnLength), c.table("Redis"))
	beside := "the fastest of scs's and gorilla/sessions' Redis stores"
	headlines["redis16"] = headline{"on Redis, 16 clients at a time", beside, usualAndWorst(c, 16, plain.name, touching.name)}
	asMany := func(name string) string {
		return formatTimes(c.ratiosToFastest(name, 16, redigoName+jsonName), "")
	}
	headlines["redisjson"] = headline{"on Redis, 16 clients at a time", "scs with a codec for JSON", asMany(plain.name) + "as many requests/s; " + asMany(touching.name) + "if every request has to write"}
	headlines["redis64"] = headline{"on Redis, 64 clients", beside, usualAndWorst(c, 64, plain.name, touching.name)}
	headlines["cachefor"] = headline{"with `CacheFor`, from the process's cache, 16 clients", beside, formatTimes(c.ratiosToFastestPeer(caching.name, 16), "as many")}
}

// TestRefusedOnRedis measures clients that are not logged in: with cookies that no server made, of
// which anybody can make as many as they like, and with the cookie of a session that has ended.
func TestRefusedOnRedis(t *testing.T) {
	addr := redisServer(t).Addr
	_, peers := newRedisPeers(t, addr)
	subjects := append([]subject{newGuardSubject(t, guardName, newRedis(t, addr, redisstore.Config{}))}, peers...)
	table := "| Redis, 16 clients |"
	rows := make([]string, len(subjects))
	for _, kind := range refusedKinds {
		table += " " + kind + ": refused/s | sessionguard refuses × as many |"
		results := make([][]cost, len(subjects)) // one per round
		clients := make([][]client, len(subjects))
		for i, s := range subjects {
			clients[i] = refusedClients(t, kind, s, 16)
		}
		for round := range *rounds {
			for i := range subjects {
				i = (i + round) % len(subjects) // another one begins each round
				got := measureCost(*turnLength, clients[i]...)
				if got.status != http.StatusUnauthorized {
					t.Fatal(subjects[i].name, kind, got.status)
				}
				results[i] = append(results[i], got)
			}
		}
		for i := range subjects {
			rows[i] += fmt.Sprintf(" %.0f | %s |", medianOf(results[i], perSecond), formatRatio(ratios(results[0], results[i], perSecond)))
		}
	}
	table += "\n|---|" + strings.Repeat("---|", 2*len(refusedKinds)) + "\n"
	for i, s := range subjects {
		table += "| " + s.name + " |" + rows[i] + "\n"
	}
	publish(t, "refusedonredis", describeTurns(*rounds, *turnLength), table)
}

// refusedClients returns n clients that request the page of s.
func refusedClients(t *testing.T, kind string, s subject, n int) (all []client) {
	t.Helper()
	requests := s.loggedIn(t, n)
	if kind == "ended session's cookie" {
		measureCost(0, client{handler: s.logout, writer: newDiscardWriter(), requests: logoutRequests(requests)})
	}
	for _, r := range requests {
		if kind == "forged cookie" {
			r = forgedRequest(r)
		}
		all = append(all, client{handler: s.page, writer: newDiscardWriter(), requests: []*http.Request{r}})
	}
	return all
}

// usualAndWorst formats the result of a headline for the usual and for the worst subject.
func usualAndWorst(c comparison, clients int, usual, worst string) string {
	return formatTimes(c.ratiosToFastestPeer(usual, clients), "as many requests/s") + "; " +
		formatTimes(c.ratiosToFastestPeer(worst, clients), "if every request has to write")
}

const touchingName = guardName + ", when every request touches"

// alwaysTouched reports every session as inactive for a long time, so that each request
// touches it. Each touch has a different time, however fast the requests come: a store need
// not write a time that it has already. To the guard it is a remote backend, also if it is
// store.Memory, which then costs a little more than without it.
type alwaysTouched struct {
	store.Backend
	touches *atomic.Int64
}

func newAlwaysTouched(b store.Backend) alwaysTouched { return alwaysTouched{b, new(atomic.Int64)} }

func (l alwaysTouched) Load(ctx context.Context, key store.Key) (store.Record, error) {
	r, err := l.Backend.Load(ctx, key)
	r.LastSeen = min(r.LastSeen, store.TimeOf(time.Now())).Add(-idle / 2)
	return r, err
}

func (l alwaysTouched) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	// One more millisecond each time; the idle timeout has enough for all turns.
	return l.Backend.Touch(ctx, key, seen+store.Time(l.touches.Add(1)%int64(idle/2/time.Millisecond)))
}

// TestRevocationSeenElsewhere measures how long another node with client-side caching still
// accepts a session after the response to its logout.
func TestRevocationSeenElsewhere(t *testing.T) {
	addr := redisServer(t).Addr
	here := newRedis(t, addr, redisstore.Config{})
	there := newRedis(t, addr, redisstore.Config{CacheFor: cacheFor})
	revocations := max(20, *rounds*120)

	table := "| Client-side caching | median | p99 | longest | of |\n|---|---|---|---|---|\n"
	for _, state := range []string{"idle", "both cores saturated by 4 clients"} {
		stop := func() {}
		if state != "idle" {
			s := newGuardSubject(t, "load", there)
			s.login = newGuardSubject(t, "here", here).login
			stop = keepBusy(t, s.page, s.loggedIn(t, 4))
		}
		all := make([]time.Duration, 0, revocations)
		for range revocations {
			all = append(all, revoke(t, here, there))
		}
		stop()
		slices.Sort(all)
		table += fmt.Sprintf("| %s | %s | %s | %s | %d |\n", state, medianMicros(all), medianMicros(all[len(all)*99/100:][:1]), medianMicros(all[len(all)-1:]), len(all))
	}
	publish(t, "revocation", plural(revocations, "logout")+" in each state", table)
}

// revoke ends a session through one node that the other node has in its cache. It returns
// how long after that the other node still accepted it. It loads continuously, and yields the
// processor in between.
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
			t.Fatal("the ended session is accepted for longer than CacheFor")
		}
	}
}

// newKey returns a random key in the owner's group.
func newKey(owner string) (key store.Key) {
	for {
		if rand.Read(key[:]); key.Group() == store.GroupOf(owner) {
			return key
		}
	}
}
