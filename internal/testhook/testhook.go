// Package testhook gives package sessionguardtest what the root package does not export,
// because only tests may do it.
package testhook

import (
	"net/http"
	"slices"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// Backdate moves the session of r's cookie back in time, under a new cookie, which it adds to
// w. The guard is a pointer to a sessionguard.Guard, whose package sets Backdate.
var Backdate func(guard any, w http.ResponseWriter, r *http.Request, shift Shift) error

// Bind binds the session of r's cookie to a device with a public key (DER), unless it is bound,
// and adds a proof of that, made age ago, to w. The guard is as that of Backdate.
var Bind func(guard any, w http.ResponseWriter, r *http.Request, publicKey []byte, age time.Duration) error

// A Shift is how far a session moves back in time.
type Shift struct {
	By     time.Duration
	Active bool // but its user has been active since
}

// Of returns a copy of rec that has moved back.
func (s Shift) Of(rec store.Record) store.Record {
	session, details := *rec.Session, rec.Detail()
	details.SuccessorToken = nil // was for a cookie from before
	details.Factors = slices.Clone(details.Factors)
	times := []*store.Time{&session.Authenticated, &session.Expires, &session.Created, &details.RememberUntil, &details.Rotated}
	for i := range details.Factors {
		times = append(times, &details.Factors[i].At)
	}
	if !s.Active {
		times = append(times, &rec.LastSeen)
	}
	for _, t := range times {
		if *t != 0 {
			*t = t.Add(-s.By)
		}
	}
	session.Details = &details
	return store.Record{Session: &session, LastSeen: min(rec.LastSeen, session.Expires-1)}
}
