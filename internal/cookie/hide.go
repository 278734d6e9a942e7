package cookie

import (
	"context"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/sessionguard-go/sessionguard/internal/dbsc"
	"github.com/sessionguard-go/sessionguard/internal/response"
)

// Hide returns a handler that calls next without c's cookies: next gets a request
// without them, and cannot set them.
func (c *Codec) Hide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := &hiding{codec: c, request: r}
		h.writer.Init(w, h)
		defer h.writer.Release()
		without := r.WithContext(r.Context())
		without.Header = c.withoutCookies(r.Header)
		defer func() { r.MultipartForm, r.Pattern = without.MultipartForm, without.Pattern }()
		w = &hidingWriter{Writer: &h.writer, hiding: h}
		defer w.(*hidingWriter).end()
		next.ServeHTTP(w, without)
		h.writer.Finish()
	})
}

// withoutCookies returns a copy of a request's header without c's cookies.
func (c *Codec) withoutCookies(h http.Header) http.Header {
	h = h.Clone()
	var kept []string
	for _, line := range h["Cookie"] {
		pairs := slices.DeleteFunc(strings.Split(line, ";"), func(pair string) bool {
			name, _, _ := strings.Cut(pair, "=")
			return c.has(strings.Trim(name, " \t"))
		})
		if len(pairs) > 0 {
			kept = append(kept, strings.TrimLeft(strings.Join(pairs, ";"), " "))
		}
	}
	h["Cookie"] = kept
	if kept == nil {
		delete(h, "Cookie")
	}
	return h
}

// hiding is the state of one response.
type hiding struct {
	codec   *Codec
	request *http.Request
	writer  response.Writer[*hiding]
}

// hidingWriter is what next writes to.
type hidingWriter struct {
	*response.Writer[*hiding]
	hiding *hiding
	late   bool     // next has asked for the header after the response began, as for trailers
	sent   []string // the header's Set-Cookie then: next's, and the guard's own
}

// Header implements [http.ResponseWriter].
func (w *hidingWriter) Header() http.Header {
	h := w.Writer.Header()
	if w.Started() && !w.late {
		w.late, w.sent = true, slices.Clone(h["Set-Cookie"])
	}
	return h
}

// end removes what next has left in the header: an outer handler may buffer the response, or
// recover from a panic and write an error page, and send it.
func (w *hidingWriter) end() {
	h := w.Unwrap().Header()
	removeTrailers(h)
	if !w.Started() {
		w.hiding.remove(h)
	} else if w.late {
		h.Del("Clear-Site-Data")
		if h["Set-Cookie"] = w.sent; w.sent == nil {
			delete(h, "Set-Cookie")
		}
	}
}

// remove removes c's cookies from the header that next has made, whatever deletes them, and
// what makes a browser prove a device to next: it signs a few times only for all of a site.
func (h *hiding) remove(header http.Header) {
	header.Del("Clear-Site-Data")
	header.Del(dbsc.HeaderRegistration)
	header.Del(dbsc.HeaderChallenge)
	removeFunc(header, h.codec.has)
	removeTrailers(header)
}

// removeTrailers removes what next may send after the body of what remove removes, announced or
// not: something on the way may merge trailers into the header.
func removeTrailers(header http.Header) {
	for name, values := range header {
		if trailer, ok := strings.CutPrefix(name, http.TrailerPrefix); ok && isHidden(trailer) {
			delete(header, name)
		} else if strings.EqualFold(name, "Trailer") {
			var kept []string
			for member := range strings.SplitSeq(strings.Join(values, ","), ",") {
				if member = textproto.TrimString(member); member != "" && !isHidden(member) {
					kept = append(kept, member)
				}
			}
			if header[name] = kept; kept == nil {
				delete(header, name)
			}
		}
	}
}

// isHidden reports whether next may not send a trailer of that name.
func isHidden(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Set-Cookie", "Clear-Site-Data", dbsc.HeaderRegistration, dbsc.HeaderChallenge:
		return true
	}
	return false
}

// Commit implements [response.Hooks].
func (h *hiding) Commit(int) bool {
	h.remove(h.writer.Unwrap().Header())
	return true
}

// BeforeHeader implements [response.Hooks].
func (h *hiding) BeforeHeader(header http.Header) { h.remove(header) }

// BeforeInformational implements [response.Hooks].
func (h *hiding) BeforeInformational(header http.Header) bool { h.remove(header); return true }

// BeforeHijack implements [response.Hooks].
func (h *hiding) BeforeHijack() error { return nil }

// Context implements [response.Hooks].
func (h *hiding) Context() context.Context { return h.request.Context() }
