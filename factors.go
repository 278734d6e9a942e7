package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/factor"
	"github.com/sessionguard-go/sessionguard/internal/owner"
	"github.com/sessionguard-go/sessionguard/internal/stamp"
	"github.com/sessionguard-go/sessionguard/store"
)

// Factors records how the user has proven who they are, by the names of RFC 8176: "pwd"
// for a password, "otp" for a one-time password, "hwk" for a key in hardware, "swk" for a
// key in software, and so on. You may choose names of your own, of 1 to 32 letters,
// digits, '.', '_' and '-'. A login has at most 8. Login returns an error for others.
// Names are compared as they are spelled: a login with "totp" does not satisfy a gate for
// "otp".
//
//	err := guard.Login(w, r, user, sessionguard.Factors("pwd"))
//
// A later login of the same user in the same session adds its factors to those of the
// session, which keeps the newest 8. After a revival ([Remember]) the session has none,
// because a revival has proven nothing.
//
// # Pending logins
//
// If the session lacks a factor that Config.Factors requires of this user, the login is
// pending: the browser has a cookie, but nobody is logged in. No gate lets it in,
// [Guard.User] returns false, and values are a visitor's. Only [Guard.Pending] returns
// the user. Another call of Login with what is missing, for the same user, completes the
// login. That makes a new session, with a new token, the guard's own timeouts, and the
// visitor's values:
//
//	err := guard.Login(w, r, user, sessionguard.Factors("otp"))
//
// Pass all other options to the call that completes the login, because those of a pending
// one are dropped. A [Label] or [Remember] from the form with the password can wait in a
// visitor's value. If several such calls for one pending login arrive at once, one
// completes it, and the others return [ErrNoSession].
//
// A pending login ends after Config.FactorTimeout, whatever happens meanwhile. A factor
// that was proven longer ago than that does not count any more, also if another was
// proven since. A pending login is never remembered, is not one of [Guard.Sessions], and
// does not count for Config.MaxSessions. What ends a session ends it too.
//
// # What it does not protect against
//
// The guard believes the application. Your code has to verify that a code is right,
// accept it once only, and limit how often somebody may try. Limit also how often
// somebody who knows a password logs in with it: each pending login is a record of a few
// hundred bytes in the backend until it ends. Nor does the guard know what a factor is
// worth. NIST SP 800-63B-4 (section 2.2) requires two different ones for AAL2, one of
// which resists replay.
func Factors(names ...string) LoginOption {
	return func(o *loginOptions) { o.factors = slices.Clone(names) }
}

// Pending returns the user of a pending login, and the factors that it lacks: see
// [Factors]. It is for the page at Config.FactorPath:
//
//	user, missing, ok := guard.Pending(r)
//
// If it returns false, that page calls [Guard.User], because [Guard.RequireFactor] sends
// users there who are logged in. [Guard.Logout] cancels a pending login. The password may
// be among what is missing, if the user needs one and has logged in another way.
//
// This user is not logged in. Somebody has proven some of the user's factors, and has
// perhaps stolen them. So the page should show no more about the user than what it takes
// to prove the others. Pending returns false for everybody else, also for a user who is
// logged in, and otherwise where [Guard.User] does.
//
// A session becomes pending too if Config.Factors requires more of its user than it did.
// It stays one of [Guard.Sessions], with its own timeouts.
func (g *Guard[U]) Pending(r *http.Request) (user U, missing []string, ok bool) {
	l, err := g.lockRequest(r)
	if err != nil {
		return user, nil, false
	}
	defer l.unlock()
	if l.resolve(r.Context()) != nil || l.pendingUser() == nil {
		return user, nil, false
	}
	user, ok = l.pendingUser().(U)
	return user, slices.Clone(l.effects.pending.missing), ok
}

// RequireFactor lets in users whose session has the factor, whenever it was proven. It is
// for pages that need a stronger factor than others, such as "hwk" (OWASP ASVS 7.5.3). To
// require several, nest gates. For a factor that was proven lately, see
// [Guard.RequireFresh]. A session that was revived ([Remember]) has none.
//
// A browser is sent to Config.FactorPath, with the factor as the query value "factor" and
// the requested page as "next". Its user is logged in there, so that page calls
// [Guard.User]. The example of [Guard.Pending] serves both. The factor in the query is
// what the client says: accept it only if the proof is one of that factor. A program gets
// 401 "factor_required", with a member "factor", and the error
// insufficient_user_authentication in WWW-Authenticate (RFC 9470). An acting session
// ([Guard.ActAs]) has no factor, and is refused as forbidden.
//
// It panics if name is not the name of a factor as [Factors] allows it.
func (g *core) RequireFactor(name string) func(http.Handler) http.Handler {
	mustBeFactors("RequireFactor", name)
	return func(next http.Handler) http.Handler {
		return g.gate(next, g.stepUp, func(id identity, _ *http.Request) (verdict, string) {
			switch {
			case isActing(id.rec):
				return forbidden, ""
			case !factor.Has(provenFactors(id.rec), name):
				return factorRequired, name
			}
			return allow, ""
		})
	}
}

// RequireFresh lets in users who have logged in less than age ago. It is for pages that
// are worth a re-authentication (OWASP ASVS 7.5.1, 7.5.3). A browser is sent to
// Config.ReauthPath. A program's 401 has the age as "max_age" in WWW-Authenticate (RFC
// 9470). An acting session ([Guard.ActAs]) is never fresh, and is refused as forbidden.
//
// Any [Guard.Login] makes a session fresh, whatever it proves. To require the password
// even of a user who has used a key a moment ago, name it: RequireFresh(age, "pwd").
//
// With factors, a login alone is not enough: each of them must have been proven less than
// age ago (see the option [Factors]). The first that was not is the query value "factor"
// of ReauthPath, and a member of the program's response. The page at ReauthPath must ask
// for that one. If it asks for the password all the same, its user goes round in circles.
// RequireFresh panics if a name is not one that Factors allows.
func (g *core) RequireFresh(age time.Duration, factors ...string) func(http.Handler) http.Handler {
	mustBeFactors("RequireFresh", factors...)
	factors = slices.Clone(factors)
	challenge := fmt.Sprintf(`%s, max_age="%d"`, g.stepUp, int64(age/time.Second))
	return func(next http.Handler) http.Handler {
		return g.gate(next, challenge, func(id identity, _ *http.Request) (verdict, string) {
			if isActing(id.rec) {
				return forbidden, ""
			}
			stale := factor.Stale(provenFactors(id.rec), factors, id.now, age)
			if stale != "" || len(factors) == 0 && !fresh(id.rec, id.now, age) {
				return reauthRequired, stale
			}
			return allow, ""
		})
	}
}

func mustBeFactors(gate string, names ...string) {
	if err := factor.Check(names); err != nil {
		panic("sessionguard: " + gate + ": " + err.Error())
	}
}

// provenFactors returns the factors that somebody has proven in a session, and not a cookie.
func provenFactors(rec store.Record) []store.Factor {
	if rec.Details == nil || rec.Revived() {
		return nil
	}
	return rec.Details.Factors
}

// A pendingLogin is a login that lacks a factor. It is never a request's rec, and its user
// never the request's user, so that whatever does not ask for it takes the client for a
// visitor.
type pendingLogin struct {
	rec     store.Record
	user    User // nil: not known yet
	missing []string
}

// isPending reports whether a session of this guard was begun by a login that lacks a factor.
// The user's needs, which may have changed, are not looked at.
func (c *core) isPending(rec store.Record) bool {
	return c.owners.KindOf(rec.Owner) == owner.Uncounted && !isActing(rec)
}

// held returns the session whose cookie the browser has, or is to get: a pending login too.
func (l *locked) held() store.Record {
	if l.rec.Session == nil && l.effects != nil {
		return l.effects.pending.rec
	}
	return l.rec
}

// pendingUser returns the user of a pending login, or nil.
func (l *locked) pendingUser() User {
	if l.effects == nil {
		return nil
	}
	return l.effects.pending.user
}

// setAsidePending makes a request that was resolved to a pending login a visitor's.
func (l *locked) setAsidePending() {
	if l.rec.Session != nil && l.core.isPending(l.rec) {
		l.setPending(l.rec, nil, nil)
	}
}

func (l *locked) setPending(rec store.Record, user User, missing []string) {
	l.rec, l.user, l.direct = store.Record{}, nil, false
	l.needEffects().pending = pendingLogin{rec, user, missing}
	if user != nil && !l.core.isPending(rec) { // it was whole
		l.core.streams.End(rec.ID, store.ReasonCredentialsChanged)
	}
}

// checkFactorsOrActor decides about a session that may lack factors, or in which somebody acts
// who needs none of user's. It returns the factors that it lacks, the reason to end it, or an
// error if that cannot be decided.
func (l *locked) checkFactorsOrActor(ctx context.Context, rec store.Record, user User) (missing []string, reason store.Reason, err error) {
	if isActing(rec) {
		reason, err = l.checkActor(ctx, rec, user)
	} else {
		missing, reason = l.core.checkFactors(user, rec)
	}
	return missing, reason, err
}

// checkFactors returns the factors that user's session lacks, or the reason to end it.
func (c *core) checkFactors(user User, rec store.Record) (missing []string, reason store.Reason) {
	if c.factors != nil {
		missing = factor.Missing(rec.Detail().Factors, c.factors(user))
	}
	// A pending login that lacks nothing any more is no whole one. A session that a cookie has
	// revived cannot be completed, since it has proven nothing. Both begin anew.
	if missing == nil && c.isPending(rec) || missing != nil && rec.Revived() {
		return nil, store.ReasonCredentialsChanged
	}
	return missing, ""
}

// A login is one call of Login.
type login struct {
	loginOptions
	user            User
	needs           []string // the factors
	missing         []string // those of needs that next lacks; nil: it is whole
	adds            bool     // to the factors of a pending login, which it ends
	token           string   // the cookie's value
	next            store.Record
	reauthenticated bool
}

// takePending makes the stored session of a login that lacks a factor the request's, which
// is a visitor's then.
func (l *locked) takePending(n *login) {
	e, had := l.needEffects(), l.rec.Session != nil
	if had {
		l.clearOpen() // it is not to be seen yet
	}
	e.session = cookie.Change{Kind: cookie.Set, Value: n.token}
	e.endReason, e.dormantOwner = "", ""
	raise(&l.stage, resolved)
	l.setPending(n.next, n.user, n.missing)
	if had {
		l.becomeVisitor()
	}
	l.emitLogin(EventLoginPending, n.next)
}

// newLogin gives a login a session of its own, without its limits.
func (l *locked) newLogin(n *login) error {
	if l.core.factors != nil {
		n.needs = slices.Clone(l.core.factors(n.user))
	}
	if err := factor.Check(n.needs); err != nil {
		return fmt.Errorf("sessionguard: Login: Config.Factors: %w", err)
	}
	n.token, n.next = l.newSession(n.user, owner.Counted)
	n.next.Details.Factors, n.next.Details.Label = factor.Add(nil, n.factors, l.now), n.label
	return nil
}

// newSession returns a session for user, without its limits, and its cookie's value.
func (l *locked) newSession(user User, kind owner.Kind) (token string, next store.Record) {
	ownerName := l.core.owners.Of(kind, user.UserID())
	token, key := l.core.newToken(ownerName)
	client, address := l.core.clientOf(l.caller)
	made := new(struct { // one piece of memory
		session store.Session
		details store.Details
	})
	made.session = store.Session{
		Key:           key,
		ID:            newPublicID(),
		Owner:         ownerName,
		Stamp:         stamp.Of(user),
		Authenticated: l.now,
		Created:       l.now,
		Client:        client,
		Address:       address,
		Details:       &made.details,
	}
	return token, store.Record{LastSeen: l.now, Session: &made.session}
}

// renew moves a session to a new token, and changes nothing else of it: whoever has revived
// it before has not logged in since. It does not follow a session that has moved meanwhile.
func (l *locked) renew(ctx context.Context, own store.Record) (token string, next store.Record, err error) {
	token, key := l.core.newToken(own.Owner)
	err = l.core.retryMoved(ctx, own, func(latest store.Record) error {
		if latest.Key != own.Key {
			return store.ErrNotFound
		}
		session, details := *latest.Session, latest.Detail()
		details.SuccessorToken = nil // was for a cookie from before
		session.Key, session.Details = key, &details
		next = store.Record{Session: &session, LastSeen: max(latest.LastSeen, l.now)}
		return l.core.backend.Replace(ctx, latest.Key, latest.Version, next)
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) { // the backend may have moved it all the same
		l.core.endLater(key, store.Record{}, store.ReasonLoginIncomplete, err)
	}
	return token, next, err
}

// addToPending adds the factors of the request's pending login, if it is the same user's. Those
// proven too long ago are left out: proving another one again must not keep them.
func (l *locked) addToPending(n *login) {
	held := l.held()
	if held.Session == nil || !l.core.isPending(held) || l.core.userID(held) != n.user.UserID() || held.Stamp != n.next.Stamp {
		return
	}
	n.adds = true
	recent := factor.Recent(provenFactors(held), l.now, l.core.factorTimeout)
	n.next.Details.Factors = factor.Add(recent, n.factors, l.now)
}

// checkWhole makes n, which begins a new session, a pending login if it lacks a factor.
func (l *locked) checkWhole(n *login) error {
	factors := n.next.Details.Factors
	if n.missing = factor.Missing(factors, n.needs); n.missing == nil {
		return nil
	}
	token, next := l.newSession(n.user, owner.Uncounted)
	next.Details.Factors = factors
	next.IdleTimeout = l.core.factorTimeout
	next.Expires = l.now.Add(l.core.factorTimeout).Add(time.Hour) // it idles out before, which is what its user is told
	n.token, n.next = token, next
	return nil
}

// errCompleted is returned for a login that adds to one that is pending no more: another
// login has completed it, or something has ended it.
var errCompleted = fmt.Errorf("%w: the login that this one completes has ended meanwhile", ErrNoSession)

// endReplaced ends what n takes the place of. If that is a pending login whose factors n has,
// n must be the one to end it.
func (l *locked) endReplaced(ctx context.Context, n *login) error {
	if n.adds {
		ended, err := l.core.end(ctx, l.held().Key, store.ReasonReplaced, "")
		if err != nil {
			return err
		}
		if ended.Session == nil {
			return errCompleted
		}
	}
	return l.endPresented(ctx, store.ReasonReplaced)
}

// emitLogin reports a login that has been stored.
func (l *locked) emitLogin(name EventName, rec store.Record) {
	l.core.emit(l.ctx(), Event{Name: name, Factors: factor.Names(rec.Detail().Factors)}, rec)
}
