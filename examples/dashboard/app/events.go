package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// maxStall is how long a client may leave an event unread.
const maxStall = 10 * time.Second

// livePage shows what events streams.
func (a *App) livePage(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "live", page{Title: "Live"})
}

// events streams the server's time as server-sent events, for as long as the
// session lasts. The last one says why it has ended. That the route is Passive
// means that a page left open with a stream does not keep its session alive.
func (a *App) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	stream := http.NewResponseController(w)
	send := func(event, data string) bool {
		// The server's WriteTimeout is for pages.
		_ = stream.SetWriteDeadline(time.Now().Add(maxStall))
		_, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, data)
		return err == nil && stream.Flush() == nil
	}

	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for send("time", time.Now().UTC().Format(time.RFC3339)) {
		select {
		case <-tick.C:
		case <-a.stopping:
			return
		case <-r.Context().Done():
			if ended, ok := errors.AsType[*sessionguard.SessionEndedError](context.Cause(r.Context())); ok {
				send("ended", string(ended.Reason))
			}
			return
		}
	}
}
