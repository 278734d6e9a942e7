package acceptance

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// An op is something that a handler does.
type op struct {
	name   string
	weight int  // how often it comes
	args   int  // its argument is below this
	wraps  bool // it has kids
	slow   bool // it takes time, which no call of a backend does
	visits bool // other browsers visit meanwhile
	do     func(e *exchange, w http.ResponseWriter, r *http.Request, n *node)
}

var errHandler = errors.New("a handler's panic")

var ops = []op{
	{name: "Login", weight: 22, args: 6, do: (*exchange).stepLogin},
	{name: "End", weight: 8, do: (*exchange).stepEnd},
	{name: "Logout", weight: 4, do: (*exchange).stepLogout},
	{name: "EndUser", weight: 3, args: 2, do: (*exchange).stepEndUser},
	{name: "EndOthers", weight: 4, do: (*exchange).stepEndOthers},
	{name: "EndSession", weight: 2, args: 2, do: (*exchange).stepEndSession},
	{name: "EndAll", weight: 2, do: (*exchange).stepEndAll},
	{name: "User", weight: 8, do: func(e *exchange, _ http.ResponseWriter, r *http.Request, _ *node) { e.look(r) }},
	{name: "EndReason", weight: 2, do: func(e *exchange, _ http.ResponseWriter, r *http.Request, _ *node) {
		e.before()
		e.guard.EndReason(r)
	}},
	{name: "Sessions", weight: 2, args: 2, do: func(e *exchange, _ http.ResponseWriter, r *http.Request, n *node) {
		e.before()
		_, _ = e.guard.Sessions(r.Context(), e.userNow(n.n).ID)
	}},
	{name: "Status", weight: 1, do: func(e *exchange, w http.ResponseWriter, r *http.Request, _ *node) {
		e.before()
		e.passive = true
		e.guard.Status().ServeHTTP(w, r)
	}},
	{name: "set a value", weight: 9, args: 3, do: (*exchange).stepSet},
	{name: "set an unsaveable value", weight: 2, args: 3, do: (*exchange).stepSetUnsaveable},
	{name: "write", weight: 6, do: func(_ *exchange, w http.ResponseWriter, _ *http.Request, _ *node) { io.WriteString(w, "page") }},
	{name: "WriteHeader", weight: 4, args: len(statuses), do: func(e *exchange, w http.ResponseWriter, _ *http.Request, n *node) {
		e.wrote500 = e.wrote500 || statuses[n.n] == http.StatusInternalServerError
		w.WriteHeader(statuses[n.n])
	}},
	{name: "Flush", weight: 3, do: func(e *exchange, w http.ResponseWriter, _ *http.Request, _ *node) {
		e.committed = true
		_ = http.NewResponseController(w).Flush()
	}},
	{name: "Hijack", weight: 2, do: func(e *exchange, w http.ResponseWriter, _ *http.Request, _ *node) {
		e.committed = true
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
		}
	}},
	{name: "panic", weight: 4, do: func(*exchange, http.ResponseWriter, *http.Request, *node) { panic(errHandler) }},
	{name: "abort", weight: 1, do: func(*exchange, http.ResponseWriter, *http.Request, *node) { panic(http.ErrAbortHandler) }},
	{name: "the client hangs up", weight: 1, slow: true, do: func(e *exchange, _ http.ResponseWriter, _ *http.Request, _ *node) {
		e.hungUp = true
		e.turn()
		e.cancel()
	}},
	{name: "the password changes", weight: 2, args: 2, do: func(e *exchange, _ http.ResponseWriter, _ *http.Request, n *node) {
		e.change(n.n, func(u *user) { v, _ := strconv.Atoi(u.Stamp); u.Stamp = strconv.Itoa(v + 1) })
	}},
	{name: "the account is switched off or on", weight: 2, args: 2, do: func(e *exchange, _ http.ResponseWriter, _ *http.Request, n *node) {
		e.change(n.n, func(u *user) { u.Inactive = !u.Inactive })
	}},
	{name: "time passes", weight: 3, args: len(pauses), slow: true, do: func(e *exchange, _ http.ResponseWriter, _ *http.Request, n *node) {
		e.nap(pauses[n.n])
	}},
	{name: "wait for the request's end", weight: 3, slow: true, do: func(e *exchange, _ http.ResponseWriter, r *http.Request, _ *node) {
		e.turn()
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
		e.turn()
	}},
	{name: "read the body", weight: 4, do: func(e *exchange, _ http.ResponseWriter, r *http.Request, _ *node) {
		e.active(false)
		_, _ = io.CopyN(io.Discard, r.Body, 1)
	}},
	{name: "read the body meanwhile", weight: 2, args: len(pauses), slow: true, do: (*exchange).stepReadMeanwhile},
	{name: "the stored values are damaged", weight: 1, do: (*exchange).stepDamage},
	{name: "Active", weight: 3, do: func(e *exchange, _ http.ResponseWriter, r *http.Request, _ *node) {
		e.before()
		e.active(true)
		if err := e.guard.Active(r); err == nil && e.known == noUser && !e.split {
			e.breaks("Active returned nil although nobody is logged in")
		}
	}},
	{name: "meanwhile", weight: 3, slow: true, visits: true, do: func(e *exchange, _ http.ResponseWriter, _ *http.Request, n *node) {
		for _, v := range n.visits {
			e.nap(v.after)
			e.serve(v, e.inCall)
		}
	}},

	{name: "Handler", weight: 2, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.enter(e.guard.Handler(e.body(n.kids)), w, r)
	}},
	{name: "RequireLogin", weight: 6, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.gate(e.guard.RequireLogin, w, r, n)
	}},
	{name: "RequireRole", weight: 3, args: 2, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.gate(e.guard.RequireRole([]string{"Engineer", "Admin"}[n.n%2]), w, r, n)
	}},
	{name: "RequireFresh", weight: 3, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.gate(e.guard.RequireFresh(freshFor), w, r, n)
	}},
	{name: "Passive", weight: 4, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.enter(e.guard.Passive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			e.passive = true
			e.body(n.kids)(w, r)
		})), w, r)
	}},
	{name: "CancelOnEnd", weight: 3, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.before()
		e.enter(e.guard.CancelOnEnd(e.body(n.kids)), w, r)
	}},
	{name: "recoverer", weight: 6, args: 2, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		if e.panics(func() { e.body(n.kids)(w, r) }) && n.n == 0 { // otherwise it hides the panic
			e.wrote500 = true
			http.Error(w, "recovered", http.StatusInternalServerError)
		}
	}},
	{name: "TimeoutHandler", weight: 6, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.limited(e.body(n.kids), w, r)
	}},
	{name: "buffer", weight: 3, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		b := &bufferWriter{h: w.Header().Clone()}
		e.body(n.kids)(b, r)
		b.WriteHeader(http.StatusOK)
		maps.Copy(w.Header(), b.sent)
		w.WriteHeader(b.status)
		w.Write(b.body)
	}},
	{name: "include with another browser's cookies", weight: 2, args: clients, do: (*exchange).stepInclude},
	{name: "keep the request", weight: 2, do: func(e *exchange, _ http.ResponseWriter, r *http.Request, _ *node) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.kept = append(e.kept, keptRequest{r, e})
	}},
	{name: "serve a request that was kept", weight: 2, args: 5, do: (*exchange).stepServeKept},
	{name: "Active with a request that was kept", weight: 2, args: 5, do: (*exchange).stepActiveKept},
	{name: "copy of the request", weight: 1, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.copied = true
		e.body(n.kids)(w, r.Clone(r.Context()))
	}},
}

var statuses = []int{200, 204, 303, 404, 408, 500, 503}

// bufferWriter is a middleware's that sends a response when its handler has returned.
type bufferWriter struct {
	h, sent http.Header
	status  int
	body    []byte
}

func (b *bufferWriter) Header() http.Header { return b.h }

func (b *bufferWriter) WriteHeader(status int) {
	if b.sent == nil && status >= 200 {
		b.sent, b.status = b.h.Clone(), status
	}
}

func (b *bufferWriter) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	b.body = append(b.body, p...)
	return len(p), nil
}

// body returns the handler of these nodes. The table of ops cannot refer to itself.
func (e *exchange) body(nodes []*node) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, n := range nodes {
			e.turn()
			n.op.do(e, w, r, n)
			e.turn()
			if r.Context().Err() != nil {
				e.nap(time.Millisecond) // an http.TimeoutHandler that gives up goes first
			}
		}
	}
}
