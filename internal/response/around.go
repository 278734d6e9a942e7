package response

import (
	"maps"
	"net/http"
	"reflect"
)

// BypassedBy reports whether what is written to v reaches the underlying writer without
// the Writer. So it is if an adapter for a framework drops the ResponseWriter that it gets.
// If a writer on the way has no Unwrap method, nobody can tell, and it returns false.
func (w *Writer[O]) BypassedBy(v http.ResponseWriter) bool {
	if v == http.ResponseWriter(w) || v == nil {
		return false
	}
	var last, bottom http.ResponseWriter
	for last = range layers(v) {
		if last == http.ResponseWriter(w) {
			return false
		}
	}
	for bottom = range layers(w.w) {
	}
	return reflect.ValueOf(last).Comparable() && last == bottom
}

// Bypassed reports whether the response has begun without the Writer: an underlying writer
// says that it was written to. Those of gin, negroni, chi and echo tell, and net/http's does
// not. Echo's takes an informational response for the final one, so nobody can tell after that.
func (w *Writer[O]) Bypassed() bool {
	if w.Started() || w.marks.has(informed) {
		return false
	}
	for under := range layers(w.w) {
		switch under := under.(type) {
		case interface{ Written() bool }: // gin, negroni
			return under.Written()
		case interface {
			Status() int
			BytesWritten() int
		}: // chi: 0 before the first byte
			return under.Status() != 0
		case interface{ Before(func()) }: // echo, which has a field for it
			return boolField(under, "Committed")
		}
	}
	return false
}

// boolField returns a field of the struct that v is or points to, or false if there is none.
func boolField(v any, name string) bool {
	s := reflect.Indirect(reflect.ValueOf(v))
	if s.Kind() != reflect.Struct {
		return false
	}
	if f, ok := s.Type().FieldByName(name); ok && f.Type.Kind() == reflect.Bool {
		field, err := s.FieldByIndexErr(f.Index) // an error if it is in an embedded struct that is nil
		return err == nil && field.Bool()
	}
	return false
}

// Abandon drops whatever a handler that has panicked writes from now on. If it has sent
// nothing, an error may still follow, that is a status of 300 or more and its body: whoever
// recovers the panic may have no other ResponseWriter, as with echo.WrapMiddleware. Until
// then Header returns a copy of the header, which becomes the header with that status. So a
// goroutine that the handler has left behind adds nothing to an error that is written to
// the underlying writer.
//
// It must be called after Release, if that is called at all.
func (w *Writer[O]) Abandon() {
	if w.Started() {
		w.Discard()
		return
	}
	w.stopper.Store(&Stopper{header: w.w.Header().Clone()})
	w.state.raise(abandoned)
}

func (w *Writer[O]) abandoned() bool { return w.state.reached(abandoned) && !w.Started() }

// restoreHeader makes the header that was set since Abandon that of the response.
func (w *Writer[O]) restoreHeader() {
	if !w.abandoned() {
		return
	}
	h := w.w.Header()
	clear(h)
	maps.Copy(h, w.stopper.Load().header)
}
