package sessionguard

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/fetch"
	"github.com/sessionguard-go/sessionguard/internal/owner"
	"github.com/sessionguard-go/sessionguard/store"
)

// ErrNoSecret is returned by [Guard.TakeSecret] if there is nothing to take.
var ErrNoSecret = errors.New("sessionguard: no such secret, or it was taken before, or is too old")

const (
	minSecretLifetime = time.Second
	maxSecretLifetime = time.Hour
	// takenMargin is how much the clocks of nodes may differ: for that much longer than a
	// secret lives, it is known to have been taken.
	takenMargin = 10 * time.Minute
)

// PutSecret keeps a one-time secret for the browser that sends r, under any name, until
// [Guard.TakeSecret] takes it, or the lifetime is over. A lifetime is at least a second
// and at most an hour. For a login, ten minutes are common. It is for what a login must
// remember from one request to a later one, and may accept only once: the state, the
// nonce and the PKCE verifier of OpenID Connect, or the challenge of WebAuthn:
//
//	err := guard.PutSecret(w, r, "oidc:"+state, login, 10*time.Minute)
//
// The value is in a cookie of its own, encrypted, and costs the server nothing, however
// many a client makes. A value has at most 2048 bytes: a longer one is an
// [ErrValuesTooLarge]. A browser keeps at most four, and at most 4 KB of such cookies.
// The oldest go, such as those of logins that were abandoned in other tabs. Another value
// under the same name replaces the first in the browser.
//
// A secret belongs to the browser, and to the session in which it was put, or to the
// login that is pending there ([Guard.Pending]). A visitor's secret cannot be taken once
// the visitor has logged in. The secret of a session can be taken only in that session,
// also after a re-authentication.
//
// Call PutSecret before the response begins: later it returns [ErrHeadersSent]. A
// response that the guard replaces, or whose handler panics, sets no secret. Other errors
// are [ErrUnavailable] (wrapped), [ErrNotWrapped], [ErrInCallback], and one that says
// that the lifetime is out of range. PutSecret and TakeSecret do not revive a remembered
// session, as [Guard.Login] does not. They keep the response out of caches.
//
// # Which requests may put and take
//
// Put in response to a POST. Another site can send a browser to any page that responds to
// GET, again and again. That would push out older secrets, or make the Cookie header
// longer than servers accept. For the same reason, take by GET only under a name that
// others do not know, such as one with a state.
//
// With Config.SameSite Strict, no browser sends the cookie when another site, such as an
// OpenID provider, sends it back here. With Lax, the default, browsers send it with a
// redirect (response_mode=query), and not with a form (form_post).
//
// With CookieDomain or InsecureHTTP, another host of the domain can plant a secret that
// it got here. A visitor then finishes a login that somebody else has begun. No host can
// do that if the cookie's name begins with __Host-, as by default.
func (g *core) PutSecret(w http.ResponseWriter, r *http.Request, name string, value []byte, lifetime time.Duration) error {
	switch {
	case lifetime < minSecretLifetime || lifetime > maxSecretLifetime:
		return fmt.Errorf("sessionguard: PutSecret: a lifetime of %v is not between %v and %v", lifetime, minSecretLifetime, maxSecretLifetime)
	case len(value) > cookie.MaxSecretBytes:
		return fmt.Errorf("%w: a secret has %d bytes, and may have at most %d", ErrValuesTooLarge, len(value), cookie.MaxSecretBytes)
	}
	g.warnOfHTTP(r)
	l, err := g.lockResponse(w, r)
	if err != nil {
		return err
	}
	defer l.unlock()
	return l.putSecret(r.Context(), name, value, lifetime)
}

func (l *locked) putSecret(ctx context.Context, name string, value []byte, lifetime time.Duration) error {
	if err := l.findHolder(ctx); err != nil {
		return err
	}
	e, now := l.needEffects(), store.TimeOf(time.Now())
	e.secrets = l.core.cookies.PutSecret(l.cookies, e.secrets, name, cookie.Secret{
		Made: now, Expires: now.Add(lifetime), Holder: l.holder(), Value: value,
	})
	return nil
}

// TakeSecret returns the value that [Guard.PutSecret] has put under name, once. Of any
// number of requests with the same cookie, on all nodes, one gets it. A copy of the
// cookie does not bring it back. Compare what the request brings with what you took, such
// as the nonce of an ID token. A state that is part of the name needs no comparison: the
// secret was found by it.
//
// It returns [ErrNoSecret] if there is none under this name, if it was taken or is too
// old, and if it was put in another browser or another session. It does so too if
// somebody has planted a second one. A prefetch gets [ErrNoSecret] and takes nothing.
// Respond with an error, and the browser sends the request again when the user follows
// the link.
//
// A taken secret leaves a mark in the backend, until ten minutes after its lifetime. If
// the backend fails, TakeSecret returns [ErrUnavailable] (wrapped), the response is
// replaced with 503, and the browser keeps the secret. The user can then try again,
// unless the mark was stored all the same. Then the secret is gone, and the user starts
// anew. So it is if the response does not arrive. Other errors are [ErrHeadersSent],
// [ErrNotWrapped] and [ErrInCallback].
//
// TakeSecret does not protect a secret whose cookie is copied before it is taken: anyone
// who has all cookies of a browser can take it. Two requests may take it if the clocks of
// nodes differ by more than ten minutes, or if the backend loses the mark:
//
//   - a Redis server that evicts keys
//   - a Redis server that fails over before its replica has the mark, unless redisstore's
//     WaitReplicas.EveryWrite is set
//   - a [store.Memory] whose program starts anew with the same Keys
//
// Nor does it limit how often a client puts and takes. Each time leaves a mark of 310
// bytes in [store.Memory], 630 in Redis, 620 in PostgreSQL and 410 in SQLite. These are
// averages of 100,000 marks (go test -v -run TestMarksOfTakenSecrets, in internal/nodes
// and the modules of the backends).
func (g *core) TakeSecret(w http.ResponseWriter, r *http.Request, name string) ([]byte, error) {
	l, err := g.lockResponse(w, r)
	if err != nil {
		return nil, err
	}
	defer l.unlock()
	return l.takeSecret(r.Context(), name)
}

func (l *locked) takeSecret(ctx context.Context, name string) ([]byte, error) {
	if err := l.findHolder(ctx); err != nil {
		return nil, err
	}
	cookies, e := &l.core.cookies, l.needEffects()
	secret, ok := cookies.FindSecret(l.cookies, e.secrets, name)
	now := store.TimeOf(time.Now())
	if !ok || now >= secret.Expires || secret.Holder != l.holder() || fetch.Prefetches(&l.http) {
		return nil, ErrNoSecret
	}
	err := l.core.markTaken(l.ctx(), secret, now)
	if err != nil && !errors.Is(err, store.ErrLimit) {
		return nil, l.fail(err)
	}
	e.secrets = cookies.DeleteSecret(l.cookies, e.secrets, name)
	if err != nil {
		return nil, ErrNoSecret
	}
	return secret.Value, nil
}

// markTaken stores that a secret was taken, or returns [store.ErrLimit] if it has been. The
// mark is a record of an owner that only this secret has, and that may have one record.
func (c *core) markTaken(ctx context.Context, secret cookie.Secret, now store.Time) error {
	name := c.owners.Of(owner.Taken, hex.EncodeToString(secret.Nonce[:]))
	// Of a session whose ID has at most 20 bytes, here with 100 random bits, Redis stores the
	// index in 200 bytes instead of 1000 (zset-max-listpack-value 64).
	mark := &store.Session{ID: newPublicID()[:20], Owner: name, Authenticated: now, Expires: secret.Expires.Add(takenMargin)}
	mark.IdleTimeout = mark.Expires.Sub(now)
	_, _ = rand.Read(mark.Key[:]) // never fails: it crashes the program instead
	mark.Key[31] += byte(store.GroupOf(name) - mark.Key.Group())
	d, cancel := detached(ctx)
	defer cancel()
	_, err := c.backend.Create(d, store.Record{Session: mark, LastSeen: now}, store.Limit{Max: 1, Refuse: true})
	return err
}

// findHolder resolves whom the request's secrets belong to.
func (l *locked) findHolder(ctx context.Context) error {
	raise(&l.activity, noRevival)
	if err := l.resolve(ctx); err != nil {
		return err
	}
	if l.committed {
		return l.tooLate()
	}
	return nil
}

// writeSecrets adds the cookies of secrets to the response, unless that replaces another.
func (l *locked) writeSecrets(w http.ResponseWriter) {
	if l.outcome != failed {
		l.effects.secrets.Write(w, l.cookies, l.core.cookies.Session)
	}
}

// holder returns what the request's secrets belong to: its session, its pending login, or "".
// One that was a whole session, with the same ID, gets nothing of what it put then.
func (l *locked) holder() string {
	switch held := l.held(); {
	case held.Session == nil:
		return ""
	case l.rec.Session == nil:
		return "pending " + held.ID
	default:
		return held.ID
	}
}

// lockResponse is lockRequest for what sets a cookie in the response.
func (c *core) lockResponse(w http.ResponseWriter, r *http.Request) (*locked, error) {
	if err := c.checkWriter(w, r); err != nil {
		return nil, err
	}
	return c.lockRequest(r)
}

// checkWriter checks that w can set the guard's cookies.
func (c *core) checkWriter(w http.ResponseWriter, r *http.Request) error {
	if req := c.requestOf(r); req != nil && req.writer.BypassedBy(w) {
		c.logBypass(r)
		return fmt.Errorf("%w, and pass on the ResponseWriter that it gives you", ErrNotWrapped)
	}
	return nil
}
