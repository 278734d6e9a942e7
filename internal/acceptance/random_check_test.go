package acceptance

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// sync brings what is known of sessions up to the contents of the backend.
func (e *exchange) sync() {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := store.TimeOf(time.Now())
	present := map[*modelSession]bool{}
	for i, u := range e.users {
		records, _ := e.memory.ByOwner(context.Background(), ownerOf(u.ID), "", store.MaxPage)
		for _, rec := range records {
			s := e.sessions[rec.ID]
			switch {
			case s == nil:
				s = &modelSession{user: i, stamp: u.Stamp, login: now, seen: now, ends: now.Add(absolute), by: e}
				e.sessions[rec.ID] = s
				e.changed = append(e.changed, s)
			case s.gone && e.wrong == "":
				e.wrong = "a session is back that had ended: " + s.dead
			case s.Key != rec.Key && !rec.Revived():
				e.replaced[s.Key] = true
				s.by = e
				e.changed = append(e.changed, s)
			}
			s.Record = rec
			e.byKey[rec.Key] = s
			present[s] = true
		}
	}
	for _, s := range e.sessions {
		if !present[s] && !s.gone {
			s.gone, s.dead = true, cmp.Or(s.dead, "its record was deleted")
		}
	}
}

// before notes, ahead of a call of the guard, whether it may accept the client.
func (e *exchange) before() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = e.asked || !e.began && !e.committed
	if e.looked == 0 {
		e.looked = store.TimeOf(time.Now())
	}
	s, ended, wrongUser := e.denials()
	if ended == "" || !e.sessionMay {
		e.session = s
	}
	if ended == "" {
		e.sessionMay = true
		if !e.passive {
			s.seen = store.TimeOf(time.Now()) // the call may be activity
		}
	}
	if wrongUser == "" {
		e.userMay = true
	}
	e.denial = cmp.Or(ended, wrongUser)
}

// active notes that the request may be activity again. If explicit is true, that is so if it is
// passive too. What has idled out by then is not brought back.
func (e *exchange) active(explicit bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := store.TimeOf(time.Now())
	if s := e.session; s != nil && s.dead == "" && now < s.seen.Add(idle) && (explicit || !e.passive) {
		s.seen = max(s.seen, now)
	}
}

// denials returns the session of the request's cookies, and why it must not be accepted now.
func (e *exchange) denials() (s *modelSession, ended, wrongUser string) {
	ended = "the request has no session cookie"
	for _, value := range e.sent {
		other, why := e.denialOf(keyOf(value))
		switch {
		case ended != "":
			s, ended = cmp.Or(other, s), why
		case why == "" && other != s:
			return nil, "two of the request's cookies name live sessions", ""
		}
	}
	if s == nil {
		return nil, ended, ""
	}
	switch u := e.users[s.user]; {
	case u.Inactive:
		wrongUser = "the user is inactive"
	case u.Stamp != s.stamp:
		wrongUser = "the password has changed"
	}
	return s, ended, wrongUser
}

// denialOf is denials for one of several cookies.
func (e *exchange) denialOf(key store.Key) (s *modelSession, ended string) {
	s = e.byKey[key]
	now := store.TimeOf(time.Now())
	switch {
	case s == nil:
		return nil, "the request's cookie was never a session's"
	case s.dead != "":
		ended = s.dead
	case e.replaced[key]:
		ended = "a login has replaced the token"
	case now >= s.ends:
		ended = "the absolute timeout has passed"
	case now >= max(s.seen.Add(idle), s.remembered):
		ended = "the idle timeout has passed"
	case len(e.sent) > 1: // the guard may know better that one has ended, and another counts
		rec, err := e.memory.LoadByID(context.Background(), s.Owner, s.ID)
		if err != nil || now >= rec.GoneAt() {
			ended = "the backend has no such session"
		}
	}
	return s, ended
}

// saw checks that the guard may have accepted the client as this user, and returns which
// one it is.
func (e *exchange) saw(id string) int {
	e.mu.Lock()
	i := slices.IndexFunc(e.users[:], func(u user) bool { return u.ID == id })
	known := e.known
	if s, ended, _ := e.denials(); known == unknown && len(e.sent) > 1 && ended == "" {
		e.session, e.sessionMay = s, true // another may have ended during the call of the guard
	}
	accepted := known == unknown && e.sessionMay && e.userMay && e.session != nil && e.session.user == i
	if accepted {
		e.known = i
	}
	reason := e.denial
	e.mu.Unlock()
	switch {
	case accepted || known == i || e.split:
	case known == unknown:
		e.breaks("user %d was accepted: %s", i, cmp.Or(reason, "it is another user's session"))
	default:
		e.breaks("user %d was accepted in a request of user %d", i, known)
	}
	return i
}

// current returns the session that the request has.
func (e *exchange) current() *modelSession {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.login != nil {
		return e.login
	}
	return e.session
}

// live returns a user's sessions.
func (e *exchange) live(i int) (sessions []*modelSession) {
	e.sync()
	e.mu.Lock()
	defer e.mu.Unlock()
	records, _ := e.memory.ByOwner(context.Background(), ownerOf(e.users[i].ID), "", store.MaxPage)
	for _, rec := range records {
		sessions = append(sessions, e.byKey[rec.Key])
	}
	slices.SortFunc(sessions, func(a, b *modelSession) int { return cmp.Compare(a.login, b.login) })
	return sessions
}

// presented returns the sessions whose cookies the browser has sent, or that the request
// has begun, as far as the backend still finds them.
func (e *exchange) presented() (sessions []*modelSession) {
	e.sync()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, value := range e.sent {
		_, err := e.memory.Load(context.Background(), keyOf(value))
		if moved := new(store.MovedError); err == nil || errors.As(err, &moved) {
			if s := e.byKey[keyOf(value)]; s != nil && !s.gone {
				sessions = append(sessions, s)
			}
		}
	}
	undone := e.began && e.status >= 500 // and reported, if it could not be deleted
	if e.login != nil && !e.login.gone && !undone && !e.split {
		sessions = append(sessions, e.login)
	}
	return sessions
}

// notPresented returns all other sessions.
func (e *exchange) notPresented() (sessions []*modelSession) {
	presented := e.presented()
	for _, s := range slices.Concat(e.live(0), e.live(1)) {
		if !slices.Contains(presented, s) {
			sessions = append(sessions, s)
		}
	}
	return sessions
}

func (e *exchange) mustBeGone(sessions []*modelSession, by string) {
	for _, s := range sessions {
		if !s.gone {
			e.breaks("%s reports success, but a session that it should have ended is in the backend", by)
		}
	}
}

// checkResponse checks the response at the moment when the guard sends it.
func (e *exchange) checkResponse() {
	cookies := e.cookies(e.header)
	deleted := slices.ContainsFunc(cookies, func(c *http.Cookie) bool { return c.Name == sessionCookie && c.MaxAge < 0 })
	set := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return c.Name == sessionCookie && c.MaxAge >= 0 })
	var of *modelSession
	if set >= 0 {
		of = e.byKey[keyOf(cookies[set].Value)]
	}
	unavailable := e.status == http.StatusServiceUnavailable && e.header.Get("Retry-After") != ""
	replaced := unavailable || e.status == http.StatusInternalServerError && !e.wrote500
	switch {
	case replaced && of != nil && of.by == e && !e.committed && !e.leaving:
		e.breaks("the handler's response is replaced with %d, which sets a session's cookie", e.status)
	case unavailable && !e.reported && e.looked.Sub(store.TimeOf(e.reportedAt)) >= time.Second: // of the same failure, one a second is reported
		e.breaks("the response is 503, and no event tells why")
	case of != nil && of.by != e && of.gone && !e.committed:
		e.breaks("the response gives a new token to a session that has ended")
	case e.userFailed && e.asked && e.status < 500:
		e.breaks("FindUser failed, and the response is %d", e.status)
	case e.gated && e.lateForTouch() && e.status < 300:
		e.breaks("the page of a session that has ended is sent with %d", e.status)
	case e.asked && !slices.Equal(e.header["Cache-Control"], []string{noStore}):
		e.breaks("a response that depends on the session may be cached: %v", e.header)
	case e.failed && e.status < 500:
		e.breaks("a logout could not reach the backend, and the response is %d", e.status)
	case e.signedOut && !deleted && !e.gone:
		e.breaks("the response after a logout does not delete the cookie: %d %v", e.status, e.header)
	}
}

// lateForTouch reports whether the session of a request that is activity has ended before
// its response, where the guard notices that: with a *store.Memory it records all activity.
func (e *exchange) lateForTouch() bool {
	s := e.session
	return !e.p.remote && !e.passive && !e.committed && !e.leaving && e.known >= 0 && len(e.logins) == 0 &&
		s != nil && s.gone && len(e.sent) == 1 && s.Key == keyOf(e.sent[0]) && s.LastSeen < e.looked
}

// finish checks what must hold when a request has ended, and all of its handlers.
func (e *exchange) finish() {
	e.sync()
	for _, s := range e.logins {
		if e.undone[hashOf(s.ID)] && e.began && !e.panicked && !e.gone && !e.hungUp && !e.dropped && e.status < 500 {
			e.breaks("the response of a login was sent with %d, but the login was undone", e.status)
		}
	}
	e.done, e.askedAt = true, store.TimeOf(time.Now())
	for _, s := range e.sessions {
		if s.by.done && !s.excused && !s.gone && s.GoneAt() > store.TimeOf(time.Now()) && !e.held(s) {
			e.orphaned(s)
		}
	}
}

func hashOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}

// held reports whether a browser has the session's cookie. After several requests of one
// browser at a time, that it once had it is enough.
func (e *exchange) held(s *modelSession) bool {
	for _, c := range e.clients {
		value, ok := c.jar[sessionCookie]
		key := keyOf(value)
		had := func(key store.Key) bool { return e.byKey[key] == s && !e.replaced[key] }
		if ok && had(key) || c.overlapped && c.had(had) {
			return true
		}
	}
	return false
}

// orphaned decides whether a live session may exist whose cookie no browser has.
func (e *exchange) orphaned(s *modelSession) {
	s.excused = true
	at, what := s.by, "the session of a login exists, although its browser has not got the cookie"
	if s.by.client.had(func(key store.Key) bool { return e.byKey[key] == s && !e.replaced[key] }) {
		at, what = e, "a browser has lost the cookie of a session that still exists"
	}
	switch {
	case at == s.by && at.hijacked && at.copied:
	case at == s.by && at.began && !at.panicked && (!at.delivered || at.dropped) && !at.gone:
		// The response was lost after the guard had sent it.
	case !at.undeletable[s.Key] && (at == s.by || s.unreachable == nil):
		e.breaks("%s (status %d)", what, at.status)
	case !at.reported:
		e.breaks("%s because of a fault that was not reported (status %d)", what, at.status)
	case at.undeletable[s.Key]:
		e.unfinished = append(e.unfinished, s)
	}
}

// checkUnfinished checks that the guard has ended in the background what it could not end
// when it should have.
func (l *lab) checkUnfinished() {
	var innocent []store.Record
	for _, s := range l.sessions {
		if rec, err := l.memory.Load(context.Background(), s.Key); err == nil && rec.Created > l.faultAt {
			innocent = append(innocent, rec)
		}
	}
	time.Sleep(5 * time.Second)
	for _, rec := range innocent {
		if _, err := l.memory.LoadByID(context.Background(), rec.Owner, rec.ID); err != nil {
			l.breaks("a session that began after all that failed has ended in the background")
		}
	}
	for _, s := range l.unfinished {
		if _, err := l.memory.LoadByID(context.Background(), s.Owner, s.ID); err == nil {
			l.breaks("a session that could not be ended is not ended later")
		}
	}
}

// probe sends every cookie that any response has set, alone and beside one of no session.
// What has ended is refused, and what lives is accepted.
func (l *lab) probe() {
	dead := ""
	for value := range l.tokens {
		if _, err := l.memory.Load(context.Background(), keyOf(value)); err != nil && !errors.As(err, new(*store.MovedError)) {
			dead = value
		}
	}
	for value := range l.tokens {
		l.probeWith(value)
		if dead != "" && dead != value {
			l.probeWith(dead, value)
		}
	}
}

func (l *lab) probeWith(values ...string) {
	e := &exchange{lab: l, v: &visit{method: http.MethodGet, path: "/", page: true}, client: &client{}, known: unknown, sent: values}
	r := e.request().WithContext(context.Background()) // no faults
	defer e.cancel()
	for _, value := range values {
		r.AddCookie(&http.Cookie{Name: sessionCookie, Value: value})
	}
	rec, err := l.memory.Load(context.Background(), keyOf(values[len(values)-1]))
	l.guard.Passive(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		i := e.look(r)
		if err == nil && rec.Deadline() > store.TimeOf(time.Now()) && e.denial == "" && i == noUser {
			e.breaks("a live session is not accepted")
		}
	})).ServeHTTP(&wire{e: e, h: http.Header{}}, r)
}
