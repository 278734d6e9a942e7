package bench

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A sample is what one subject achieved in one turn.
type sample struct {
	perSecond   float64
	median, p99 time.Duration
}

// runClients runs one client per request, all concurrently. Each sends its request again
// and again, until duration has passed or ctx is done.
func runClients(ctx context.Context, h http.Handler, requests []*http.Request, duration time.Duration) sample {
	latencies := make([][]time.Duration, len(requests))
	var clients sync.WaitGroup
	start := time.Now()
	for i, r := range requests {
		clients.Go(func() {
			w := newDiscardWriter()
			own := make([]time.Duration, 0, 1<<14)
			for sent := start; sent.Sub(start) < duration && ctx.Err() == nil; {
				r := *r // some subjects write to it
				w.reset()
				h.ServeHTTP(w, &r)
				if w.code() != http.StatusOK {
					panic(http.StatusText(w.code()))
				}
				now := time.Now()
				own = append(own, now.Sub(sent))
				sent = now
			}
			latencies[i] = own
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

// medianAndRange returns the median, the smallest and the largest value. It sorts values.
func medianAndRange(values []float64) (median, low, high float64) {
	slices.Sort(values)
	return values[len(values)/2], values[0], values[len(values)-1]
}
