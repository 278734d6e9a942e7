package cookie

import (
	"iter"
	"net/http"
	"slices"
	"strings"
)

// Header returns the Cookie header of a request as one string, or nil if it has none. It
// points to the string that the header has now, not to what is set later.
func Header(h http.Header) *string {
	switch lines := h["Cookie"]; len(lines) {
	case 0:
		return nil
	case 1:
		return &lines[0]
	default:
		joined := strings.Join(lines, "; ")
		return &joined
	}
}

// Same reports whether h has the same session and visitor cookies as the header from
// which before was made. Other cookies may differ: middleware adds some of its own.
func (c *Codec) Same(before *string, h http.Header) bool {
	lines := h["Cookie"]
	if before == nil && len(lines) == 0 || before != nil && len(lines) == 1 && lines[0] == *before {
		return true
	}
	return c.sameOfOurs(before, h)
}

func (c *Codec) sameOfOurs(before *string, h http.Header) bool {
	now := Header(h)
	for _, name := range []string{c.Session.Name, c.Visitor.Name} {
		if !equal(Values(before, name), Values(now, name)) {
			return false
		}
	}
	return true
}

func equal(a, b iter.Seq[string]) bool { return slices.Equal(slices.Collect(a), slices.Collect(b)) }
