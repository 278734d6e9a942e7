package app

import (
	"errors"
	"maps"
	"sync"
	"time"
)

// An origin is where a session came from: a session of the OpenID provider.
type origin struct {
	sid     string // its ID there, "" for a session that began here
	subject string // whose it is there
	idToken string // the hint for a logout there
}

// origins remembers which sessions came from where. It is in memory: an application with
// several nodes keeps it in a database.
type origins struct {
	mu     sync.Mutex
	bySID  map[string]*originated
	tokens map[string]time.Time // the logout tokens that were used, by jti: until when
}

// originated are the sessions that came from one of the provider's.
type originated struct {
	origin
	ended    bool              // the provider has said so
	sessions map[string]string // user IDs by the sessions' IDs
	until    time.Time         // the entry is not needed after that
}

// keptFor is longer than a session of the guard lasts after a login.
const keptFor = 24 * time.Hour

var (
	// errLoggedOut is returned for a session that has ended at the provider.
	errLoggedOut = errors.New("the provider's session has ended")
	errNoOrigin  = errors.New("a session from the provider, and nothing says from which one there")
)

func newOrigins() *origins {
	return &origins{bySID: map[string]*originated{}, tokens: map[string]time.Time{}}
}

// add notes that a session came from somewhere. Without a session ID it notes only that
// one may follow.
func (o *origins) add(from origin, userID, sessionID string, now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.bySID, func(_ string, e *originated) bool { return now.After(e.until) })
	e := o.entry(from.sid, now)
	if e.ended {
		return errLoggedOut
	}
	e.origin = from
	if sessionID != "" {
		e.sessions[sessionID] = userID
	}
	return nil
}

// keep reports whether it is known where a session came from, and sees that it stays known:
// its user has logged in again.
func (o *origins) keep(sessionID string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for e := range maps.Values(o.bySID) {
		if _, ok := e.sessions[sessionID]; ok {
			e.until = now.Add(keptFor)
			return true
		}
	}
	return false
}

func (o *origins) entry(sid string, now time.Time) *originated {
	e := o.bySID[sid]
	if e == nil {
		e = &originated{origin: origin{sid: sid}, sessions: map[string]string{}}
		o.bySID[sid] = e
	}
	e.until = now.Add(keptFor)
	return e
}

// find returns the origin with this sid. The entry was made by the login that is under way.
func (o *origins) find(sid string) origin {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e := o.bySID[sid]; e != nil {
		return e.origin
	}
	return origin{sid: sid}
}

// idToken returns the ID token of the login that a session began with, or "".
func (o *origins) idToken(sessionID string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for e := range maps.Values(o.bySID) {
		if _, ok := e.sessions[sessionID]; ok {
			return e.idToken
		}
	}
	return ""
}

// An endedSession is one that a logout at the provider ends.
type endedSession struct{ userID, sessionID string }

// end returns the sessions that a logout ends: those of sid, or of every one of subject's if
// sid is "". No other session can come from there afterwards, not even one whose login is
// under way.
func (o *origins) end(sid, subject string, now time.Time) (sessions []endedSession) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if sid != "" {
		o.entry(sid, now)
	}
	for e := range maps.Values(o.bySID) {
		if sid != "" && e.sid != sid || sid == "" && e.subject != subject {
			continue
		}
		if subject != "" && e.subject != "" && e.subject != subject {
			continue // a token that contradicts itself ends nothing
		}
		e.ended = true
		for sessionID, userID := range e.sessions {
			sessions = append(sessions, endedSession{userID, sessionID})
		}
	}
	return sessions
}

// useToken reports whether a logout token is used for the first time.
func (o *origins) useToken(id string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.tokens, func(_ string, until time.Time) bool { return now.After(until) })
	if _, used := o.tokens[id]; used {
		return false
	}
	o.tokens[id] = now.Add(maxTokenAge + clockSkew) // then it is too old
	return true
}

// unuseToken makes a logout token good again, because it could not be obeyed.
func (o *origins) unuseToken(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.tokens, id)
}
