package bench

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A cost is what one request cost on average in one turn.
type cost struct {
	requests      float64 // how many were sent
	cpu           float64 // ns of the whole process, garbage collection included
	bytes, allocs float64
	perSecond     float64
	status        int
}

// A client sends requests to a handler, over and over, and discards the responses.
type client struct {
	handler  http.Handler
	writer   reusableWriter
	requests []*http.Request
	logsIn   bool // each request is the login of another user
}

// A reusableWriter is a ResponseWriter that can be used for many responses.
type reusableWriter interface {
	http.ResponseWriter
	reset()
	code() int
}

// measureCost runs the clients concurrently, each sending one request after another, until
// duration has passed. If it is 0, each client sends each of its requests once. All
// responses must have the same status.
func measureCost(duration time.Duration, clients ...client) cost {
	runtime.GC() // so that garbage of the turn before does not count
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, cpu := time.Now(), cpuTime()
	sent, status := make([]int, len(clients)), make([]int, len(clients))
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			var r http.Request // a copy: some subjects write to it
			var login url.URL
			for n := 0; duration > 0 || n < len(c.requests); n++ {
				if n%64 == 0 && duration > 0 && time.Since(start) >= duration {
					break
				}
				r = *c.requests[n%len(c.requests)]
				if c.logsIn {
					login.Path, login.RawQuery = r.URL.Path, userName(n)
					r.URL = &login
				}
				c.writer.reset()
				c.handler.ServeHTTP(c.writer, &r)
				if n == 0 {
					status[i] = c.writer.code()
				}
				check(c.writer.code() == status[i])
				sent[i] = n + 1
			}
		})
	}
	all.Wait()
	took, cpuSpent := time.Since(start), cpuTime()-cpu
	runtime.ReadMemStats(&after)
	n := 0.0
	for _, s := range sent {
		n += float64(s)
	}
	return cost{
		requests:  n,
		cpu:       float64(cpuSpent) / n,
		bytes:     float64(after.TotalAlloc-before.TotalAlloc) / n,
		allocs:    float64(after.Mallocs-before.Mallocs) / n,
		perSecond: n / took.Seconds(),
		status:    slices.Max(status), // a client that began too late has none
	}
}

// cpuTime returns the CPU time this process has used, on all processors.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// A discardWriter discards the body, at no cost.
type discardWriter struct {
	header http.Header
	status int
}

func newDiscardWriter() reusableWriter { return &discardWriter{header: http.Header{}} }

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) WriteHeader(status int)      { w.status = status }
func (w *discardWriter) Write(b []byte) (int, error) { return len(b), nil }

func (w *discardWriter) reset()    { clear(w.header); w.status = http.StatusOK }
func (w *discardWriter) code() int { return w.status }

// A reusableRecorder is a ResponseRecorder of net/http/httptest.
type reusableRecorder struct{ httptest.ResponseRecorder }

func newReusableRecorder() reusableWriter { return &reusableRecorder{*httptest.NewRecorder()} }

func (r *reusableRecorder) reset() {
	clear(r.Header())
	r.Body.Reset()
	//lint:ignore SA1019 there is no other way to use a recorder again
	r.ResponseRecorder = httptest.ResponseRecorder{HeaderMap: r.Header(), Body: r.Body, Code: http.StatusOK}
}
func (r *reusableRecorder) code() int { return r.Code }
