package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
)

// TestGrowthOnRedis measures what requests cost Redis with more and more sessions.
func TestGrowthOnRedis(t *testing.T) {
	// Filling takes longer than 1/30 of the usual idle timeout, and so requests would touch.
	f := newFleet(t, func(c *sessionguard.Config[*user]) { c.IdleTimeout = absolute })
	f.logIn(0, someRequests) // after which Redis has its scripts and buffers
	sizes := growthSizes(1000, 10, 1)
	results := map[int]map[string][]float64{}
	const memory = "memory per session"
	for _, n := range sizes {
		var empty float64
		fresh := func() grownSite {
			f.flush()
			empty, _ = f.used()
			return grownSite{guard: f.guard, logIn: f.logIn, request: f.request, each: concurrently, cpu: f.cpu}
		}
		measured := measureGrowth(t, n, fresh, func() {
			full, _ := f.used()
			addTo(results, n, map[string]float64{memory: (full - empty) / float64(n)})
		})
		addTo(results, n, measured)
	}
	table := growthTable(sizes, results, append(growthKinds[:len(growthKinds):len(growthKinds)], memory))
	bytes := results[sizes[len(sizes)-1]][memory][0]
	publish(t, "growthredis", "one turn of each size", table+"\n"+tenMillion(bytes))
}

// tenMillion says how many servers hold the sessions of the fleet, with as many bytes each. Half
// of a server's memory is left for fragmentation, for buffers, and for what changes while it saves.
func tenMillion(bytes float64) string {
	const serverMemory = 16e9
	all := fleetUsers * bytes
	hold := "one server holds"
	if servers := math.Ceil(all / (serverMemory / 2)); servers > 1 {
		hold = fmt.Sprintf("%.0f servers hold", servers)
	}
	return fmt.Sprintf("Computed: with as many bytes as in the last row, ten million sessions take %.1f GB. That is what %s, if half of %.0f GB of memory is for sessions.\n",
		all/1e9, hold, serverMemory/1e9)
}

func (f *fleet) cpu() float64 {
	_, cpu := f.used()
	return cpu
}

// logIn is like the function, with many logins at a time.
func (f *fleet) logIn(from, to int) crowd {
	places := rand.Perm(to - from)
	cookies := make([]string, to-from)
	concurrently(to-from, func(i int) {
		w := newDiscardWriter()
		w.reset()
		f.subjects[i%fleetNodes].login.ServeHTTP(w, loginOfUser(from+i))
		check(w.code() == http.StatusOK)
		cookies[places[i]], _, _ = strings.Cut(w.Header().Get("Set-Cookie"), ";")
	})
	return crowd{strings.Join(cookies, ""), len(cookies[0])}
}

// request is like that of a crowd, with many requests at a time.
func (f *fleet) request(c crowd) func() int {
	sent := 0
	return func() int {
		concurrently(someRequests, func(i int) {
			at := (sent + i) * c.length % len(c.cookies)
			r := httptest.NewRequest("GET", "/", nil)
			r.Header["Cookie"] = []string{c.cookies[at : at+c.length]}
			w := newDiscardWriter()
			w.reset()
			f.subjects[i%fleetNodes].page.ServeHTTP(w, r)
			check(w.code() == http.StatusOK)
		})
		sent += someRequests
		return someRequests
	}
}
