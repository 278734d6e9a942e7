package sessionguard

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sessionguard-go/sessionguard/internal/clientaddr"
	"github.com/sessionguard-go/sessionguard/internal/fetch"
	"github.com/sessionguard-go/sessionguard/internal/logattrs"
	"github.com/sessionguard-go/sessionguard/internal/useragent"
	"github.com/sessionguard-go/sessionguard/store"
)

// An Event is an entry of the audit trail (OWASP ASVS 16.3.1, 16.3.2). Config.OnEvent
// receives each as it happens; by default it is logged.
//
// It contains no token and nothing else that could be replayed. Method, Path and
// UserAgent are what the client sent, cut to 256 bytes. They can contain anything, so
// quote them, as log/slog does, and mind what your paths reveal. A session that times out
// is reported when a client sends its cookie again, and not at all if none does.
type Event struct {
	Name        EventName
	UserID      string       // of the session's user; "" if unknown
	SessionHash string       // of the session's public ID, the same in all its events
	Reason      store.Reason // why the session ended
	Actor       string       // ID of the user who acts as UserID in this session ([Guard.ActAs]); of EventEnded: of the user whose request ended it, if any
	Code        string       // of EventRefused: "login_required", "forbidden", "reauthentication_required", "factor_required", "cross_origin", "device_required", …; of EventSeveralCookies: the name of the cookies; of EventDeviceUnproven: "no_proof", "proof_failed" (the browser could not sign a proof, and will try again), "wrong_key"
	Count       int          // of events that are emitted at most once a second: how many there were since the last, with this one
	Factors     []string     // of the events of a login: the factors that its session has now
	Err         error        // of EventUnavailable

	Method, Path, Address, UserAgent string // of the request, if there is one
}

// An EventName says what has happened. It is the attribute event.name of the record.
type EventName string

// The events, with the level at which they are logged by default in parentheses.
const (
	EventLogin            EventName = "sessionguard.logged_in"         // (info)
	EventReauthenticated  EventName = "sessionguard.reauthenticated"   // (info) the same user logged in again
	EventLoginPending     EventName = "sessionguard.login_pending"     // (info) a login that lacks a factor: nobody is logged in
	EventRevived          EventName = "sessionguard.revived"           // (info) [Remember] revived a session
	EventActing           EventName = "sessionguard.acting"            // (info) [Guard.ActAs] began a session of another user
	EventLogout           EventName = "sessionguard.logged_out"        // (info)
	EventExpired          EventName = "sessionguard.expired"           // (info) by the idle or absolute timeout
	EventEnded            EventName = "sessionguard.ended"             // (info) by another session, an administrator, a limit, or the state of the user
	EventTheftSuspected   EventName = "sessionguard.theft_suspected"   // (warn) a client sent a superseded token: the session has ended
	EventDeviceBound      EventName = "sessionguard.device_bound"      // (info) a browser has proven its device for the first time: see Config.DeviceProof
	EventDeviceUnproven   EventName = "sessionguard.device_unproven"   // (warn) a bound session was used without a proof of its device, or a proof failed: at most once a second
	EventRefused          EventName = "sessionguard.refused"           // (warn; debug if nobody is logged in, info if the login is too old or lacks a factor) a gate refused a request; "cross_origin" and "login_required" at most once a second each
	EventUnknownCookie    EventName = "sessionguard.unknown_cookie"    // (info) a session cookie signed with Config.Keys, but of no session: at most once a second
	EventUnverifiedCookie EventName = "sessionguard.unverified_cookie" // (info) a session cookie not signed with Config.Keys: at most once a second
	EventSeveralCookies   EventName = "sessionguard.several_cookies"   // (warn) two session cookies, each of a live session, so that neither counts: at most once a second
	EventUnavailable      EventName = "sessionguard.unavailable"       // (error; debug if a client has disconnected, at most once a second) the backend or FindUser failed
)

var eventMessages = map[EventName]string{
	EventLogin:            "sessionguard: logged in",
	EventReauthenticated:  "sessionguard: logged in again",
	EventLoginPending:     "sessionguard: login lacks a factor",
	EventRevived:          "sessionguard: session revived",
	EventActing:           "sessionguard: acting as another user",
	EventLogout:           "sessionguard: logged out",
	EventExpired:          "sessionguard: session expired",
	EventEnded:            "sessionguard: session ended",
	EventTheftSuspected:   "sessionguard: theft suspected: a superseded token was presented",
	EventDeviceBound:      "sessionguard: session bound to a device",
	EventDeviceUnproven:   "sessionguard: a bound session was used without its device",
	EventRefused:          "sessionguard: refused",
	EventUnknownCookie:    "sessionguard: cookie of no session",
	EventUnverifiedCookie: "sessionguard: a cookie that these keys did not sign",
	EventSeveralCookies:   "sessionguard: two cookies named ",
	EventUnavailable:      "sessionguard: sessions are unavailable",
}

func (e *Event) level() slog.Level {
	switch e.Name {
	case EventRefused:
		for i := range refusals {
			if refusals[i].event && refusals[i].code == e.Code {
				return refusals[i].level
			}
		}
		return slog.LevelWarn // a login, with the reason as its code
	case EventTheftSuspected, EventSeveralCookies, EventDeviceUnproven:
		return slog.LevelWarn
	case EventUnavailable:
		if errors.Is(e.Err, context.Canceled) {
			return slog.LevelDebug // the client has disconnected
		}
		return slog.LevelError
	}
	return slog.LevelInfo
}

// Log writes the event as one record, as happens by default. The groups and names are
// OpenTelemetry's semantic conventions where there is one (session.id, user.id,
// client.address, http.request.method, url.path, user_agent.original, exception.message).
// The rest is in a group sessionguard.
func (e Event) Log(ctx context.Context, log *slog.Logger) {
	level := e.level()
	if !log.Enabled(ctx, level) {
		return
	}
	message, known := eventMessages[e.Name]
	if !known {
		message = string(e.Name)
	}
	if e.Name == EventSeveralCookies {
		message += e.Code
	} else if e.Code == refusals[crossOrigin].code {
		message += ": a request from another site; if the site is yours, a subdomain of it, or behind a proxy that changes Host, see Config.CrossOrigin"
	}
	var exception string
	if e.Err != nil {
		exception = e.Err.Error()
	}
	var f logattrs.Fields
	log.LogAttrs(ctx, level, message,
		f.Text("name", string(e.Name)).Group("event"),
		f.Text("id", e.UserID).Group("user"),
		f.Text("id", e.SessionHash).Group("session"),
		f.Text("reason", string(e.Reason)).Text("actor", e.Actor).Text("code", e.Code).
			Text("factors", strings.Join(e.Factors, " ")).Count("count", e.Count).Group("sessionguard"),
		f.Text("message", exception).Group("exception"),
		f.Text("address", e.Address).Group("client"),
		f.Text("method", e.Method).Nest("request").Group("http"),
		f.Text("path", e.Path).Group("url"),
		f.Text("original", e.UserAgent).Group("user_agent"))
}

// emit reports e to Config.OnEvent or the log, completed with rec's session, and with the
// request that ctx derives from, if there is one.
func (c *core) emit(ctx context.Context, e Event, rec store.Record) {
	if c.onEvent == nil && !c.log.Enabled(ctx, e.level()) {
		return
	}
	defer func() {
		if p := recover(); p != nil { // what caused the event must be completed
			c.log.Error("sessionguard: OnEvent, ClientAddr or the log panicked", "event", e.Name, "panic", p)
		}
	}()
	if rec.Session != nil {
		e.UserID = c.userID(rec)
		e.Actor = cmp.Or(e.Actor, c.actorID(rec))
		sum := sha256.Sum256([]byte(rec.ID))
		e.SessionHash = hex.EncodeToString(sum[:8])
	}
	if req := c.requestFrom(ctx); req != nil {
		r := req.caller
		e.Method, e.Path, e.Address, e.UserAgent = truncate(r.Method), truncate(r.URL.Path), c.addressOf(r), truncate(r.UserAgent())
	}
	if c.onEvent != nil {
		c.onEvent(ctx, e)
	} else {
		e.Log(ctx, c.log)
	}
}

// emitEnd reports the end of a session.
func (c *core) emitEnd(ctx context.Context, ended store.Record, reason store.Reason, actor string) {
	e := Event{Name: EventEnded, Reason: reason, Actor: actor}
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

type endedSession struct {
	store.Record
	reason store.Reason
}

func countLive(ended []endedSession) (n int) {
	now := store.TimeOf(time.Now())
	for _, s := range ended {
		if s.GoneAt() > now {
			n++
		}
	}
	return n
}

// endByID ends sessions and their streams, and returns those that it has ended.
func (c *core) endByID(ctx context.Context, ends []store.End) (ended []endedSession, err error) {
	if len(ends) == 0 {
		return nil, nil
	}
	records, err := c.backend.DeleteByID(ctx, ends)
	for i, rec := range records {
		if rec.Session != nil {
			c.streams.End(rec.ID, ends[i].Reason)
			ended = append(ended, endedSession{rec, ends[i].Reason})
		}
	}
	return ended, err
}

// emitEnded reports the ends of sessions, also if the client has disconnected meanwhile.
func (c *core) emitEnded(ctx context.Context, ended []endedSession, actor string) {
	ctx = context.WithoutCancel(ctx)
	for _, s := range ended {
		c.emitEnd(ctx, s.Record, s.reason, actor)
	}
}

// endingActor returns the ID of the user in whose request ctx is, if any, and the reason
// for which a session of userID ends there.
func (c *core) endingActor(ctx context.Context, userID string) (reasonFor func(sessionID string) store.Reason, actor string, err error) {
	current := ""
	if req := c.requestIn(ctx); req != nil {
		l, err := req.tryLock()
		if err != nil {
			return nil, "", err
		}
		defer l.unlock()
		actor, current = l.known()
	}
	return func(sessionID string) store.Reason {
		switch {
		case actor != userID:
			return store.ReasonEnded
		case sessionID == current:
			return store.ReasonLoggedOut
		}
		return store.ReasonLoggedOutElsewhere
	}, actor, nil
}

// known returns the IDs of whose request it is and of the session, if they have been
// resolved. It is the actor's if somebody acts for the user.
func (l *locked) known() (userID, sessionID string) {
	if l.user == nil {
		return "", ""
	}
	return cmp.Or(l.core.actorID(l.rec), l.user.UserID()), l.rec.ID
}

// emitLoginRefused reports a login that was refused.
func (c *core) emitLoginRefused(ctx context.Context, user User, actor string, reason store.Reason) {
	c.emit(ctx, Event{Name: EventRefused, UserID: user.UserID(), Actor: actor, Code: string(reason)}, store.Record{})
}

// emitThrottled reports an event that any client can cause, at most once a second.
func (c *core) emitThrottled(ctx context.Context, e Event, t *throttle) {
	c.emitThrottledAt(ctx, store.TimeOf(time.Now()), e, t)
}

func (c *core) emitThrottledAt(ctx context.Context, now store.Time, e Event, t *throttle) {
	if e.Count = t.allow(now); e.Count > 0 {
		c.emit(ctx, e, store.Record{})
	}
}

// unverifiedCookie returns no session, and emits the event.
func (c *core) unverifiedCookie(ctx context.Context, now store.Time) resolution {
	if c.logged.unverified.CompareAndSwap(false, true) {
		c.log.Warn("sessionguard: a browser sent a cookie that Config.Keys did not sign: somebody forged it, or the keys have changed, or another program on this host has the same Config.CookieName",
			"cookie", c.cookies.Session.Name)
	}
	c.emitThrottledAt(ctx, now, Event{Name: EventUnverifiedCookie}, &c.unverifiedCookies)
	return resolution{}
}

// severalCookies returns no session, and emits the event.
func (c *core) severalCookies(ctx context.Context) resolution {
	if c.logged.several.CompareAndSwap(false, true) {
		c.log.Warn("sessionguard: a browser sent two cookies named " + c.cookies.Session.Name + ", and nothing shows which one is this application's: another program of the domain has the same Config.CookieName, or somebody planted one. Neither counts, and a login ends the sessions of both")
	}
	c.emitThrottled(ctx, Event{Name: EventSeveralCookies, Code: c.cookies.Session.Name}, &c.severalLive)
	return resolution{}
}

// emitUnavailable reports a failure. One that a client causes by disconnecting is throttled.
func (c *core) emitUnavailable(ctx context.Context, err error, rec store.Record) {
	e := Event{Name: EventUnavailable, Err: err}
	if errors.Is(err, context.Canceled) {
		c.emitThrottled(ctx, e, &c.disconnected)
	} else {
		c.emit(ctx, e, rec)
	}
}

// logError logs an error that any client may be able to cause, because the application makes
// a mistake: at most once a second for each message.
func (c *core) logError(message string, args ...any) {
	t, _ := c.errors.LoadOrStore(message, new(throttle))
	if n := t.(*throttle).allow(store.TimeOf(time.Now())); n > 0 {
		c.log.Error("sessionguard: "+message, append(args, "count", n)...)
	}
}

// warnOfHTTP logs, once, that a browser logs in over http and will drop the cookie. Browsers
// take Secure cookies from localhost also over http.
func (c *core) warnOfHTTP(r *http.Request) {
	host, isHTTP := strings.CutPrefix(r.Header.Get("Origin"), "http://")
	if !isHTTP || !c.cookies.Session.Secure || fetch.IsLocalhost(host) || !c.logged.overHTTP.CompareAndSwap(false, true) {
		return
	}
	c.log.Warn("sessionguard: a login arrived over http, where browsers drop Secure cookies: serve the site over https, or set Config.InsecureHTTP for development", "host", truncate(host))
}

// logBypass logs that the response to r goes around the guard's ResponseWriter.
func (c *core) logBypass(r *http.Request) {
	c.logError("a response goes around the guard, which can neither set its cookies nor forbid caching: an adapter for a framework has to pass on the ResponseWriter that it gets, as docs/routers.md shows",
		"path", truncate(r.URL.Path), "method", truncate(r.Method))
}

func truncate(s string) string { return s[:min(256, len(s))] }

// A throttle allows one event a second and counts the others.
type throttle struct {
	mu   sync.Mutex
	next store.Time
	held int
}

// allow returns how many events there were since the last that was allowed, this one
// included, or 0 if this one is not allowed.
func (t *throttle) allow(now store.Time) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held++
	if now < t.next && t.next.Sub(now) <= time.Second { // otherwise the clock was set back
		return 0
	}
	n, t.held = t.held, 0
	t.next = now.Add(time.Second)
	return n
}

// clientOf returns what a session records of the client that logged in: its name and address.
func (c *core) clientOf(r *http.Request) (client, address string) {
	address = c.addressOf(r)
	return useragent.Summary(r.UserAgent()), address
}

// addressOf returns the client's address. It goes to databases and logs, so what cannot be
// an address is ignored.
func (c *core) addressOf(r *http.Request) string {
	address := c.clientAddr(r)
	if len(address) > 100 || !utf8.ValidString(address) || strings.ContainsFunc(address, unicode.IsControl) {
		return ""
	}
	return address
}

// ClientAddrFrom returns a [Config.ClientAddr] that reads the header in which a proxy
// names the client: X-Forwarded-For, or one with a single address, such as X-Real-IP or
// CF-Connecting-IP. It must be a header that your proxy sets or adds to on every request.
//
// The header is believed only on connections from trusted, the networks of your proxies,
// and over a Unix domain socket. Any other request has its connection's address. So has a
// request whose header is missing, or ends in something that is not an address. Of
// several addresses, in one line or in several, the client's is the right-most that is
// not in trusted: those to the left of it are what the client claims. Ports and zones are
// dropped.
//
// Trust only proxies. Anyone who connects from one of these networks, past the proxy, can
// claim any address. So can anyone who reaches a proxy that only passes the header on,
// past the one that sets it. Forwarded (RFC 7239) is not read. ClientAddrFrom panics if
// header is not the name of a header, or if a prefix is not valid.
func ClientAddrFrom(header string, trusted ...netip.Prefix) func(*http.Request) string {
	client, err := clientaddr.From(header, trusted)
	if err != nil {
		panic("sessionguard: ClientAddrFrom: " + err.Error())
	}
	return client
}
