package bench

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"

	"github.com/sessionguard-go/sessionguard/store"
)

// inMemorySubjects returns constructors of the subjects that keep every session in this
// process, each with an empty store.
func inMemorySubjects(t *testing.T) []func() subject {
	return []func() subject{
		func() subject { return newGuardSubject(t, guardName, store.NewMemory()) },
		func() subject { return newSCSSubject(memstoreName, memstore.NewWithCleanupInterval(0)) },
	}
}

// crowdSizes returns the numbers of sessions that subjects are compared with.
func crowdSizes() []int { return []int{*sessionCount / 1000, *sessionCount / 10, *sessionCount} }

// TestMillionSessions measures what idle sessions cost: memory, garbage collection, and the
// time of a request among many.
func TestMillionSessions(t *testing.T) {
	type result struct {
		empty, full []float64         // bytes of heap per session, without values and with five
		collection  []float64         // ms of CPU
		requests    map[int][]float64 // µs of CPU
	}
	results := make([]result, len(inMemorySubjects(t)))
	names := make([]string, len(results))
	var held result
	for range min(*rounds, 3) {
		held.empty = append(held.empty, heapOfHeld(t, *sessionCount, func(s subject) { logIn(t, s.loginOnly, 0, *sessionCount) }))
		held.full = append(held.full, heapOfHeld(t, *sessionCount, func(s subject) { logIn(t, s.login, 0, *sessionCount) }))
		for i, fresh := range inMemorySubjects(t) {
			r := &results[i]
			if r.requests == nil {
				r.requests = map[int][]float64{}
			}
			for _, n := range crowdSizes() {
				s := fresh()
				names[i] = s.name
				before := measureHeap()
				crowd := logIn(t, s.login, 0, n)
				heap := measureHeap().heap - before.heap - float64(len(crowd.cookies))
				r.requests[n] = append(r.requests[n], cpuUntilCollected(processCPU, crowd.request(s.page)))
				if n == *sessionCount {
					r.full = append(r.full, heap/float64(n))
					r.collection = append(r.collection, (measureHeap().cpu-before.cpu)/1e6)
				}
				runtime.KeepAlive(s)
			}
			s := fresh()
			before := measureHeap()
			crowd := logIn(t, s.loginOnly, 0, *sessionCount)
			r.empty = append(r.empty, (measureHeap().heap-before.heap-float64(len(crowd.cookies)))/float64(*sessionCount))
			runtime.KeepAlive(s)
			runtime.KeepAlive(crowd)
		}
	}

	table := "| | heap per session, without values | with five | CPU of a garbage collection |"
	for _, n := range crowdSizes() {
		table += fmt.Sprintf(" protected request, %d sessions |", n)
	}
	table += "\n|---|---|---|---|---|---|---|\n"
	for i, r := range results {
		empty, _, _ := medianAndRange(r.empty)
		full, _, _ := medianAndRange(r.full)
		collection, low, high := medianAndRange(r.collection)
		table += fmt.Sprintf("| %s | %.0f B | %.0f B | %.0f ms (%.0f–%.0f) |", names[i], empty, full, collection, low, high)
		for _, n := range crowdSizes() {
			µs, low, high := medianAndRange(r.requests[n])
			table += fmt.Sprintf(" %.2f µs (%.2f–%.2f) |", µs, low, high)
		}
		table += "\n"
	}
	empty, _, _ := medianAndRange(held.empty)
	full, _, _ := medianAndRange(held.full)
	table += fmt.Sprintf("| %s | %.0f B | %.0f B |%s\n", heldName, empty, full, strings.Repeat(" |", 1+len(crowdSizes())))
	publish(t, "million", describeTurns(min(*rounds, 3), *turnLength)+" or until the garbage has been collected twice", table)
}

// heapUsage is the size of the live heap in bytes, and the CPU time in ns that a garbage
// collection of it takes.
type heapUsage struct{ heap, cpu float64 }

func measureHeap() heapUsage {
	runtime.GC()
	cpu := cpuTime()
	runtime.GC()
	took := cpuTime() - cpu
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return heapUsage{float64(m.HeapAlloc), float64(took)}
}

// A crowd holds the cookies of many logged-in users, concatenated, all of the same length.
// One string costs the garbage collector nothing.
type crowd struct {
	cookies string
	length  int
}

// logIn logs in the users with these numbers. The crowd has them in random order, so that users
// who follow each other there did not log in one after the other.
func logIn(t *testing.T, login http.Handler, from, to int) crowd {
	t.Helper()
	n := to - from
	var cookies []byte
	length := 0
	w := newDiscardWriter()
	for i, place := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		w.reset()
		login.ServeHTTP(w, loginOfUser(from+i))
		cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
		if cookies == nil {
			length = len(cookie)
			cookies = make([]byte, n*length)
		}
		if w.code() != http.StatusOK || len(cookie) != length {
			t.Fatalf("login %d: %d, %q", i, w.code(), cookie)
		}
		copy(cookies[place*length:], cookie)
	}
	return crowd{string(cookies), length}
}

var loginRequest = httptest.NewRequest("POST", "/login", nil)

// loginOfUser returns the login request of user i.
func loginOfUser(i int) *http.Request {
	r := *loginRequest
	r.URL = &url.URL{Path: "/login", RawQuery: "user" + strconv.Itoa(i)}
	r.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1234", i>>16&0xff, i>>8&0xff, i&0xff)
	r.Header = http.Header{"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"}}
	return &r
}

// request returns a function that sends requests, each of the next user of the crowd, and
// returns how many.
func (c crowd) request(page http.Handler) func() int {
	w := newDiscardWriter()
	request := httptest.NewRequest("GET", "/", nil)
	cookie := []string{""}
	request.Header["Cookie"] = cookie
	at := 0
	return func() int {
		var r http.Request
		for range someRequests {
			cookie[0] = c.cookies[at : at+c.length]
			if at += c.length; at == len(c.cookies) {
				at = 0
			}
			r = *request
			w.reset()
			page.ServeHTTP(w, &r)
		}
		check(w.code() == http.StatusOK)
		return someRequests
	}
}

const someRequests = 4096

func processCPU() float64 { return microseconds(cpuTime()) }

// cpuUntilCollected returns the CPU, in µs, of one of what do does. It calls do, which returns
// how many it has done, until the garbage has been collected twice, which is part of the cost, or
// do has nothing more to do. cpu returns the µs of CPU so far.
func cpuUntilCollected(cpu func() float64, do func() int) float64 {
	runtime.GC()
	collections := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(collections)
	enough := collections[0].Value.Uint64() + 2
	start, before := time.Now(), cpu()
	n := 0
	for time.Since(start) < *turnLength || collections[0].Value.Uint64() < enough && time.Since(start) < 50**turnLength {
		done := do()
		if done == 0 {
			break
		}
		n += done
		metrics.Read(collections)
	}
	return (cpu() - before) / float64(n)
}
