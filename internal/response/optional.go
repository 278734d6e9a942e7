package response

import (
	"context"
	"iter"
	"net/http"
)

// Push commits nothing: what it sends is a request, not a response.
func (w *Writer[O]) Push(target string, options *http.PushOptions) error {
	for under := range layers(w.w) {
		if pusher, ok := under.(http.Pusher); ok {
			return pusher.Push(target, options)
		}
	}
	return http.ErrNotSupported
}

// CloseNotify returns a channel that receives a value when the client has gone or the
// response was stopped. [http.CloseNotifier] is deprecated, but gin's c.Stream requires it,
// and loops until then: it ignores the errors of its writes.
//
// It does not ask the underlying writer, which may have no such method, or panic in it.
func (w *Writer[O]) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	notify := func() {
		select {
		case gone <- true:
		default:
		}
	}
	context.AfterFunc(w.owner.Context(), notify)
	if s := w.stopper.Load(); s != nil && s != released {
		s.afterStop(notify)
	}
	return gone
}

// maxLayers bounds the way down: that of a writer that unwraps to itself has no end.
const maxLayers = 100

// layers yields w, and what is below it as far as they say so.
func layers(w http.ResponseWriter) iter.Seq[http.ResponseWriter] {
	return func(yield func(http.ResponseWriter) bool) {
		for range maxLayers {
			if w == nil || !yield(w) {
				return
			}
			u, ok := w.(interface{ Unwrap() http.ResponseWriter })
			if !ok {
				return
			}
			w = u.Unwrap()
		}
	}
}
