package cookie

import (
	"iter"
	"net/http"
	"strings"
)

// Values yields the value of every cookie with that name in a request's header.
// Names are compared byte for byte, and only spaces and tabs are trimmed (RFC
// 6265bis section 5.6), so that no look-alike of a __Host- name passes for it.
func Values(h http.Header, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range h["Cookie"] {
			for line != "" {
				var pair string
				pair, line, _ = strings.Cut(line, ";")
				key, value, ok := strings.Cut(pair, "=")
				if ok && strings.Trim(key, " \t") == name && !yield(strings.Trim(value, " \t")) {
					return
				}
			}
		}
	}
}

// Unique returns the number of cookies with that name, and the cookie's value if
// there is exactly one. Of two cookies, one may have been planted, and nothing
// shows which.
func Unique(h http.Header, name string) (value string, count int) {
	for v := range Values(h, name) {
		value = v
		count++
	}
	if count > 1 {
		return "", count
	}
	return value, count
}
