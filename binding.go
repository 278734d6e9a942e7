package sessionguard

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/dbsc"
	"github.com/sessionguard-go/sessionguard/internal/testhook"
	"github.com/sessionguard-go/sessionguard/store"
)

// How a session becomes bound to a device: the response to a login offers it (offerBinding).
// The browser makes a key and registers it (register), for which it gets a bound cookie of a
// minute. With the next request it proves that it has the private key (prove), and then every
// few minutes. From the first proof on the session is bound.
//
// What the browser signs, and what it gets for that, are made with the guard's keys. So nothing
// is stored but the public key, and when it was first proven.

const (
	// offerLifetime is how long a login's offer is good. A TPM may take seconds to make a key.
	offerLifetime = 5 * time.Minute
	// challengeLifetime is how old a challenge may be when its signature arrives. Chromium (156)
	// sends the signature of the last one again first.
	challengeLifetime = time.Minute
)

// writeBinding adds the offer of a login to the response, or deletes what a logout does, and a
// proof that does not count.
func (l *locked) writeBinding(w http.ResponseWriter) {
	switch {
	case l.effects.session.Kind == cookie.Delete:
		l.core.deleteBoundCookies(w, l.cookies)
	case l.effects.loggedIn:
		l.offerBinding(w.Header())
	case l.effects.uselessProof != "" && l.effects.endReason == store.ReasonDeviceUnproven:
		l.core.expireProofs(w, l.cookies, l.effects.uselessProof, "")
	}
}

// offerBinding offers to bind the session of a login. Nothing else does: whoever merely has the
// cookie cannot bind the session to a device of their own.
func (l *locked) offerBinding(h http.Header) {
	c, rec := l.core, l.rec
	if c.devices == nil || l.effects.session.Kind != cookie.Set || rec.Session == nil || c.boundDevice(rec) != nil {
		return
	}
	if !c.scriptServed.Load() {
		if c.logged.unboundScript.CompareAndSwap(false, true) {
			c.log.Error("sessionguard: Config.DeviceProof without Script: serve guard.Script() at Config.ScriptPath", "path", c.scriptPath)
		}
		return
	}
	offer := c.devices.codec.SealOffer(dbsc.Offer{Owner: rec.Owner, ID: rec.ID, Authenticated: rec.Authenticated, Made: l.now})
	if offer != "" { // a user's ID may be longer than a header
		h.Add(dbsc.HeaderRegistration, dbsc.Registration(c.scriptPath+"bind", offer))
	}
}

// deleteBoundCookies deletes the bound cookies that the browser has sent.
func (c *core) deleteBoundCookies(w http.ResponseWriter, sent *string) {
	deleted := c.cookies.Session
	deleted.MaxAge = -1
	for _, deleted.Name = range c.cookies.BoundNames(sent) {
		http.SetCookie(w, &deleted)
	}
}

// recent reports whether at is less than age ago. The clock of another node may be ahead.
func recent(at, now store.Time, age time.Duration) bool {
	return now.Sub(at) < age && at.Sub(now) < maxClockSkew
}

// deviceHandler returns a handler for what browsers send in the background. It resolves no
// session by itself, and is no activity.
func (c *core) deviceHandler(serve func(ctx context.Context, req *request, w http.ResponseWriter)) http.Handler {
	return c.wrap(func(req *request, w http.ResponseWriter, r *http.Request) {
		if !req.accepts(w, http.MethodPost) {
			return
		}
		l := req.lock()
		l.neverCache()
		l.unlock()
		ctx, cancel := detached(req)
		defer cancel()
		serve(ctx, req, w)
	})
}

// bind is where a browser registers the key that it has made for a login's offer.
func (c *core) bind() http.Handler {
	return c.deviceHandler(func(ctx context.Context, req *request, w http.ResponseWriter) {
		if c.devices == nil { // it has been turned off
			forgetDevice(w)
			return
		}
		proof, err := dbsc.ParseProof(req.caller.Header.Get(dbsc.HeaderResponse))
		if err != nil || proof.PublicKey == nil {
			http.Error(w, "This is no registration of a device.", http.StatusBadRequest)
			return
		}
		now := store.TimeOf(time.Now())
		// What was not sealed here costs no more than this.
		offer, ok := c.devices.codec.OpenOffer(proof.Challenge)
		if !ok || !c.owners.Has(offer.Owner) || !recent(offer.Made, now, offerLifetime) || !proof.Verify(proof.PublicKey) {
			refuseDevice(w)
			return
		}
		rec, err := c.changeDetails(ctx, offer.Owner, offer.ID, func(rec store.Record, details *store.Details) (bool, error) {
			phase, _ := phaseAt(rec, now)
			old := details.Device
			if phase != alive || rec.Authenticated != offer.Authenticated ||
				old != nil && (old.Proven != 0 || old.Registered >= rec.Authenticated) {
				return false, store.ErrNotFound // or the offer has been taken
			}
			details.Device = &store.Device{PublicKey: proof.PublicKey, Registered: max(now, rec.Authenticated)}
			return true, nil
		})
		switch {
		case errors.Is(err, store.ErrNotFound):
			refuseDevice(w)
		case err != nil:
			c.deviceUnavailable(ctx, w, err)
		default:
			c.sendBoundCookie(req, w, rec, c.devices.codec.SealIdentifier(rec.Owner, rec.ID), offer.Made, c.devices.first)
		}
	})
}

// prove is where a browser proves that it has the private key. While Config.DeviceProof is 0, it
// forgets the key then. The session is bound no more: its user is not logged out when DeviceProof
// is set again, and not by the nodes on which it is set already.
func (c *core) prove() http.Handler {
	return c.deviceHandler(func(ctx context.Context, req *request, w http.ResponseWriter) {
		identifier := dbsc.Identifier(req.caller.Header)
		owner, id, ok := c.proofs.codec.OpenIdentifier(identifier)
		if !ok || !c.owners.Has(owner) {
			forgetDevice(w)
			return
		}
		now := store.TimeOf(time.Now())
		rec, err := c.provableSession(ctx, req, owner, id, now)
		switch {
		case errors.Is(err, store.ErrNotFound):
			forgetDevice(w)
			return
		case err != nil:
			c.deviceUnavailable(ctx, w, err)
			return
		}
		device, text := rec.Details.Device, req.caller.Header.Get(dbsc.HeaderResponse)
		proof, err := dbsc.ParseProof(text)
		var made store.Time
		if err == nil {
			made, ok = c.proofs.codec.TokenTime(dbsc.Challenge, proof.Challenge, rec.ID, device.Registered)
		}
		switch {
		case text == "", err == nil && !(ok && recent(made, now, c.proofs.fresh)):
			challenge := c.proofs.codec.Token(dbsc.Challenge, now, rec.ID, device.Registered)
			w.Header().Set(dbsc.HeaderChallenge, dbsc.ChallengeFor(identifier, challenge))
			w.WriteHeader(http.StatusForbidden)
			return
		case err != nil || !proof.Verify(device.PublicKey):
			c.emitUnproven(req, "wrong_key", rec)
			http.Error(w, "This is no proof of the device.", http.StatusBadRequest)
			return
		}
		switch rec, err = c.takeProof(ctx, rec, now); {
		case errors.Is(err, store.ErrNotFound), err == nil && rec.Detail().Device == nil:
			forgetDevice(w)
		case err != nil:
			c.deviceUnavailable(ctx, w, err)
		default:
			c.sendBoundCookie(req, w, rec, identifier, made, c.devices.lasts-max(0, now.Sub(made)))
		}
	})
}

// takeProof records that the device of a session was proven, if that is the first time, and
// returns the session as it is then: without a device if Config.DeviceProof is 0.
func (c *core) takeProof(ctx context.Context, rec store.Record, now store.Time) (store.Record, error) {
	device := rec.Details.Device
	if device.Proven != 0 && c.devices != nil {
		return rec, nil
	}
	first := false
	rec, err := c.changeDetails(ctx, rec.Owner, rec.ID, func(_ store.Record, details *store.Details) (bool, error) {
		if latest := details.Device; latest == nil || latest.Registered != device.Registered {
			return false, store.ErrNotFound
		}
		if c.devices == nil {
			details.Device = nil
			return true, nil
		}
		proven := *details.Device
		if first = proven.Proven == 0; first {
			proven.Proven, details.Device = now, &proven
		}
		return first, nil
	})
	if err == nil && first {
		c.emit(ctx, Event{Name: EventDeviceBound}, rec)
	}
	return rec, err
}

// provableSession returns a session whose device may be proven. It returns [store.ErrNotFound]
// if there is none, and if the browser has another session meanwhile.
func (c *core) provableSession(ctx context.Context, req *request, owner, id string, now store.Time) (store.Record, error) {
	rec, err := c.backend.LoadByID(ctx, owner, id)
	switch {
	case err != nil:
		return rec, err
	case !c.owns(rec):
		return rec, errForeign
	}
	phase, _ := phaseAt(rec, now)
	if phase == over || rec.Detail().Device == nil || c.hasMovedOn(ctx, req, rec) {
		return rec, store.ErrNotFound
	}
	return rec, nil
}

// hasMovedOn reports whether the browser has the cookie of another session. Where another site
// has caused the request, it sends none.
func (c *core) hasMovedOn(ctx context.Context, req *request, rec store.Record) bool {
	value, n := cookie.Unique(req.cookies, c.cookies.Session.Name)
	if n != 1 || !c.shouldLoad(value) || c.cookies.Key(value) == rec.Key {
		return false
	}
	other, err := c.loadMoved(ctx, c.cookies.Key(value))
	if err != nil || !c.owns(other) || other.ID == rec.ID {
		return false
	}
	return !isActing(other) || other.Details.Actor.ID != rec.ID
}

// sendBoundCookie gives the browser the bound cookie for a proof made at a time, and says what it
// is for. The one that it replaces has another name.
func (c *core) sendBoundCookie(req *request, w http.ResponseWriter, rec store.Record, identifier string, made store.Time, lasts time.Duration) {
	w.Header().Set("Content-Type", "application/json")
	bound := c.boundCookie(rec, made)
	instructions := dbsc.Instructions(identifier, c.scriptPath+"prove", bound)
	c.expireProofs(w, req.cookies, rec.ID, bound.Name)
	bound.MaxAge = max(1, int(lasts/time.Second))
	http.SetCookie(w, &bound)
	_, _ = w.Write(instructions)
}

// boundCookie returns the bound cookie for a proof made at a time.
func (c *core) boundCookie(rec store.Record, made store.Time) http.Cookie {
	bound := c.cookies.Bound(rec.ID, made)
	bound.Value = c.devices.codec.Token(dbsc.Cookie, made, rec.ID, rec.Details.Device.Registered)
	return bound
}

// forgetDevice tells the browser that there is nothing to prove any more.
func forgetDevice(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(dbsc.Forget)
}

// refuseDevice tells the browser that its key is not wanted: the session is not bound.
func refuseDevice(w http.ResponseWriter) {
	http.Error(w, "This login offers no binding any more.", http.StatusForbidden)
}

// deviceUnavailable keeps what the browser has: it tries again.
func (c *core) deviceUnavailable(ctx context.Context, w http.ResponseWriter, err error) {
	c.emitUnavailable(ctx, err, store.Record{})
	w.Header().Set("Retry-After", "5")
	http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
}

func init() {
	testhook.Bind = func(guard any, w http.ResponseWriter, r *http.Request, publicKey []byte, age time.Duration) error {
		return guard.(interface{ self() *core }).self().bindForTest(w, r, publicKey, age)
	}
}

// bindForTest is testhook.Bind. The session was bound for so long that no request counts
// without a proof.
func (c *core) bindForTest(w http.ResponseWriter, r *http.Request, publicKey []byte, age time.Duration) error {
	if c.devices == nil {
		return errors.New("the guard has no Config.DeviceProof")
	}
	rec, err := c.presented(r)
	if err == nil {
		rec, err = c.withDevice(r.Context(), rec)
	}
	if err != nil {
		return err
	}
	now := store.TimeOf(time.Now())
	made := now.Add(-age)
	rec, err = c.changeDetails(r.Context(), rec.Owner, rec.ID, func(rec store.Record, details *store.Details) (bool, error) {
		if !c.isListed(rec, now) {
			return false, ErrNoSession
		}
		if c.boundDevice(rec) != nil {
			return false, nil
		}
		since := made.Add(-c.devices.grace)
		details.Device = &store.Device{PublicKey: publicKey, Registered: since, Proven: since}
		return true, nil
	})
	if err != nil {
		return err
	}
	bound := c.boundCookie(rec, made)
	c.expireProofs(w, cookie.Header(r.Header), rec.ID, bound.Name)
	http.SetCookie(w, &bound)
	return nil
}
