package bench

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A subject is one way to protect a page.
type subject struct {
	name    string
	peer    bool // not ours
	handler http.Handler
	logins  http.Handler // where its clients have logged in: on another node, or nil
}

// A sample is what one subject did in one round.
type sample struct {
	perSecond   float64
	median, p99 time.Duration
}

// load has so many clients ask a handler, each with a session of its own and one
// request after another, until ctx is done.
func load(ctx context.Context, h http.Handler, requests []*http.Request, each time.Duration) sample {
	latencies := make([][]time.Duration, len(requests))
	var clients sync.WaitGroup
	start := time.Now()
	for i, r := range requests {
		clients.Go(func() {
			w := &writer{header: http.Header{}}
			mine := make([]time.Duration, 0, 1<<14)
			for asked := start; asked.Sub(start) < each && ctx.Err() == nil; {
				again := *r // some write to it
				w.reset()
				h.ServeHTTP(w, &again)
				if w.status != http.StatusOK {
					panic(http.StatusText(w.status))
				}
				now := time.Now()
				mine = append(mine, now.Sub(asked))
				asked = now
			}
			latencies[i] = mine
		})
	}
	clients.Wait()
	took := time.Since(start)
	all := slices.Concat(latencies...)
	slices.Sort(all)
	return sample{
		perSecond: float64(len(all)) / took.Seconds(),
		median:    all[len(all)/2],
		p99:       all[len(all)*99/100],
	}
}

// writer costs nothing of its own.
type writer struct {
	header http.Header
	status int
}

func (w *writer) Header() http.Header { return w.header }
func (w *writer) WriteHeader(status int) {
	w.status = status
}
func (w *writer) Write(b []byte) (int, error) { return len(b), nil }

func (w *writer) reset() { clear(w.header); w.status = http.StatusOK }

// middle is the median, and the two between which all are.
func middle(values []float64) (median, low, high float64) {
	slices.Sort(values)
	return values[len(values)/2], values[0], values[len(values)-1]
}
