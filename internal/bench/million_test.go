package bench

import (
	"bytes"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"

	"github.com/sessionguard-go/sessionguard/store"
)

// inMemory are those that keep every session in this process, each empty.
func inMemory(t *testing.T) []func() subject {
	return []func() subject{
		func() subject { return mustOurs(t, oursName, store.NewMemory()) },
		func() subject { return ofSCS(memstoreName, memstore.NewWithCleanupInterval(0)) },
	}
}

// crowds are how many are logged in.
func crowds() []int { return []int{*many / 1000, *many / 10, *many} }

// TestAMillionSessions measures what sessions that are just there cost.
func TestAMillionSessions(t *testing.T) {
	type result struct {
		empty, full []float64         // bytes of heap per session, without values and with five
		collection  []float64         // ms of CPU
		requests    map[int][]float64 // µs of CPU
	}
	results := make([]result, len(inMemory(t)))
	names := make([]string, len(results))
	for range min(*rounds, 3) {
		for i, fresh := range inMemory(t) {
			r := &results[i]
			if r.requests == nil {
				r.requests = map[int][]float64{}
			}
			for _, n := range crowds() {
				s := fresh()
				names[i] = s.name
				before := collected()
				crowd := logIn(t, s.login, n)
				heap := collected().heap - before.heap - float64(len(crowd.cookies))
				r.requests[n] = append(r.requests[n], wander(s.page, crowd))
				if n == *many {
					r.full = append(r.full, heap/float64(n))
					r.collection = append(r.collection, (collected().cpu-before.cpu)/1e6)
				}
				runtime.KeepAlive(s)
			}
			s := fresh()
			before := collected()
			crowd := logIn(t, s.enter, *many)
			r.empty = append(r.empty, (collected().heap-before.heap-float64(len(crowd.cookies)))/float64(*many))
			runtime.KeepAlive(s)
			runtime.KeepAlive(crowd)
		}
	}

	table := "| | heap per session, without values | with five | CPU of a garbage collection |"
	for _, n := range crowds() {
		table += fmt.Sprintf(" protected request, %d sessions |", n)
	}
	table += "\n|---|---|---|---|---|---|---|\n"
	for i, r := range results {
		empty, _, _ := middle(r.empty)
		full, _, _ := middle(r.full)
		collection, low, high := middle(r.collection)
		table += fmt.Sprintf("| %s | %.0f B | %.0f B | %.0f ms (%.0f–%.0f) |", names[i], empty, full, collection, low, high)
		for _, n := range crowds() {
			µs, low, high := middle(r.requests[n])
			table += fmt.Sprintf(" %.2f µs (%.2f–%.2f) |", µs, low, high)
		}
		table += "\n"
	}
	publish(t, "million", turns(min(*rounds, 3), *each)+" or until the garbage has been collected twice", table)
}

// A collection is what there is after the garbage has been collected, and what it took
// to collect it once more.
type collection struct{ heap, cpu float64 }

func collected() collection {
	runtime.GC()
	cpu := cpuTime()
	runtime.GC()
	took := cpuTime() - cpu
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return collection{float64(m.HeapAlloc), float64(took)}
}

// A crowd is who has logged in: their cookies, one after another, all of the same
// length. In one piece, so that collecting the garbage costs nothing for it.
type crowd struct {
	cookies string
	length  int
}

// logIn has so many people log in. Their cookies are in another order: who asks next
// has nothing to do with who logged in next.
func logIn(t *testing.T, login http.Handler, n int) crowd {
	t.Helper()
	var cookies []byte
	length := 0
	w := newWriter()
	for i, place := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		w.reset()
		login.ServeHTTP(w, person(i))
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

// person is the login of one of many.
func person(i int) *http.Request {
	r := *loginRequest
	r.URL = &url.URL{Path: "/login", RawQuery: "user" + strconv.Itoa(i)}
	r.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1234", i>>16&0xff, i>>8&0xff, i&0xff)
	r.Header = http.Header{"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"}}
	return &r
}

// wander is the CPU, in µs, that a request takes if each comes from another of the crowd.
// It goes on until the garbage has been collected twice, which belongs to it.
func wander(page http.Handler, c crowd) float64 {
	w := newWriter()
	asked := httptest.NewRequest("GET", "/", nil)
	cookie := []string{""}
	asked.Header["Cookie"] = cookie
	var again http.Request
	runtime.GC()
	collections := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(collections)
	enough := collections[0].Value.Uint64() + 2
	start, cpu := time.Now(), cpuTime()
	n := 0
	for at := 0; n%4096 > 0 || time.Since(start) < *each || collections[0].Value.Uint64() < enough; n++ {
		cookie[0] = c.cookies[at : at+c.length]
		if at += c.length; at == len(c.cookies) {
			at = 0
		}
		again = *asked
		w.reset()
		page.ServeHTTP(w, &again)
		if n%4096 == 4095 {
			metrics.Read(collections)
		}
	}
	spent := cpuTime() - cpu
	check(w.code() == http.StatusOK)
	return micro(spent) / float64(n)
}

// A filled is a subject with many sessions in its store, of which some are forgotten at
// the same time.
type filled struct {
	subject
	stop func()
}

func filledMemory(t *testing.T, expiring int, at time.Time, _ time.Duration) filled {
	m := store.NewMemory()
	s := mustOurs(t, oursName, m)
	check(len(s.visitors(t, 1)) == 1)
	all, err := m.ByOwner(t.Context(), "__Host-session="+ada.id)
	check(err == nil && len(all) == 1)
	for i := range *many {
		session, details := *all[0].Session, *all[0].Details
		_, _ = crand.Read(session.Key[:])
		session.ID, session.Owner = "id"+strconv.Itoa(i), "__Host-session=user"+strconv.Itoa(i)
		session.Values, session.Details = bytes.Clone(session.Values), &details
		if i < expiring {
			session.Expires = store.TimeOf(at).Add(-store.Grace)
		}
		_, err := m.Create(t.Context(), store.Record{Session: &session, LastSeen: all[0].LastSeen}, store.Limit{})
		check(err == nil)
	}
	return filled{s, func() {}}
}

func filledSCS(t *testing.T, expiring int, at time.Time, cleanup time.Duration) filled {
	m := memstore.NewWithCleanupInterval(cleanup)
	s := ofSCS(memstoreName, m)
	_, token, _ := strings.Cut(s.visitors(t, 1)[0].Header.Get("Cookie"), "=")
	data, found, err := m.Find(token)
	check(found && err == nil)
	for i := range *many {
		another := crand.Text() + crand.Text()
		expires := time.Now().Add(idle)
		if i < expiring {
			expires = at
		}
		err := m.Commit(another[:len(token)], bytes.Clone(data), expires)
		check(err == nil)
	}
	return filled{s, func() {
		if cleanup > 0 {
			m.StopCleanup()
		}
	}}
}

// TestStalls measures how long a request waits at the worst while many sessions expire
// at once and are taken out. Four in five ask for the page, one logs in.
func TestStalls(t *testing.T) {
	span := 10 * *each // of which a quarter is before they expire
	subjects := []func(*testing.T, int, time.Time, time.Duration) filled{filledMemory, filledSCS}
	shares := []int{0, *many / 10, *many}
	worst := make([]map[int][]float64, len(subjects))
	left := make([][]float64, len(subjects))
	names := make([]string, len(subjects))
	base := collected().heap
	for range min(*rounds, 3) {
		for i, fillOf := range subjects {
			for _, share := range shares {
				cleanup := span / 4
				if share == 0 {
					cleanup = 0 // walks over all sessions, whether or not any has expired
				}
				var s filled
				var at time.Time
				for filling := time.Duration(*many) * 6 * time.Microsecond; ; filling *= 2 {
					at = time.Now().Add(filling + span/4)
					if s = fillOf(t, share, at, cleanup); time.Until(at) > span/4 {
						break // none has expired yet
					}
					s.stop()
				}
				names[i] = s.name
				full := collected()
				time.Sleep(time.Until(at) - span/4)
				got := worstOf(t, s.subject, at.Add(span*3/4))
				if worst[i] == nil {
					worst[i] = map[int][]float64{}
				}
				worst[i][share] = append(worst[i][share], got)
				if share == *many {
					left[i] = append(left[i], 100*(collected().heap-base)/(full.heap-base))
				}
				s.stop()
				runtime.KeepAlive(s)
			}
		}
	}
	table := "| worst wait | none expire | a tenth | more than with none | all | more than with none | heap of the sessions then left |\n|---|---|---|---|---|---|---|\n"
	for i, name := range names {
		table += "| " + name + " |"
		for _, share := range shares {
			table += " " + milli(worst[i][share]) + " |"
			if share > 0 {
				more := make([]float64, len(worst[i][share]))
				for round, of := range worst[i][share] {
					more[round] = of - worst[i][0][round]
				}
				table += " " + milli(more) + " |"
			}
		}
		rest, _, _ := middle(left[i])
		table += fmt.Sprintf(" %.0f %% |\n", rest)
	}
	publish(t, "stalls", turns(min(*rounds, 3), span), table)
}

// milli is the median of times in µs, in ms, and the two between which all are.
func milli(µs []float64) string {
	median, low, high := middle(slices.Clone(µs))
	return fmt.Sprintf("%.1f ms (%.1f–%.1f)", median/1000, low/1000, high/1000)
}

// worstOf is the longest of all requests until then, in µs.
func worstOf(t *testing.T, s subject, end time.Time) float64 {
	page := s.visitors(t, 1)[0]
	w := newWriter()
	var again http.Request
	longest := time.Duration(0)
	for asked, n := time.Now(), 0; asked.Before(end); n++ {
		h := s.page
		again = *page
		if n%5 == 0 {
			h, again = s.login, *person(n)
			asked = time.Now()
		}
		w.reset()
		h.ServeHTTP(w, &again)
		check(w.code() == http.StatusOK)
		now := time.Now()
		longest = max(longest, now.Sub(asked))
		asked = now
	}
	return micro(longest)
}
