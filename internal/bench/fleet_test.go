package bench

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/redisstore"
)

// Assumptions about ten million users.
const (
	fleetUsers           = 10_000_000
	activeUsers          = fleetUsers / 10  // at a time
	touchesPerSecond     = activeUsers / 60 // at most once per 1/30 of the idle timeout
	loginsPerSecond      = fleetUsers / (8 * 60 * 60)
	maxServerLoad        = 0.6         // of a Redis server's one core
	calmPace, livelyPace = 1. / 10, 1. // requests per second of an active user
)

// patience is how long Redis may take: longer than usual, because it does much at a time here.
const patience = 20 * time.Second

// fleetNodes is the number of nodes that share the clients.
const fleetNodes = 16

// fleetCosts are what Redis spends, measured once per round: µs of CPU and bytes of memory.
type fleetCosts struct {
	read, touch, login, cacheFill []float64
	session, cachedSession        []float64 // the latter in addition to session
}

// TestFleet measures what a session and a request cost Redis, and computes from that what
// ten million users would cost.
func TestFleet(t *testing.T) {
	f := newFleet(t, nil)
	site := guardSubject(guardName, f.guard)
	logins := make([]*http.Request, slices.Max(clientCounts))
	for i := range logins {
		logins[i] = httptest.NewRequest("POST", "/login?someone"+strconv.Itoa(i), nil)
	}
	var costs fleetCosts
	for range min(*rounds, 3) {
		requests := site.loggedIn(t, slices.Max(clientCounts))
		read := f.cpuPerRequest(requests, func(node int) http.Handler { return f.subjects[node].page })
		costs.read = append(costs.read, read)
		touched := f.cpuPerRequest(requests, func(node int) http.Handler { return f.touching[node].page })
		costs.touch = append(costs.touch, touched-read)
		costs.login = append(costs.login, f.cpuPerRequest(logins, func(node int) http.Handler { return f.subjects[node].login }))
		f.measureSessions(&costs)
		f.flush()
	}
	publish(t, "fleet", describeTurns(min(*rounds, 3), *turnLength), fleetTable(costs))
}

// A fleet is a Redis server and the nodes that use it.
type fleet struct {
	t        *testing.T
	addr     string
	operator rueidis.Client // reads statistics
	store    *redisstore.Store
	guard    *sessionguard.Guard[*user] // with that store
	subjects []subject                  // one per node
	touching []subject                  // the same nodes, where every request touches
}

// newFleet starts a fleet. configure, which may be nil, changes the Config of its guards.
func newFleet(t *testing.T, configure func(*sessionguard.Config[*user])) *fleet {
	t.Helper()
	server := servers.Redis(t, servers.RedisOptions{})
	f := &fleet{t: t, addr: server.Addr, operator: newRueidis(t, server.Addr)}
	// Many nodes with few clients each: the more commands a node sends at once, the less each
	// costs the server.
	for range fleetNodes {
		s := newRedis(t, server.Addr, redisstore.Config{Timeout: patience})
		f.subjects = append(f.subjects, guardSubject(guardName, newGuard(t, s, configure)))
		f.touching = append(f.touching, guardSubject(guardName, newGuard(t, newAlwaysTouched(s), configure)))
	}
	f.store = newRedis(t, server.Addr, redisstore.Config{Timeout: patience})
	f.guard = newGuard(t, f.store, configure)
	return f
}

// used returns the memory that Redis uses, in bytes, and the CPU time of its main thread so
// far, in µs.
func (f *fleet) used() (memory, cpu float64) {
	f.t.Helper()
	info, err := f.operator.Do(f.t.Context(), f.operator.B().Info().Section("memory", "cpu").Build()).ToString()
	if err != nil {
		f.t.Fatal(err)
	}
	field := func(name string) float64 {
		_, rest, found := strings.Cut(info, "\n"+name+":")
		value, _, _ := strings.Cut(rest, "\r")
		number, err := strconv.ParseFloat(value, 64)
		check(found && err == nil)
		return number
	}
	return field("used_memory"), 1e6 * (field("used_cpu_sys_main_thread") + field("used_cpu_user_main_thread"))
}

// flush removes everything from Redis.
func (f *fleet) flush() {
	f.t.Helper()
	if err := f.operator.Do(f.t.Context(), f.operator.B().Flushall().Build()).Error(); err != nil {
		f.t.Fatal(err)
	}
}

// cpuPerRequest shares the requests out among the nodes, runs them for one turn, and returns
// the server's CPU time per request, in µs.
func (f *fleet) cpuPerRequest(requests []*http.Request, handler func(node int) http.Handler) float64 {
	f.t.Helper()
	all := make([]client, len(requests))
	for i := range all {
		all[i] = client{handler: handler(i % fleetNodes), writer: newDiscardWriter(), requests: requests[i : i+1]}
	}
	_, before := f.used()
	n := measureCost(*turnLength, all...).requests
	_, after := f.used()
	return (after - before) / n
}

// measureSessions measures many sessions in Redis, and what it costs to read each once into
// the cache of a node.
func (f *fleet) measureSessions(costs *fleetCosts) {
	f.t.Helper()
	count := *sessionCount / 10
	n := float64(count)
	memory, _ := f.used()
	keys := populate(f.t, f.store, count)
	filled, _ := f.used()
	costs.session = append(costs.session, (filled-memory)/n)

	var caching []*redisstore.Store
	for range fleetNodes {
		caching = append(caching, newRedis(f.t, f.addr, redisstore.Config{CacheFor: cacheFor}))
	}
	memory, cpu := f.used()
	concurrently(len(keys), func(i int) {
		_, err := caching[i%fleetNodes].Load(context.Background(), keys[i])
		check(err == nil)
	})
	memoryAfter, cpuAfter := f.used()
	costs.cacheFill = append(costs.cacheFill, (cpuAfter-cpu)/n)
	costs.cachedSession = append(costs.cachedSession, (memoryAfter-memory)/n)
	for _, node := range caching {
		node.Close()
	}
}

// fleetTable returns the costs, and what follows from them for ten million users, as Markdown.
func fleetTable(costs fleetCosts) string {
	table := "| Redis, per | | |\n|---|---|---|\n"
	row := func(name, format string, values []float64) float64 {
		median, low, high := medianAndRange(values)
		table += fmt.Sprintf("| %s | "+format+" | "+format+"–"+format+" |\n", name, median, low, high)
		return median
	}
	read := row("protected request: CPU", "%.1f µs", costs.read)
	touch := row("touch, once in 1/30 of the idle timeout: CPU", "%.1f µs", costs.touch)
	login := row("login that stores five values: CPU", "%.0f µs", costs.login)
	cacheFill := row("read that fills a node's cache (CacheFor): CPU", "%.1f µs", costs.cacheFill)
	session := row("session with five values: memory", "%.0f B", costs.session)
	cachedSession := row("session in a node's cache: memory more", "%.0f B", costs.cachedSession)

	table += "\n| ten million people logged in | requests/s | reads of Redis/s | touches/s | CPU of Redis | servers | memory |\n|---|---|---|---|---|---|---|\n"
	for _, pace := range []struct {
		name     string
		requests float64 // per second and active user
	}{{"calm", calmPace}, {"lively", livelyPace}} {
		requests := activeUsers * pace.requests
		for _, caching := range []bool{false, true} {
			name, reads, cpuOfRead, memory := pace.name, requests, read, fleetUsers*session
			if caching {
				name += ", CacheFor 10 s"
				reads, cpuOfRead = min(requests, activeUsers/cacheFor.Seconds()+touchesPerSecond), cacheFill
				memory += activeUsers * cachedSession
			}
			cores := (reads*cpuOfRead + touchesPerSecond*touch + loginsPerSecond*login) / 1e6
			table += fmt.Sprintf("| %s | %s | %s | %s | %.1f cores | %.0f | %.1f GB |\n", name,
				thousands(requests), thousands(reads), thousands(touchesPerSecond), cores, math.Ceil(cores/maxServerLoad), memory/1e9)
		}
	}
	return table
}

// thousands formats x with commas.
func thousands(x float64) string {
	digits := strconv.Itoa(int(x))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// populate stores n sessions with five values, each of another user. They are copies of
// Ada's.
func populate(t *testing.T, s *redisstore.Store, n int) []store.Key {
	t.Helper()
	all, err := s.ByOwner(t.Context(), "__Host-Http-session="+ada.id, "", 1)
	if err != nil || len(all) == 0 {
		t.Fatal(err)
	}
	model, err := s.Load(t.Context(), all[0].Key)
	check(err == nil)
	keys := make([]store.Key, n)
	concurrently(n, func(i int) {
		session, details := *model.Session, *model.Details
		session.Owner = "__Host-Http-session=user" + strconv.Itoa(i)
		session.ID = "id" + strconv.Itoa(i) + model.ID[:len(model.ID)-8]
		session.Key = newKey(session.Owner)
		session.Values, session.Details = bytes.Clone(session.Values), &details
		_, err := s.Create(context.Background(), store.Record{Session: &session, LastSeen: model.LastSeen}, store.Limit{})
		check(err == nil)
		keys[i] = session.Key
	})
	return keys
}

// concurrently calls do with 0 to n-1, from as many goroutines as the largest of clientCounts.
func concurrently(n int, do func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range slices.Max(clientCounts) {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				do(i)
			}
		})
	}
	all.Wait()
}
