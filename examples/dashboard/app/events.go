package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// maxStall bounds how long sending one event to a slow client may take.
const maxStall = 10 * time.Second

// livePage shows the stream of events.
func (a *App) livePage(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "live", page{Title: "Live"})
}

// events streams the server's time as server-sent events for as long as the session lasts.
// The last event gives the reason for its end, unless the server shuts down, or the proof of
// the device has run out: the browser then tries again. The route is Passive, so that an open stream does not keep its session alive.
func (a *App) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	stream := http.NewResponseController(w)
	send := func(event, data string) bool {
		// The server's WriteTimeout would end the stream.
		_ = stream.SetWriteDeadline(time.Now().Add(maxStall))
		_, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, data)
		return err == nil && stream.Flush() == nil
	}

	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for send("time", time.Now().UTC().Format(time.RFC3339)) {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			ended, ok := errors.AsType[*sessionguard.SessionEndedError](context.Cause(r.Context()))
			if ok && ended.Reason != store.ReasonDeviceUnproven { // the browser proves it, and connects again
				send("ended", string(ended.Reason))
			}
			return
		}
	}
}
