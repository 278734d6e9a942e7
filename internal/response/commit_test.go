package response

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"testing"

	"github.com/stretchr/testify/require"
)

// W1
func TestEveryWayToBeginCommitsOnceBeforeItsFirstByte(t *testing.T) {
	for _, first := range steps {
		t.Run(first.name, func(t *testing.T) {
			w, o := newFull()
			require.False(t, o.writer.Started())
			require.NoError(t, first.do(&o.writer))
			hooks := []string{fmt.Sprintf("Commit %d", first.status)}
			require.Equal(t, append(hooks, first.passes...), w.take())
			require.True(t, o.writer.Started())
			for _, second := range steps {
				require.NoError(t, second.do(&o.writer))
				require.Equal(t, second.passes, w.take(), second.name)
			}
			o.writer.Finish()
			require.Empty(t, w.take())
			require.True(t, o.writer.Started())
			require.False(t, o.writer.Discarding())
		})
	}
}

// W1: both hooks have the last word about the header that the client sees.
func TestHeadersOfBothHooksReachTheClient(t *testing.T) {
	nothing := step{name: "nothing", status: 200, do: func(http.ResponseWriter) error { return nil }}
	for _, begin := range append(steps, nothing) {
		t.Run(begin.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, proto string) {
				o := &owner{trace: &trace{}}
				o.commit = func(int) bool {
					http.SetCookie(o.writer.Unwrap(), &http.Cookie{Name: "session", Value: "1"})
					return true
				}
				var stepErr error
				resp, _, err := serve(t, proto, o, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Before-Header", "handler")
					stepErr = begin.do(w)
				})
				require.NoError(t, err)
				require.NoError(t, stepErr)
				require.Equal(t, begin.status, resp.StatusCode)
				require.Equal(t, []string{"session=1"}, resp.Header["Set-Cookie"])
				if begin.name != "nothing" { // then the owner changes the header after Finish
					require.Equal(t, "owner", resp.Header.Get("Before-Header"))
				}
			})
		})
	}
}

func TestHandlerThatWritesNothingCommitsAtFinish(t *testing.T) {
	w, o := newFull()
	o.writer.Finish()
	require.Equal(t, []string{"Commit 200"}, w.take())
	require.False(t, o.writer.Started(), "the server sends the header, and the owner can still change it")
}

// W1: a ReverseProxy clears the header after each 1xx.
func TestInformationalResponsesPassUncommitted(t *testing.T) {
	for _, status := range []int{100, 102, 103, 199} {
		w, o := newFull()
		o.writer.WriteHeader(status)
		require.Equal(t, []string{"BeforeInformational", fmt.Sprintf("WriteHeader %d", status)}, w.take())
		require.False(t, o.writer.Started())
		o.silent = true
		o.writer.WriteHeader(status)
		require.Equal(t, []string{"BeforeInformational"}, w.take())
	}
	overBoth(t, func(t *testing.T, proto string) {
		o := &owner{trace: &trace{}}
		o.commit = func(int) bool {
			http.SetCookie(o.writer.Unwrap(), &http.Cookie{Name: "session", Value: "1"})
			return true
		}
		var hints []textproto.MIMEHeader
		resp, body, err := serve(t, proto, o, func(w http.ResponseWriter, r *http.Request) {
			for range 2 {
				w.Header().Set("Link", "</style.css>")
				w.Header().Set("Etag", "1")
				w.WriteHeader(http.StatusEarlyHints)
				if len(w.Header()) != 2 || w.Header().Get("Etag") != "1" {
					o.trace.add("the owner's changes are not taken back")
				}
				clear(w.Header())
			}
			o.trace.add("hinted")
			io.WriteString(w, "body")
		}, func(r *http.Request) {
			*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(_ int, h textproto.MIMEHeader) error { hints = append(hints, h); return nil },
			}))
		})
		require.NoError(t, err)
		require.Equal(t, "body", body)
		require.Equal(t, []string{"BeforeInformational", "BeforeInformational", "hinted", "Commit 200"}, o.trace.take())
		require.Len(t, hints, 2)
		for _, h := range hints {
			require.Equal(t, textproto.MIMEHeader{"Link": {"</style.css>"}, "Before-Informational": {"owner"}}, h)
		}
		require.Equal(t, []string{"session=1"}, resp.Header["Set-Cookie"])
		require.Equal(t, "owner", resp.Header.Get("Before-Header"))
		require.Empty(t, resp.Header.Get("Before-Informational"))
	})
}

// W1: 101 is final, unlike the statuses next to it.
func TestSwitchingProtocolsCommits(t *testing.T) {
	w, o := newFull()
	o.writer.WriteHeader(http.StatusSwitchingProtocols)
	require.Equal(t, []string{"Commit 101", "WriteHeader 101"}, w.take())
	require.True(t, o.writer.Started())

	o = &owner{trace: &trace{}}
	resp, _, err := serve(t, "HTTP/1.1", o, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "test")
		w.WriteHeader(http.StatusSwitchingProtocols)
	})
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	require.Equal(t, "owner", resp.Header.Get("Before-Header"))
}

// W1: after a failed attempt the handler may send another status, still with the
// owner's headers, and without a second Commit.
func TestAttemptThatSendsNothingStartsNothing(t *testing.T) {
	for name, attempt := range map[string]struct {
		do     func(t *testing.T, w http.ResponseWriter)
		before []string // hooks
	}{
		"ReadFrom of a source that fails at once": {func(t *testing.T, w http.ResponseWriter) {
			n, err := io.Copy(w, read("", errTest))
			require.Zero(t, n)
			require.ErrorIs(t, err, errTest)
		}, []string{"Commit 200"}},
		"ReadFrom of an empty source": {func(t *testing.T, w http.ResponseWriter) {
			n, err := io.Copy(w, read("", io.EOF))
			require.Zero(t, n)
			require.NoError(t, err)
		}, []string{"Commit 200"}},
		"FlushError of a writer that cannot flush": {func(t *testing.T, w http.ResponseWriter) {
			require.ErrorIs(t, http.NewResponseController(w).Flush(), http.ErrNotSupported)
		}, []string{"Commit 200"}},
		"Flush of a writer that cannot flush": {func(t *testing.T, w http.ResponseWriter) {
			w.(http.Flusher).Flush()
		}, []string{"Commit 200"}},
		"Hijack of a writer that cannot hijack": {func(t *testing.T, w http.ResponseWriter) {
			_, _, err := w.(http.Hijacker).Hijack()
			require.ErrorIs(t, err, http.ErrNotSupported)
		}, []string{"Commit 101", "BeforeHijack"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, o := newPlain()
			attempt.do(t, &o.writer)
			require.Equal(t, attempt.before, w.take())
			require.False(t, o.writer.Started())
			w.header.Del("Before-Header") // as http.ServeFile does for its errors
			http.Error(&o.writer, "no", http.StatusInternalServerError)
			require.Equal(t, []string{"BeforeHeader", "WriteHeader 500", "Write no\n"}, w.take())
			require.Equal(t, "owner", w.header.Get("Before-Header"))
			require.True(t, o.writer.Started())
		})
	}
	overBoth(t, func(t *testing.T, proto string) {
		resp, body, err := serve(t, proto, &owner{trace: &trace{}}, func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(w, read("", errTest)); err != nil {
				http.Error(w, "no", http.StatusBadGateway)
			}
		})
		require.NoError(t, err)
		require.Equal(t, http.StatusBadGateway, resp.StatusCode)
		require.Equal(t, "no\n", body)
		require.Equal(t, "owner", resp.Header.Get("Before-Header"))
	})
}

func TestReadFromThatFailsAfterItsFirstByteHasStarted(t *testing.T) {
	w, o := newPlain()
	n, err := io.Copy(&o.writer, read("body", errTest))
	require.EqualValues(t, 4, n)
	require.ErrorIs(t, err, errTest)
	require.Equal(t, []string{"Commit 200", "Write body"}, w.take())
	require.True(t, o.writer.Started())
}

// A bad status panics in net/http, which an outer handler may recover.
func TestStatusThatPanicsHasStarted(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		o := &owner{trace: &trace{}}
		_, _, err := serve(t, proto, o, func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if recover() == nil || !o.writer.Started() {
					t.Error("WriteHeader(1000) must panic, and count as started")
				}
			}()
			w.WriteHeader(1000)
		})
		require.NoError(t, err)
	})
}

func TestErrorsOfTheUnderlyingWriterAreReturned(t *testing.T) {
	plain, _ := newPlain()
	o := own(failingWriter{plain}, plain.trace)
	for _, s := range steps {
		if s.name != "WriteHeader" && s.name != "Flush" {
			require.ErrorIs(t, s.do(&o.writer), errTest, s.name)
		}
	}
}

type failingWriter struct{ plainWriter }

func (failingWriter) Write([]byte) (int, error) { return 0, errTest }
func (failingWriter) FlushError() error         { return errTest }
