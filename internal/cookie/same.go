package cookie

import (
	"net/http"
	"strings"
)

// separator is between the cookies of a header.
const separator = "; "

// Header returns the Cookie header of a request as one string, or nil if it has none. It
// points to the string that the header has now, not to what is set later.
func Header(h http.Header) *string {
	switch lines := h["Cookie"]; len(lines) {
	case 0:
		return nil
	case 1:
		return &lines[0]
	default:
		joined := strings.Join(lines, separator)
		return &joined
	}
}

// Same reports whether h has the same cookies of c as the header from which before was made.
// Other cookies may differ: middleware adds some of its own. It is called often, and allocates
// nothing, however many cookies there are.
func (c *Codec) Same(before *string, h http.Header) bool {
	lines := h["Cookie"]
	if before == nil && len(lines) == 0 || before != nil && isJoined(lines, *before) {
		return true
	}
	return sameCookies(reader{name: c.Session.Name}, before, lines) &&
		sameCookies(reader{name: c.Visitor.Name}, before, lines) &&
		sameCookies(reader{name: c.Session.Name, of: isSecretOf}, before, lines) &&
		sameCookies(reader{name: c.boundName, of: isBoundOf}, before, lines)
}

// isJoined reports whether joined is what Header makes of lines.
func isJoined(lines []string, joined string) bool {
	if len(lines) == 1 {
		return lines[0] == joined
	}
	ok := len(lines) > 0
	for i, line := range lines {
		if i > 0 && ok {
			joined, ok = strings.CutPrefix(joined, separator)
		}
		if ok {
			joined, ok = strings.CutPrefix(joined, line)
		}
	}
	return ok && joined == ""
}

// sameCookies compares the cookies that a reader finds.
func sameCookies(then reader, before *string, lines []string) bool {
	now := then
	now.lines = lines
	if before != nil {
		then.line = *before
	}
	for {
		name, a, ok := then.next()
		alsoName, b, alsoOK := now.next()
		if ok != alsoOK || name != alsoName || a != b {
			return false
		}
		if !ok {
			return true
		}
	}
}
