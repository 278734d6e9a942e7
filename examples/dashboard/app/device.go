package app

import (
	"net/http"
	"time"
)

// deviceStatus is the data for templates/device.html.
type deviceStatus struct {
	Bound         bool   // whether the session is bound to its device
	Proven        bool   // whether the page is only for requests that prove it
	Lasts, Copied string // how long a proof counts in the browser, and with whoever has copied it
	Pin           string // of the self-signed certificate, or ""
}

// devicePage says whether the session is bound to its device, and how to see that in Chrome.
func (a *App) devicePage(w http.ResponseWriter, r *http.Request) {
	a.showDevice(w, r, http.StatusOK, false, "")
}

// provenPage is behind RequireBound.
func (a *App) provenPage(w http.ResponseWriter, r *http.Request) {
	a.showDevice(w, r, http.StatusOK, true, "")
}

// unboundPage is what RequireBound shows to everybody else. Right after a login it asks again by
// itself, since the browser may still be making its key.
func (a *App) unboundPage(w http.ResponseWriter, r *http.Request) {
	a.showDevice(w, r, http.StatusForbidden, false, "That page is only for sessions that are bound to their device.")
}

func (a *App) showDevice(w http.ResponseWriter, r *http.Request, status int, proven bool, problem string) {
	s := deviceStatus{
		Proven: proven,
		Lasts:  words(a.Device),
		Copied: words(a.Device + min(time.Minute, a.Device/10)),
		Pin:    a.pin,
	}
	if session, ok := a.guard.Session(r); ok {
		s.Bound = !session.Bound.IsZero()
	}
	a.render(w, r, status, "device", page{Title: "Bound to this device", Error: problem, Content: s})
}
