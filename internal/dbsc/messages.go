package dbsc

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// The headers of the protocol.
const (
	HeaderRegistration = "Secure-Session-Registration" // of a response: a browser may register a key
	HeaderChallenge    = "Secure-Session-Challenge"    // of a response: what a browser is to sign
	HeaderResponse     = "Secure-Session-Response"     // of a request: a [Proof]
	HeaderIdentifier   = "Sec-Secure-Session-Id"       // of a request: which session it asks about
	HeaderSkipped      = "Secure-Session-Skipped"      // of a request: why it comes without a proof
)

// Registration returns the value of HeaderRegistration that makes a browser post a key to path.
func Registration(path, challenge string) string {
	return "(ES256 RS256);path=" + quote(path) + ";challenge=" + quote(challenge)
}

// ChallengeFor returns the value of HeaderChallenge for the session with that identifier.
func ChallengeFor(identifier, challenge string) string {
	return quote(challenge) + ";id=" + quote(identifier)
}

// Identifier returns the identifier of the session that a browser asks about, or "".
func Identifier(h http.Header) string { return unquote(h.Get(HeaderIdentifier)) }

// Forget is the body of a response that ends what the browser keeps of a session.
var Forget = []byte(`{"continue":false}`)

// Instructions returns the body of the response to a registration and a refresh. cookie is
// the bound cookie: a browser takes one for it that has the same attributes. When that
// lives, and its value, do not count.
func Instructions(identifier, refreshPath string, cookie http.Cookie) []byte {
	cookie.Value, cookie.MaxAge, cookie.Expires = "", 0, time.Time{}
	_, attributes, _ := strings.Cut(cookie.String(), "; ")
	type credential struct {
		Type       string `json:"type"`
		Name       string `json:"name"`
		Attributes string `json:"attributes"`
	}
	type scope struct {
		IncludeSite bool `json:"include_site"`
	}
	body, err := json.Marshal(struct {
		Identifier  string       `json:"session_identifier"`
		RefreshURL  string       `json:"refresh_url"`
		Scope       scope        `json:"scope"`
		Credentials []credential `json:"credentials"`
		// Without it, a request that another site causes, such as by a link in a mail, comes
		// with the session's cookie and without a refresh (Chromium 156), as a thief's does.
		Initiators []string `json:"allowed_refresh_initiators"`
	}{identifier, refreshPath, scope{}, []credential{{"cookie", cookie.Name, attributes}}, []string{"*"}})
	if err != nil {
		panic(err) // strings always encode
	}
	return body
}

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// quote returns a structured string (RFC 9651 section 3.3.3).
func quote(s string) string { return `"` + quoter.Replace(s) + `"` }

// unquote removes the quotes of a structured string that has nothing to escape.
func unquote(s string) string {
	if n := len(s); n > 1 && s[0] == '"' && s[n-1] == '"' {
		return s[1 : n-1]
	}
	return s
}
