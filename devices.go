package sessionguard

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sessionguard-go/sessionguard/internal/useragent"
	"github.com/sessionguard-go/sessionguard/store"
)

// A Session is one of a user's logins, as [Guard.Sessions] lists them.
type Session struct {
	// ID is for [Guard.EndSession]. It is no secret: nobody can log in with it.
	ID      string
	Current bool // it is the session of the request that asks

	Created         time.Time
	Authenticated   time.Time // last real login; the zero time if only a cookie has revived it since
	LastSeen        time.Time // a remote backend is told at most once per 1/30 of the idle timeout
	Expires         time.Time // however active it is
	RememberedUntil time.Time // until when [Remember] revives it after its idle timeout; the zero time if never

	// UserAgent says what logged in, such as "Firefox on Windows", and Address
	// from where (see Config.ClientAddr), at the last login or revival. The client
	// chooses what it says of itself.
	UserAgent, Address string
}

// FreshUntil is when [Guard.RequireFresh](age) begins to ask for the password again.
func (s Session) FreshUntil(age time.Duration) time.Time {
	if s.Authenticated.IsZero() {
		return time.Time{}
	}
	return s.Authenticated.Add(age)
}

// Sessions lists a user's live sessions, the last active first, so that people see
// where they are logged in and end what they do not know (OWASP ASVS 7.5.2 asks for
// [Guard.RequireFresh] before that), and administrators anyone's (7.4.5). With the
// context of a request it knows which one is Current. [ErrUnavailable] (wrapped) says
// that the backend cannot be asked.
func (g *core) Sessions(ctx context.Context, userID string) ([]Session, error) {
	var current store.Record
	if st := g.in(ctx); st != nil {
		l := st.lock()
		if (!l.committed || l.exposure > public) && l.identify(ctx) == nil {
			current = l.rec
			if l.activity < passive {
				current.LastSeen = l.now
			}
		}
		l.unlock()
	}
	records, err := g.backend.ByOwner(ctx, g.ownerPrefix+userID)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	now := store.TimeOf(time.Now())
	var sessions []Session
	for _, rec := range records {
		if rec.GoneAt() <= now {
			continue
		}
		isCurrent := current.Session != nil && rec.ID == current.ID
		if isCurrent {
			rec.LastSeen = max(rec.LastSeen, current.LastSeen)
		}
		details := rec.Detail()
		s := Session{
			ID:        rec.ID,
			Current:   isCurrent,
			Created:   details.Created.Time(),
			LastSeen:  rec.LastSeen.Time(),
			Expires:   rec.Expires.Time(),
			UserAgent: details.UserAgent,
			Address:   details.Address,
		}
		if !rec.Revived() {
			s.Authenticated = rec.Authenticated.Time()
		}
		if details.RememberUntil > now {
			s.RememberedUntil = details.RememberUntil.Time()
		}
		sessions = append(sessions, s)
	}
	slices.SortFunc(sessions, func(a, b Session) int { return b.LastSeen.Compare(a.LastSeen) })
	return sessions, nil
}

// device is what a session notes of the client that logged in.
func (c *core) device(r *http.Request) (userAgent, address string) {
	return useragent.Summary(r.UserAgent()), c.addressOf(r)
}

// addressOf is what the application says, if it can be an address: it is kept in
// databases and logs.
func (c *core) addressOf(r *http.Request) string {
	address := c.address(r)
	if len(address) > 100 || !utf8.ValidString(address) || strings.ContainsFunc(address, unicode.IsControl) {
		return ""
	}
	return address
}

// remoteHost is the address that the connection comes from.
func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
