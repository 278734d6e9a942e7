package response

import (
	"context"
	"net/http"
)

// Push commits nothing: what it sends is a request, not a response.
func (w *Writer[O]) Push(target string, options *http.PushOptions) error {
	for under := w.w; under != nil; under = unwrap(under) {
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

// unwrap returns what is below w, or nil if w does not say.
func unwrap(w http.ResponseWriter) http.ResponseWriter {
	if u, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		return u.Unwrap()
	}
	return nil
}
