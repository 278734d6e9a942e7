package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/dbsc"
	"github.com/sessionguard-go/sessionguard/internal/fetch"
	"github.com/sessionguard-go/sessionguard/internal/localpath"
	"github.com/sessionguard-go/sessionguard/internal/stream"
	"github.com/sessionguard-go/sessionguard/store"
)

const (
	// minProofAge bounds what RequireBound asks for. It leaves room for a challenge that has
	// just not expired and a clock that is ahead: Chromium (156) refreshes a request once, and one
	// that is redirected again would come without a proof.
	minProofAge = challengeLifetime + maxClockSkew
	// bindingTime is how long after a login a browser may still be making and proving its key.
	bindingTime = 15 * time.Second
	// maxClockSkew is how far the clock of another node may be ahead.
	maxClockSkew = time.Minute
	// maxGrace bounds devicePolicy.grace.
	maxGrace = 30 * time.Second
)

// errProofFailed is returned where the browser says that it could not prove its device, and
// will try again.
var errProofFailed = errors.New("the browser could not prove the device that the session is bound to")

// A devicePolicy is what Config.DeviceProof stands for: how long what a browser gets for a
// proof of its device counts.
type devicePolicy struct {
	codec *dbsc.Codec
	lasts time.Duration // a proof, as the browser is told
	slack time.Duration // how much longer the guard takes it: for requests under way, and clocks that differ
	first time.Duration // what a registration brings, so short that a proof follows with the next request
	grace time.Duration // after the first proof, for requests that began before it
	fresh time.Duration // how old a challenge may be when its signature arrives
}

func newDevicePolicy(lasts time.Duration, codec *dbsc.Codec) *devicePolicy {
	return &devicePolicy{
		codec: codec,
		lasts: lasts,
		slack: min(time.Minute, lasts/10),
		first: min(time.Minute, lasts),
		grace: min(maxGrace, lasts),
		fresh: min(challengeLifetime, lasts/2),
	}
}

// boundDevice returns the device that rec is bound to, or nil. One that has not been proven yet
// binds nothing, so that a browser, a proxy or a policy that stops half way locks nobody out.
func (c *core) boundDevice(rec store.Record) *store.Device {
	if c.devices == nil || rec.Session == nil || rec.Details == nil || rec.Details.Device == nil || rec.Details.Device.Proven == 0 {
		return nil
	}
	return rec.Details.Device
}

// proofTime returns when the device of rec was proven last, if the cookies say so and it still
// counts.
func (c *core) proofTime(cookies *string, rec store.Record, now store.Time) (last store.Time, ok bool) {
	values, n := c.cookies.BoundValues(cookies, rec.ID)
	for _, value := range values[:n] {
		at, ours := c.devices.codec.TokenTime(dbsc.Cookie, value, rec.ID, rec.Details.Device.Registered)
		if ours && now < at.Add(c.devices.lasts+c.devices.slack) && at.Sub(now) < maxClockSkew && (!ok || at > last) {
			last, ok = at, true
		}
	}
	return last, ok
}

// provenUntil returns until when a request with these cookies may use rec as far as its device
// goes: 0 if it may not.
func (c *core) provenUntil(cookies *string, rec store.Record, now store.Time) store.Time {
	device := c.boundDevice(rec)
	if device == nil {
		return rec.Expires
	}
	var until store.Time
	if at, ok := c.proofTime(cookies, rec, now); ok {
		until = at.Add(c.devices.lasts + c.devices.slack)
	}
	// If the session was used later, on any node, then this one's clock is behind.
	if recent(device.Proven, now, c.devices.grace) && rec.LastSeen < device.Proven.Add(c.devices.grace+maxClockSkew) {
		until = max(until, device.Proven.Add(c.devices.grace))
	}
	return until
}

// endsGrace reports whether a use of r at now is the first by which provenUntil sees, on nodes whose
// clocks are behind, that the grace of the first proof is over.
func endsGrace(r store.Record, now store.Time) bool {
	if r.Details == nil || r.Details.Device == nil || r.Details.Device.Proven == 0 {
		return false
	}
	over := r.Details.Device.Proven.Add(maxGrace + maxClockSkew)
	return r.LastSeen < over && over <= now
}

// withDevice returns the session whose device counts for requests of rec: where somebody acts
// for the user it is the actor's own, which the browser proves all the while.
func (c *core) withDevice(ctx context.Context, rec store.Record) (store.Record, error) {
	if c.devices == nil || !isActing(rec) {
		return rec, nil
	}
	own, err := c.backend.LoadByID(ctx, rec.Details.Actor.Owner, rec.Details.Actor.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && !c.owns(own) {
		return rec, nil // checkActor ends the session
	}
	return own, err
}

// checkDevice reports whether q may use rec as far as its device goes. If not, the resolution
// says what becomes of the request. The session goes on: its user notices nothing.
func (c *core) checkDevice(ctx context.Context, q query, rec store.Record) (res resolution, ok bool) {
	if rec.Details == nil || rec.Details.Device == nil && rec.Details.Actor == nil {
		return res, true
	}
	own, err := c.withDevice(ctx, rec)
	switch {
	case err != nil:
		return resolution{kind: unknown, err: err}, false
	case c.provenUntil(q.cookies, own, q.arrived) != 0:
		return res, true
	case c.proofFailed(q.request, own):
		c.emitUnproven(ctx, "proof_failed", rec)
		return resolution{kind: unproven, rec: rec, err: errProofFailed}, false
	}
	c.emitUnproven(ctx, "no_proof", rec)
	return resolution{kind: unproven, rec: rec}, false
}

// proofFailed reports whether the browser says that it has tried to prove the device of rec and
// will try again. Pages on which people log in do not wait for that. Whoever has the session's
// identifier can send the header, and gets a 503 for it.
func (c *core) proofFailed(r *http.Request, rec store.Record) bool {
	if !c.devices.codec.WillRetry(r.Header, rec.Owner, rec.ID) {
		return false
	}
	switch localpath.Requested(r, c.basePath).Path {
	case c.login.Path, c.reauth.Path, c.factor.Path:
		return false
	}
	return true
}

// takeUnproven makes a request without a proof of its session's device a visitor's, or one that
// fails if the browser will try again.
func (l *locked) takeUnproven(res *resolution) error {
	e := l.needEffects()
	e.endReason, e.dormantOwner = store.ReasonDeviceUnproven, res.rec.Owner
	if res.err == nil {
		e.uselessProof = l.core.uselessProof(l.cookies, res.rec)
		return nil
	}
	e.failure = fmt.Errorf("%w: %w", ErrUnavailable, res.err)
	return e.failure
}

// uselessProof returns the ID of the session whose bound cookie came with one value, which
// does not count for rec, or "". While the browser takes that cookie for good, it proves nothing:
// its clock was set back, Config.DeviceProof is shorter than it was, the key that made the cookie
// was taken out, or nodes have different clocks.
func (c *core) uselessProof(cookies *string, rec store.Record) string {
	id := rec.ID
	if isActing(rec) {
		id = rec.Details.Actor.ID
	}
	if _, n := c.cookies.BoundValues(cookies, id); n == 0 {
		return ""
	}
	return id
}

// mayProve reports whether a request that is refused had a bound cookie that does not count,
// which the response deletes: the same request then comes with a proof, from the device.
func (req *request) mayProve(r *http.Request) bool {
	l := req.lock()
	useless := l.effects != nil && l.effects.uselessProof != ""
	l.unlock()
	return useless && req.core.mayProveAgain(r)
}

// expireProofs deletes the bound cookies of the session with that ID that a request came with, but
// one, so that the browser proves its device before its next request. A newer one has another name,
// and stays: the requests of a page may be refused at the same time, and its browser proves its
// device once for all.
func (c *core) expireProofs(w http.ResponseWriter, sent *string, id, except string) {
	expired := c.cookies.Session
	expired.MaxAge = -1
	for _, expired.Name = range c.cookies.BoundNames(sent) {
		if cookie.IsBoundTo(expired.Name, id) && expired.Name != except {
			http.SetCookie(w, &expired)
		}
	}
}

// logInUnproven lets a login go on although the browser could not prove the device of the
// session that it replaces: if that fails for good, as at a proxy, people must get in.
func (l *locked) logInUnproven(err error) error {
	if errors.Is(err, errProofFailed) {
		l.effects.failure, err = nil, nil
	}
	return err
}

// emitUnproven reports that a session was used, or tried to be proven, without its device.
func (c *core) emitUnproven(ctx context.Context, code string, rec store.Record) {
	if n := c.unprovenDevices.allow(store.TimeOf(time.Now())); n > 0 {
		c.emit(ctx, Event{Name: EventDeviceUnproven, Code: code, Count: n}, rec)
	}
}

// RequireBound lets in users whose session is bound to the device that they logged in on, and
// who prove that in this request: see Config.DeviceProof. A stolen cookie, or one of a browser
// that has no such keys, does not pass:
//
//	mux.Handle("/payments/", guard.RequireBound(0)(payments))
//
// With a maxAge, the device must have been proven less than maxAge ago. That is a step-up
// without a password: anyone who has copied all cookies cannot do it. The response to an
// older proof is a redirect (307) to the same address, which deletes the bound cookie. The
// browser proves its device before it follows, and keeps method and body (measured with
// Chromium 156). maxAge is 0, for as long as proofs count, or at least 2 minutes.
// RequireBound panics with any other.
//
// Use a maxAge for pages that are needed now and then. Chromium signs six times in nine
// minutes, for all applications of a site. If it cannot sign, the old proof is gone all the
// same, and the user is refused everywhere until it can, or until the next login.
//
// Others get 403 "device_required" (Refusals.Unbound), and no login page: a browser that
// cannot bind sessions would go round in circles. In the 15 seconds after a login, the browser
// may still be making its key. The page that says so then loads itself again, at most five
// times. If somebody acts for the user ([Guard.ActAs]), their own session counts.
//
// Without Config.DeviceProof it lets nobody in.
func (g *core) RequireBound(maxAge time.Duration) func(http.Handler) http.Handler {
	if maxAge != 0 && maxAge < minProofAge {
		panic("sessionguard: RequireBound: a maxAge of " + maxAge.String() + " is less than " + minProofAge.String())
	}
	return func(next http.Handler) http.Handler {
		return g.gate(g.provenWithin(maxAge, next), g.challenge, func(id identity, r *http.Request) (verdict, string) {
			switch _, at, err := g.provenAt(id, r); {
			case err != nil:
				g.emitUnavailable(r.Context(), err, id.rec)
				return unavailable, ""
			case at == 0, maxAge != 0 && id.arrived.Sub(at) >= maxAge && !g.mayProveAgain(r):
				return deviceRequired, ""
			}
			return allow, ""
		})
	}
}

// CancelUnproven is [Guard.CancelOnEnd], and ends the response to a bound session also when the
// proof that its request came with has run out: the cause is then a [*SessionEndedError] with
// [store.ReasonDeviceUnproven]. So does one that began before the session was bound, within 5
// minutes after that. It is for server-sent events: an EventSource connects again by
// itself, for which the browser proves its device. Behind CancelOnEnd alone, somebody who has
// copied all cookies and opened a stream before the proof had run out reads it until the session
// ends. A WebSocket needs a page that connects again.
//
//	mux.Handle("GET /events", guard.Passive(guard.RequireLogin(guard.CancelUnproven(events))))
func (g *core) CancelUnproven(next http.Handler) http.Handler { return g.cancelOnEnd(next, true) }

// provenUntil implements [stream.Proven].
func (req *request) provenUntil(ctx context.Context, rec store.Record) (store.Time, error) {
	own, err := req.core.withDevice(ctx, rec)
	if err != nil || req.core.boundDevice(own) == nil {
		return stream.Forever, err
	}
	return req.core.provenUntil(req.cookies, own, store.TimeOf(time.Now())), nil
}

// provenAt returns the session whose device counts for the request, and when that was proven;
// 0: that is not so.
func (c *core) provenAt(id identity, r *http.Request) (own store.Record, at store.Time, err error) {
	if id.err != nil {
		return own, 0, id.err
	}
	own, err = c.withDevice(r.Context(), id.rec)
	if err != nil || c.boundDevice(own) == nil {
		return own, 0, err
	}
	at, ok := c.proofTime(c.requestOf(r).cookies, own, id.arrived)
	if !ok {
		at = 0
	}
	return own, at, nil
}

// provenWithin returns next behind a redirect for which the browser proves its device anew.
func (c *core) provenWithin(maxAge time.Duration, next http.Handler) http.Handler {
	if maxAge == 0 {
		return next
	}
	return c.wrap(func(req *request, w http.ResponseWriter, r *http.Request) {
		id := c.identityOf(r)
		own, at, err := c.provenAt(id, r)
		switch {
		case err != nil: // since the gate has decided
			c.refuse(req, w, r, unavailable)
		case at == 0:
			c.refuse(req, w, r, deviceRequired)
		case id.arrived.Sub(at) < maxAge:
			next.ServeHTTP(w, r)
		default:
			c.expireProofs(w, req.cookies, own.ID, "")
			c.redirectBack(w, r)
		}
	})
}

// redirectBack makes the client send r again, with its method and body.
func (c *core) redirectBack(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, localpath.Requested(r, c.basePath).Target, http.StatusTemporaryRedirect)
}

// mayProveAgain reports whether the client of r follows a redirect to the same address.
func (c *core) mayProveAgain(r *http.Request) bool {
	return !fetch.Upgrades(r) && c.requestOf(r).authResponse() == nil && localpath.Requested(r, c.basePath).Target != ""
}

// refreshAfter returns in how many seconds a page asks whether its session is bound: when the
// login is twice as old, so that a browser that never binds it reloads the page five times.
func refreshAfter(rec store.Record) string {
	return strconv.Itoa(max(1, int(store.TimeOf(time.Now()).Sub(rec.Authenticated)/time.Second)))
}

// mayBecomeBound reports whether the browser may be about to prove its device.
func (c *core) mayBecomeBound(rec store.Record) bool {
	now := store.TimeOf(time.Now())
	return c.devices != nil && rec.Session != nil && now.Sub(rec.Authenticated) < bindingTime
}
