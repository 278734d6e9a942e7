package dbsc

import (
	"net/http"
	"regexp"
	"strings"
)

// maxSkipped is how long HeaderSkipped may be. A longer one says nothing.
const maxSkipped = 4 * maxSealed

// What HeaderSkipped is: a list of tokens with parameters (RFC 9651 section 3.1).
const (
	parameter = `; *([a-z*][a-z0-9_.*-]*)(?:=("(?:[ !#-\[\]-~]|\\["\\])*"|[!#-'*+./0-:<-~-]+))?`
	item      = `([A-Za-z*][!#-'*+.0-:A-Z^-z|~/-]*)((?:` + parameter + `)*)`
)

var (
	skippedParameter = regexp.MustCompile(parameter)
	skippedItem      = regexp.MustCompile(`^` + item + `[ \t]*(?:,[ \t]*|$)`)
)

// WillRetry reports whether the browser says that it has failed to refresh the session with
// that owner and ID, for a reason that passes: it tries again with its next request. What it says of
// other sessions, such as those of another application on the host, does not count. Nor does
// a header that is no list. Whoever has an identifier can say that: it proves nothing.
func (c *Codec) WillRetry(h http.Header, owner, id string) (failed bool) {
	rest := strings.Trim(strings.Join(h[HeaderSkipped], ", "), " \t")
	if len(rest) > maxSkipped || strings.HasSuffix(rest, ",") {
		return false
	}
	for rest != "" {
		m := skippedItem.FindStringSubmatch(rest)
		if m == nil {
			return false
		}
		rest = rest[len(m[0]):]
		if failed || m[1] != "unreachable" && m[1] != "server_error" {
			continue
		}
		identifier := ""
		for _, p := range skippedParameter.FindAllStringSubmatch(m[2], -1) {
			if p[1] == "session_identifier" {
				identifier = unquote(p[2]) // the last one counts
			}
		}
		itsOwner, itsID, ok := c.OpenIdentifier(identifier)
		failed = ok && itsOwner == owner && itsID == id
	}
	return failed
}
