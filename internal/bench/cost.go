package bench

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A cost is what one request takes in one round.
type cost struct {
	n             float64 // requests
	cpu           float64 // ns, of all of this process: what collects the garbage counts
	bytes, allocs float64
	perSecond     float64
	status        int
}

// A client asks a handler, over and over, and keeps no answer.
type client struct {
	asks     http.Handler
	answer   answer
	requests []*http.Request
}

// An answer is a ResponseWriter that can be used again.
type answer interface {
	http.ResponseWriter
	reset()
	code() int
}

// spend has the clients ask at the same time, one request after another, for so long
// or, if that is 0, for each of their requests once. All answers must have one status.
func spend(each time.Duration, clients ...client) cost {
	runtime.GC() // nobody pays for what another left
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, cpu := time.Now(), cpuTime()
	asked, status := make([]int, len(clients)), make([]int, len(clients))
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			var again http.Request // a copy: some write to it
			for n := 0; each > 0 || n < len(c.requests); n++ {
				if n%64 == 0 && each > 0 && time.Since(start) >= each {
					break
				}
				again = *c.requests[n%len(c.requests)]
				c.answer.reset()
				c.asks.ServeHTTP(c.answer, &again)
				if n == 0 {
					status[i] = c.answer.code()
				}
				check(c.answer.code() == status[i])
				asked[i] = n + 1
			}
		})
	}
	all.Wait()
	took, spent := time.Since(start), cpuTime()-cpu
	runtime.ReadMemStats(&after)
	n := 0.0
	for _, of := range asked {
		n += float64(of)
	}
	return cost{
		n:         n,
		cpu:       float64(spent) / n,
		bytes:     float64(after.TotalAlloc-before.TotalAlloc) / n,
		allocs:    float64(after.Mallocs-before.Mallocs) / n,
		perSecond: n / took.Seconds(),
		status:    status[0],
	}
}

// cpuTime is what this process has used of all processors.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// writer costs nothing of its own.
type writer struct {
	header http.Header
	status int
}

func newWriter() answer { return &writer{header: http.Header{}} }

func (w *writer) Header() http.Header         { return w.header }
func (w *writer) WriteHeader(status int)      { w.status = status }
func (w *writer) Write(b []byte) (int, error) { return len(b), nil }

func (w *writer) reset()    { clear(w.header); w.status = http.StatusOK }
func (w *writer) code() int { return w.status }

// recorder is net/http's own.
type recorder struct{ httptest.ResponseRecorder }

func newRecorder() answer { return &recorder{*httptest.NewRecorder()} }

func (r *recorder) reset() {
	clear(r.Header())
	r.Body.Reset()
	//lint:ignore SA1019 a recorder cannot be used again in any other way
	r.ResponseRecorder = httptest.ResponseRecorder{HeaderMap: r.Header(), Body: r.Body, Code: http.StatusOK}
}
func (r *recorder) code() int { return r.Code }
