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

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/redisstore"
)

// What ten million people are taken to do.
const (
	people       = 10_000_000
	active       = people / 10 // at a time
	touching     = active / 60 // per second: at most once in 1/30 of the idle timeout
	loggingIn    = people / (8 * 60 * 60)
	busyAtMost   = 0.6         // of a Redis server's one core
	calm, lively = 1. / 10, 1. // requests per second of someone active
)

// fleetNodes are among how many nodes the clients are shared out.
const fleetNodes = 16

// A usage is what Redis has used so far.
type usage struct{ memory, cpu float64 } // bytes, µs

// TestAFleet measures what a session and a request cost Redis, and works out from that
// what ten million people would.
func TestAFleet(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	operator, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(operator.Close)
	used := func() usage {
		info, err := operator.Do(t.Context(), operator.B().Info().Section("memory", "cpu").Build()).ToString()
		if err != nil {
			t.Fatal(err)
		}
		field := func(name string) float64 {
			_, rest, found := strings.Cut(info, "\n"+name+":")
			value, _, _ := strings.Cut(rest, "\r")
			number, err := strconv.ParseFloat(value, 64)
			check(found && err == nil)
			return number
		}
		return usage{field("used_memory"), 1e6 * (field("used_cpu_sys_main_thread") + field("used_cpu_user_main_thread"))}
	}

	// Each node asks for a few clients at a time: the more it asks for at once, the less
	// each costs the server.
	var nodes, slid []subject
	for range fleetNodes {
		s := newRedis(t, server.Addr, redisstore.Config{})
		nodes, slid = append(nodes, mustOurs(t, oursName, s)), append(slid, mustOurs(t, oursName, newLate(s)))
	}
	strict := newRedis(t, server.Addr, redisstore.Config{})
	site := mustOurs(t, oursName, strict)
	// per is the server's CPU per request.
	per := func(handler func(node int) http.Handler, requests []*http.Request) float64 {
		all := make([]client, len(requests))
		for i := range all {
			all[i] = client{handler(i % fleetNodes), newWriter(), requests[i : i+1]}
		}
		before := used().cpu
		n := spend(*each, all...).n
		return (used().cpu - before) / n
	}
	logins := make([]*http.Request, slices.Max(clients))
	for i := range logins {
		logins[i] = httptest.NewRequest("POST", "/login?someone"+strconv.Itoa(i), nil)
	}

	var read, touched, login, cached, bytesEach, trackedEach []float64
	n := *many / 10
	for range min(*rounds, 3) {
		visitors := site.visitors(t, slices.Max(clients))
		one := per(func(node int) http.Handler { return nodes[node].page }, visitors)
		read = append(read, one)
		touched = append(touched, per(func(node int) http.Handler { return slid[node].page }, visitors)-one)
		login = append(login, per(func(node int) http.Handler { return nodes[node].login }, logins))

		before := used()
		keys := population(t, strict, n)
		full := used()
		bytesEach = append(bytesEach, (full.memory-before.memory)/float64(n))
		var caching []*redisstore.Store
		for range fleetNodes {
			caching = append(caching, newRedis(t, server.Addr, redisstore.Config{CacheFor: cacheFor}))
		}
		before = used()
		atOnce(len(keys), func(i int) {
			_, err := caching[i%fleetNodes].Load(context.Background(), keys[i])
			check(err == nil)
		})
		after := used()
		cached = append(cached, (after.cpu-before.cpu)/float64(n))
		trackedEach = append(trackedEach, (after.memory-before.memory)/float64(n))
		for _, node := range caching {
			node.Close()
		}
		if err := operator.Do(t.Context(), operator.B().Flushall().Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	publishFleet(t, read, touched, login, cached, bytesEach, trackedEach)
}

func publishFleet(t *testing.T, read, touched, login, cached, bytesEach, trackedEach []float64) {
	table := "| Redis, per | | |\n|---|---|---|\n"
	row := func(what, format string, values []float64) float64 {
		median, low, high := middle(values)
		table += fmt.Sprintf("| %s | "+format+" | "+format+"–"+format+" |\n", what, median, low, high)
		return median
	}
	getex := row("protected request: CPU", "%.1f µs", read)
	touch := row("touch, once in 1/30 of the idle timeout: CPU", "%.1f µs", touched)
	enter := row("login that stores five values: CPU", "%.0f µs", login)
	fill := row("read that fills a node's cache (CacheFor): CPU", "%.1f µs", cached)
	size := row("session with five values: memory", "%.0f B", bytesEach)
	tracked := row("session in a node's cache: memory more", "%.0f B", trackedEach)

	table += "\n| ten million people logged in | requests/s | reads of Redis/s | touches/s | CPU of Redis | servers | memory |\n|---|---|---|---|---|---|---|\n"
	for _, pace := range []struct {
		name string
		of   float64
	}{{"calm", calm}, {"lively", lively}} {
		requests := active * pace.of
		for _, caching := range []bool{false, true} {
			name, reads, each, memory := pace.name, requests, getex, people*size
			if caching {
				name += ", CacheFor 10 s"
				reads, each = min(requests, active/cacheFor.Seconds()+touching), fill
				memory += active * tracked
			}
			cores := (reads*each + touching*touch + loggingIn*enter) / 1e6
			table += fmt.Sprintf("| %s | %s | %s | %s | %.1f cores | %.0f | %.1f GB |\n", name,
				thousands(requests), thousands(reads), thousands(touching), cores, math.Ceil(cores/busyAtMost), memory/1e9)
		}
	}
	publish(t, "fleet", turns(min(*rounds, 3), *each), table)
}

func thousands(x float64) string {
	digits := strconv.Itoa(int(x))
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// population stores so many sessions with five values, each of somebody else.
func population(t *testing.T, s *redisstore.Store, n int) []store.Key {
	t.Helper()
	all, err := s.ByOwner(t.Context(), "__Host-session="+ada.id)
	if err != nil || len(all) == 0 {
		t.Fatal(err)
	}
	model := all[0]
	keys := make([]store.Key, n)
	atOnce(n, func(i int) {
		session, details := *model.Session, *model.Details
		session.Owner = "__Host-session=user" + strconv.Itoa(i)
		session.ID = "id" + strconv.Itoa(i) + model.ID[:len(model.ID)-8]
		session.Key = newKey(session.Owner)
		session.Values, session.Details = bytes.Clone(session.Values), &details
		_, err := s.Create(context.Background(), store.Record{Session: &session, LastSeen: model.LastSeen}, store.Limit{})
		check(err == nil)
		keys[i] = session.Key
	})
	return keys
}

// atOnce does what is to be done so often, by as many as there are clients at the most.
func atOnce(n int, do func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range slices.Max(clients) {
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
