package sessionguard

import (
	"crypto/rand"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// mint makes a new session cookie's value and the key it will be found under, of the
// owner's group unless the backend is in this process. A key is a hash, so it tries
// until it fits: 64 times on average, some tenths of a millisecond. The token loses 6 of
// its 256 bits to whoever knows the owner.
func (c *core) mint(owner string) (value string, key store.Key, err error) {
	group := store.GroupOf(owner)
	for {
		value, key, err = c.cookies.NewToken()
		if err != nil || c.local || key.Group() == group {
			return value, key, err
		}
	}
}

func newPublicID() string { return rand.Text() }

// writeCookies adds what changed to the answer: one Set-Cookie per cookie, with
// every attribute also where it deletes, since browsers ignore a deletion that
// does not match.
func (st *locked) writeCookies() {
	if st.slow == nil {
		return
	}
	p, c := st.slow, &st.core.cookies
	add := func(ck http.Cookie, change cookieChange, value string, maxAge int) {
		switch change {
		case setCookie, rotateCookie:
			ck.Value, ck.MaxAge = value, maxAge
		case deleteCookie:
			ck.MaxAge = -1
		default:
			return
		}
		http.SetCookie(st.writer.Unwrap(), &ck)
	}
	remembered := 0 // until the browser is closed
	if st.rec.Session != nil && st.rec.Detail().Remember > 0 {
		// Not only until Remember: while it is active, the session goes on.
		// And for a while after its end, to say why.
		remembered = int(st.rec.Expires.Add(store.ReasonKept).Sub(st.now) / time.Second)
	}
	add(c.Session, p.session, p.sessionValue, remembered)
	add(c.Visitor, p.anonymous, p.anonymousValue, 0)
}
