package bench

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

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
			w := newWriter()
			mine := make([]time.Duration, 0, 1<<14)
			for asked := start; asked.Sub(start) < each && ctx.Err() == nil; {
				again := *r // some write to it
				w.reset()
				h.ServeHTTP(w, &again)
				if w.code() != http.StatusOK {
					panic(http.StatusText(w.code()))
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

// middle is the median, and the two between which all are.
func middle(values []float64) (median, low, high float64) {
	slices.Sort(values)
	return values[len(values)/2], values[0], values[len(values)-1]
}
