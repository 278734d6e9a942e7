package sessionguard

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// An Event is something that an audit trail wants to know (OWASP ASVS 16.3.1,
// 16.3.2). Config.OnEvent gets each as it happens; by default it is logged.
//
// It holds no token and nothing that could be replayed: a session is a hash of
// its public ID. Path and UserAgent are what the client sent, of at most 256 bytes
// each: mind what your paths give away, and quote both, as log/slog does. A session
// that ends with its timeout is reported when somebody comes back with its cookie,
// and not if nobody does.
type Event struct {
	Name        EventName
	UserID      string       // ID of the user whose session it is; "" if nobody knows
	SessionHash string       // hash of the session's public ID, the same in all its events
	Reason      store.Reason // of EventExpired and EventEnded: why
	Actor       string       // of EventEnded: ID of the user whose request did it, if it was one's
	Code        string       // of EventRefused: "login_required", "forbidden", "reauthentication_required", "cross_origin", …
	Count       int          // of what is told of at most once a second: how many since the last, this one included
	Err         error        // of EventUnavailable

	Method, Path, Address, UserAgent string // of the request, if it happened in one
}

// An EventName says what has happened.
type EventName string

// The events. What is logged by default has the level in parentheses.
const (
	EventLogin           EventName = "logged_in"       // (info)
	EventReauthenticated EventName = "reauthenticated" // (info) the same user logged in again
	EventRevived         EventName = "revived"         // (info) [Remember] revived a session
	EventLogout          EventName = "logged_out"      // (info)
	EventExpired         EventName = "expired"         // (info) idle or absolute
	EventEnded           EventName = "ended"           // (info) by another session, an administrator, a limit, the user's state
	EventTheftSuspected  EventName = "theft_suspected" // (warn) a token that had been replaced came back: the session was ended
	EventRefused         EventName = "refused"         // (debug for who is not logged in, info for who is not fresh, else warn; "cross_origin" at most once a second)
	EventUnknownCookie   EventName = "unknown_cookie"  // (info) signed by us, but of no session: at most once a second
	EventForgedCookie    EventName = "forged_cookie"   // (warn) not signed by us, or there were two: at most once a second
	EventUnavailable     EventName = "unavailable"     // (error) the backend or FindUser could not answer
)

func (e *Event) level() slog.Level {
	switch e.Name {
	case EventRefused:
		switch e.Code {
		case refusals[noSession].code:
			return slog.LevelDebug
		case refusals[stale].code:
			return slog.LevelInfo
		}
		return slog.LevelWarn
	case EventTheftSuspected, EventForgedCookie:
		return slog.LevelWarn
	case EventUnavailable:
		if errors.Is(e.Err, context.Canceled) {
			return slog.LevelDebug // the client hung up
		}
		return slog.LevelError
	}
	return slog.LevelInfo
}

// Log writes the event as one record, as happens by default. The groups and names
// are OpenTelemetry's semantic conventions where it has one (session.id, user.id,
// client.address, http.request.method, url.path, user_agent.original,
// exception.message); the rest is in a group of our own.
func (e Event) Log(ctx context.Context, log *slog.Logger) {
	level := e.level()
	if !log.Enabled(ctx, level) {
		return
	}
	var attrs []slog.Attr
	group := func(name string, fields ...slog.Attr) {
		kept := fields[:0]
		for _, f := range fields {
			if f.Value.Kind() == slog.KindGroup || f.Value.String() != "" {
				kept = append(kept, f)
			}
		}
		if len(kept) > 0 {
			attrs = append(attrs, slog.GroupAttrs(name, kept...))
		}
	}
	group("event", slog.String("name", "sessionguard."+string(e.Name)))
	group("user", slog.String("id", e.UserID))
	group("session", slog.String("id", e.SessionHash))
	own := []slog.Attr{slog.String("reason", string(e.Reason)), slog.String("actor", e.Actor), slog.String("code", e.Code)}
	if e.Count > 0 {
		own = append(own, slog.Int("count", e.Count))
	}
	group("sessionguard", own...)
	if e.Err != nil {
		group("exception", slog.String("message", e.Err.Error()))
	}
	group("client", slog.String("address", e.Address))
	if e.Method != "" {
		group("http", slog.GroupAttrs("request", slog.String("method", e.Method)))
	}
	group("url", slog.String("path", e.Path))
	group("user_agent", slog.String("original", e.UserAgent))
	log.LogAttrs(ctx, level, "sessionguard: "+eventMessages[e.Name], attrs...)
}

var eventMessages = map[EventName]string{
	EventLogin:           "logged in",
	EventReauthenticated: "logged in again",
	EventRevived:         "session revived",
	EventLogout:          "logged out",
	EventExpired:         "session expired",
	EventEnded:           "session ended",
	EventTheftSuspected:  "theft suspected: a token that had been replaced came back",
	EventRefused:         "refused",
	EventUnknownCookie:   "cookie of no session",
	EventForgedCookie:    "forged cookie",
	EventUnavailable:     "sessions are unavailable",
}

// emit tells who listens of e. ctx is a request's, or derived from one, if there
// is a request.
func (c *core) emit(ctx context.Context, e Event, rec store.Record) {
	if c.onEvent == nil && !c.log.Enabled(ctx, e.level()) {
		return
	}
	defer func() {
		if p := recover(); p != nil { // what is being done must be finished
			c.log.Error("sessionguard: OnEvent, Address or the log panicked", "event", e.Name, "panic", p)
		}
	}()
	if rec.Session != nil {
		e.UserID = c.userOf(rec)
		sum := sha256.Sum256([]byte(rec.ID))
		e.SessionHash = hex.EncodeToString(sum[:8])
	}
	if st := c.in(ctx); st != nil {
		r := st.caller
		e.Method, e.Path, e.Address, e.UserAgent = r.Method, cutTo(r.URL.Path, 256), c.addressOf(r), cutTo(r.UserAgent(), 256)
	}
	if c.onEvent != nil {
		c.onEvent(ctx, e)
	} else {
		e.Log(ctx, c.log)
	}
}

// emitEnd tells of a session that has been ended.
func (c *core) emitEnd(ctx context.Context, ended store.Record, reason store.Reason, by string) {
	e := Event{Name: EventEnded, Reason: reason, Actor: by}
	switch reason {
	case store.ReasonIdle, store.ReasonAbsolute:
		e.Name = EventExpired
	case store.ReasonLoggedOut:
		e.Name = EventLogout
	case store.ReasonTheftSuspected:
		e.Name = EventTheftSuspected
	}
	c.emit(ctx, e, ended)
}

// emitOften tells of what anyone can cause, at most once a second.
func (c *core) emitOften(ctx context.Context, e Event, t *throttle) {
	if e.Count = t.pass(store.TimeOf(time.Now())); e.Count > 0 {
		c.emit(ctx, e, store.Record{})
	}
}

func cutTo(s string, n int) string { return s[:min(n, len(s))] }

// A throttle lets one through a second, and counts the others: anyone can send as
// many cookies as they like.
type throttle struct {
	mu      sync.Mutex
	next    store.Time
	waiting int
}

// pass returns how many have come since the last that was let through, or 0.
func (t *throttle) pass(now store.Time) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting++
	if now < t.next && t.next.Sub(now) <= time.Second { // or the clock was set back
		return 0
	}
	n, t.waiting = t.waiting, 0
	t.next = now.Add(time.Second)
	return n
}
