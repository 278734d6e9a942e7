package cookie

import (
	"net/http"
	"time"
)

// A Change is what a response does to a cookie. The zero Change leaves it alone.
type Change struct {
	Kind  Kind
	Value string // of Set and Rotate
}

// A Kind is the kind of a [Change].
type Kind uint8

const (
	Keep   Kind = iota
	Set         // of a new session or new values; undone if the response cannot be sent
	Rotate      // a new token for a session that goes on
	Delete
)

// Write adds the Set-Cookie header of c to w, if it changes anything. The attributes are
// those of like, also for a deletion, since browsers ignore one that does not match.
// maxAge is how long the browser keeps the cookie; with 0, until it is closed.
func (c Change) Write(w http.ResponseWriter, like http.Cookie, maxAge time.Duration) {
	switch c.Kind {
	case Set, Rotate:
		like.Value, like.MaxAge = c.Value, int(maxAge/time.Second)
	case Delete:
		like.MaxAge = -1
	default:
		return
	}
	http.SetCookie(w, &like)
}
