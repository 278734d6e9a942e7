package response

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// replacing makes the owner send a response of its own, as a refusal does.
func (o *owner) replacing() *owner {
	committing := 0
	o.commit = func(int) bool {
		if committing++; committing > 1 {
			return true
		}
		defer func() { committing = 0 }()
		clear(o.writer.Header())
		o.writer.WriteHeader(http.StatusForbidden)
		io.WriteString(&o.writer, "refused")
		return false
	}
	return o
}

// L5, L6: the inner Commit is the one of the owner's own response.
func TestResponseThatTheOwnerReplacesIsDiscarded(t *testing.T) {
	for _, first := range steps {
		w, o := newFull()
		o.replacing()
		o.writer.Header().Set("Etag", "secret")
		err := first.do(&o.writer)
		if first.name != "WriteHeader" && first.name != "Flush" {
			require.ErrorIs(t, err, ErrReplaced, first.name)
		}
		commit := map[int]string{200: "Commit 200", 201: "Commit 201"}[first.status]
		require.Equal(t, []string{commit, "Commit 403", "WriteHeader 403", "WriteString refused"}, w.take(), first.name)
		require.True(t, o.writer.Started())
		require.Equal(t, http.Header{"Before-Header": {"owner"}}, w.header)
		requireDiscards(t, o, w)
	}
}

// requireDiscards checks that nothing more reaches w.
func requireDiscards(t *testing.T, o *owner, w fullWriter) {
	t.Helper()
	require.True(t, o.writer.Discarding())
	for _, s := range steps {
		err := s.do(&o.writer)
		if s.name != "WriteHeader" && s.name != "Flush" {
			require.ErrorIs(t, err, ErrReplaced, s.name)
		}
	}
	_, _, err := o.writer.Hijack()
	require.ErrorIs(t, err, ErrReplaced)
	o.writer.WriteHeader(http.StatusEarlyHints)
	o.writer.Finish()
	before := len(w.header)
	o.writer.Header().Set("X-Late", "secret")
	require.Empty(t, o.writer.Header(), "each is a new map")
	require.Len(t, w.header, before)
	require.Empty(t, w.take())
	require.True(t, o.writer.Discarding())
}

func TestReplacedResponseReachesTheClient(t *testing.T) {
	for _, begin := range steps {
		t.Run(begin.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, proto string) {
				o := (&owner{trace: &trace{}}).replacing()
				resp, body, err := serve(t, proto, o, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Etag", "secret")
					w.Header().Set("Content-Length", "4")
					for range 3 {
						_ = begin.do(w)
					}
					w.Header().Set("X-Late", "secret")
				})
				require.NoError(t, err)
				require.Equal(t, http.StatusForbidden, resp.StatusCode)
				require.Equal(t, "refused", body)
				require.Empty(t, resp.Header["Etag"])
				require.Empty(t, resp.Header["X-Late"])
			})
		})
	}
}

func TestHandlerThatWritesNothingIsReplacedAtFinish(t *testing.T) {
	w, o := newFull()
	o.replacing()
	o.writer.Finish()
	require.Equal(t, []string{"Commit 200", "Commit 403", "WriteHeader 403", "WriteString refused"}, w.take())
	requireDiscards(t, o, w)
}

func TestHijackThatTheOwnerReplacesKeepsTheConnection(t *testing.T) {
	w, o := newFull()
	o.replacing()
	_, _, err := o.writer.Hijack()
	require.ErrorIs(t, err, ErrReplaced)
	require.Equal(t, []string{"Commit 101", "Commit 403", "WriteHeader 403", "WriteString refused"}, w.take())
	requireDiscards(t, o, w)
}

// The contract of Commit: an inner call that returns false discards the owner's
// response, too, so that nothing of either is sent.
func TestOwnerWhoseInnerCommitFailsSendsNothing(t *testing.T) {
	w, o := newFull()
	inner := false
	o.commit = func(int) bool {
		if !inner {
			inner = true
			_, err := io.WriteString(&o.writer, "refused")
			require.ErrorIs(t, err, ErrReplaced)
		}
		return false
	}
	_, err := io.WriteString(&o.writer, "secret")
	require.ErrorIs(t, err, ErrReplaced)
	require.Equal(t, []string{"Commit 200", "Commit 200"}, w.take())
	requireDiscards(t, o, w)
}

func TestDiscardDropsWhateverIsWrittenFromThenOn(t *testing.T) {
	t.Run("before anything", func(t *testing.T) {
		w, o := newFull()
		o.writer.Discard()
		require.True(t, o.writer.Discarding())
		requireDiscards(t, o, w)
	})
	t.Run("after an attempt that sent nothing", func(t *testing.T) {
		w, o := newFull()
		_, _ = io.Copy(&o.writer, read("", errTest))
		w.take()
		o.writer.Discard()
		requireDiscards(t, o, w)
	})
	t.Run("after the first byte", func(t *testing.T) {
		w, o := newFull()
		_, _ = io.WriteString(&o.writer, "body")
		w.take()
		o.writer.Discard()
		requireDiscards(t, o, w)
	})
	t.Run("in Commit", func(t *testing.T) {
		w, o := newFull()
		o.commit = func(int) bool { o.writer.Discard(); return true }
		_, err := io.WriteString(&o.writer, "body")
		require.ErrorIs(t, err, ErrReplaced)
		w.take()
		requireDiscards(t, o, w)
	})
	t.Run("during a copy", func(t *testing.T) { // which is given up, but not interrupted
		w, o := newFull()
		_, err := io.Copy(&o.writer, onlyReader{io.MultiReader(strings.NewReader("bo"), discardingReader{o}, strings.NewReader("dy"))})
		require.NoError(t, err)
		w.take()
		requireDiscards(t, o, w)
	})
}

type discardingReader struct{ o *owner }

func (r discardingReader) Read([]byte) (int, error) { r.o.writer.Discard(); return 0, io.EOF }

func TestStateOnlyRises(t *testing.T) {
	all := []state{unstarted, committed, started, discarding}
	for _, from := range all {
		for _, to := range all {
			var p progress
			p.raise(from)
			p.raise(to)
			for _, s := range all {
				require.Equal(t, s <= max(from, to), p.reached(s), "%d then %d, %d", from, to, s)
			}
		}
	}
}
