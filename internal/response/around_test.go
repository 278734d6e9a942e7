package response

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// wrapped is the ResponseWriter of a middleware.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestBypassedByFindsTheWayOfAResponse(t *testing.T) {
	under, _ := newPlain() // of a type that cannot be compared
	pointer := &under
	for _, test := range []struct {
		name     string
		bypassed func(o *owner) http.ResponseWriter
		want     bool
	}{
		{"itself", func(o *owner) http.ResponseWriter { return &o.writer }, false},
		{"none", func(o *owner) http.ResponseWriter { return nil }, false},
		{"a wrapper of it", func(o *owner) http.ResponseWriter { return wrapped{&o.writer} }, false},
		{"another that does not unwrap", func(o *owner) http.ResponseWriter { return struct{ http.ResponseWriter }{pointer} }, false},
		{"another response's", func(o *owner) http.ResponseWriter { other, _ := newPlain(); return &other }, false},
		{"the underlying one", func(o *owner) http.ResponseWriter { return o.writer.Unwrap() }, true},
		{"the lowest", func(o *owner) http.ResponseWriter { return pointer }, true},
		{"another on the lowest", func(o *owner) http.ResponseWriter { return wrapped{wrapped{pointer}} }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := own(wrapped{pointer}, under.trace)
			require.Equal(t, test.want, o.writer.BypassedBy(test.bypassed(o)))
		})
	}
	o := own(struct{ plainWriter }{under}, under.trace)
	require.False(t, o.writer.BypassedBy(o.writer.Unwrap()), "nobody can tell, and nothing panics")
}

type ginWriter struct {
	http.ResponseWriter
	written bool
}

func (w *ginWriter) Written() bool { return w.written }

type chiWriter struct {
	http.ResponseWriter
	status int
}

func (w *chiWriter) Status() int     { return w.status }
func (*chiWriter) BytesWritten() int { return 0 }

type echoWriter struct {
	http.ResponseWriter
	Committed bool
}

func (*echoWriter) Before(func()) {}

type otherWriter struct{ http.ResponseWriter }

func (*otherWriter) Before(func()) {}

func TestBypassedAsksTheUnderlyingWriters(t *testing.T) {
	plain, _ := newPlain()
	for _, test := range []struct {
		under http.ResponseWriter
		want  bool
	}{
		{plain, false},
		{&ginWriter{plain, false}, false},
		{&ginWriter{plain, true}, true},
		{wrapped{&ginWriter{plain, true}}, true},
		{&chiWriter{plain, 0}, false},
		{&chiWriter{plain, 200}, true},
		{&echoWriter{plain, false}, false},
		{&echoWriter{plain, true}, true},
		{&otherWriter{plain}, false},
	} {
		o := own(test.under, plain.trace)
		require.Equal(t, test.want, o.writer.Bypassed(), "%T", test.under)
		_, err := o.writer.Write([]byte("page"))
		require.NoError(t, err)
		require.False(t, o.writer.Bypassed(), "the response went through the Writer")
	}
}

// circular is a ResponseWriter whose layers have no end.
type circular struct {
	http.ResponseWriter
	below *circular
}

func (w *circular) Unwrap() http.ResponseWriter { return w.below }

// notStruct has the methods of echo's ResponseWriter, but no fields.
type notStruct map[string]bool

func (notStruct) Header() http.Header         { return http.Header{} }
func (notStruct) WriteHeader(int)             {}
func (notStruct) Write(b []byte) (int, error) { return len(b), nil }
func (notStruct) Before(func())               {}

// embedsNil has echo's field in an embedded struct that is nil.
type embedsNil struct {
	otherWriter
	*committedField
}

type committedField struct{ Committed bool }

func (*embedsNil) Before(func()) {}

func TestNoUnderlyingWriterMakesTheWriterPanicOrLoop(t *testing.T) {
	plain, _ := newPlain()
	self, one, other := &circular{plain, nil}, &circular{plain, nil}, &circular{plain, nil}
	self.below, one.below, other.below = self, other, one
	for _, under := range []http.ResponseWriter{self, one, notStruct{}, &embedsNil{otherWriter: otherWriter{plain}}} {
		o := own(under, plain.trace)
		require.False(t, o.writer.Bypassed(), "%T", under)
		require.False(t, o.writer.BypassedBy(plain), "%T", under)
		require.ErrorIs(t, o.writer.Push("/", nil), http.ErrNotSupported)
	}
	o := own(plain, plain.trace)
	require.False(t, o.writer.BypassedBy(self))
}

func TestAfterAPanicOnlyAnErrorIsSent(t *testing.T) {
	w, o := newFull()
	w.header.Set("X-Handler", "set before the panic")
	o.writer.Release()
	o.writer.Abandon()
	for _, step := range steps {
		_ = step.do(&o.writer)
	}
	o.writer.Header().Set("X-Error", "bug")
	o.writer.Header().Del("X-Handler")
	o.writer.WriteHeader(http.StatusEarlyHints)
	require.Empty(t, w.take())
	require.NotContains(t, w.header, "X-Error", "an error that is written to the underlying writer has its own header")
	require.Contains(t, w.header, "X-Handler")

	o.writer.WriteHeader(http.StatusInternalServerError)
	fmt.Fprint(&o.writer, "sorry")
	require.Equal(t, []string{"BeforeHeader", "WriteHeader 500", "Write sorry"}, w.take())
	require.Equal(t, http.Header{"X-Error": {"bug"}, "Before-Header": {"owner"}}, w.header)
	require.Equal(t, w.header, o.writer.Header())

	w, o = newFull()
	o.writer.WriteHeader(http.StatusOK)
	w.take()
	o.writer.Abandon()
	o.writer.WriteHeader(http.StatusInternalServerError)
	fmt.Fprint(&o.writer, "late")
	require.Empty(t, w.take(), "the page has begun")

	w, o = newFull()
	o.writer.Discard()
	o.writer.Abandon()
	o.writer.WriteHeader(http.StatusInternalServerError)
	require.Empty(t, w.take(), "the response was replaced")
}

// soon returns what c gets, or false if it gets nothing.
func soon(t *testing.T, c <-chan bool) bool {
	t.Helper()
	synctest.Wait()
	select {
	case v := <-c:
		return v
	default:
		return false
	}
}

func TestCloseNotifyTellsThatTheClientHasGoneOrTheResponseWasStopped(t *testing.T) {
	synctest.Test(t, testCloseNotify)
}

func testCloseNotify(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var w Writer[contextHooks]
	w.Init(nullWriter{http.Header{}}, contextHooks{ctx})
	gone := w.CloseNotify()
	require.Empty(t, gone)
	cancel()
	require.True(t, soon(t, gone))

	w.Init(nullWriter{http.Header{}}, contextHooks{t.Context()})
	stopper := w.Stopper()
	gone = w.CloseNotify()
	require.Empty(t, gone)
	stopper.Stop(errTest)
	require.True(t, soon(t, gone))
	require.True(t, soon(t, w.CloseNotify()), "it was stopped before")
}

type contextHooks struct{ ctx context.Context }

func (contextHooks) Commit(int) bool                      { return true }
func (contextHooks) BeforeHeader(http.Header)             {}
func (contextHooks) BeforeInformational(http.Header) bool { return true }
func (contextHooks) BeforeHijack() error                  { return nil }
func (h contextHooks) Context() context.Context           { return h.ctx }
