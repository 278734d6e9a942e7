package main

import (
	"fmt"
	"net/http"
	"time"
)

// maxStream is how long someone who is logged out may still get events.
const maxStream = 30 * time.Second

// events streams the server's time as server-sent events.
//
// Who may read it is decided when a request arrives, not while it runs. So a
// stream is short, and EventSource comes back for the next one, where the gate
// decides anew. That it is Passive means that a page left open with a stream
// does not keep its session alive.
func (a *app) events(w http.ResponseWriter, r *http.Request) {
	length := min(maxStream, a.idle)
	stream := http.NewResponseController(w)
	// The server's WriteTimeout is for pages.
	_ = stream.SetWriteDeadline(time.Now().Add(length + 10*time.Second))
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}

	over := time.After(length)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		_, err := fmt.Fprintf(w, "event: time\ndata: %s\n\n", time.Now().UTC().Format(time.RFC3339))
		if err != nil || stream.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-over:
			return
		case <-a.stopping:
			return
		case <-r.Context().Done():
			return
		}
	}
}
