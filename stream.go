package sessionguard

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/stream"
	"github.com/sessionguard-go/sessionguard/store"
)

// ErrSessionEnded is the cause of a context that [Guard.CancelOnEnd] has cancelled.
var ErrSessionEnded = errors.New("sessionguard: the session has ended")

// An EndedError is an [ErrSessionEnded] that says why.
type SessionEndedError struct{ Reason store.Reason }

func (e *SessionEndedError) Error() string { return ErrSessionEnded.Error() + ": " + string(e.Reason) }

func (e *SessionEndedError) Unwrap() error { return ErrSessionEnded }

// CancelOnEnd cuts an answer that takes long, such as server-sent events or a
// WebSocket, when the session that it was begun with ends: by a logout, from
// elsewhere, or with its timeouts.
//
//	mux.Handle("GET /events", guard.Passive(guard.RequireLogin(guard.CancelOnEnd(events))))
//
// The context of next's request is then cancelled; [context.Cause] is an
// [*SessionEndedError] with the reason, for a last word to the client. A second later
// nothing can be written any more, whatever next does: its answer is aborted, and a
// connection that it has hijacked is closed, also if it has returned since. A
// middleware around the guard that buffers answers must not send half of one, and
// one whose ResponseWriter has no Unwrap method keeps a write from being interrupted
// that waits for its client.
//
// It happens at once for what ends in this process, and on other nodes as soon as
// the backend tells ([store.Watcher]), else within 30 seconds. If the backend cannot
// be asked when the session should end, the cause is [ErrUnavailable]. A role that is
// taken away, another SessionStamp, or a user that is deactivated without
// [Guard.EndUser] cuts nothing until the session is next used.
//
// A stream is one request: it keeps the session alive once, at its start, and not
// even that behind [Guard.Passive]. Only routes with CancelOnEnd pay for it, with one
// question to the backend at the start and one in 5 minutes, or in 30 seconds where the
// backend does not tell. Where nobody is logged in, next runs as it
// is.
func (g *core) CancelOnEnd(next http.Handler) http.Handler {
	return g.wrap(func(st *request, w http.ResponseWriter, r *http.Request) {
		l := st.lock()
		err := l.look(r.Context())
		rec, anybody := l.rec, l.user != nil
		l.unlock()
		if errors.Is(err, ErrUnavailable) {
			g.refuse(st, w, r, unavailable)
			return
		}
		if !anybody {
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		l = st.lock()
		if p := l.pending(); p.cuts == nil {
			p.cuts = map[<-chan struct{}]<-chan struct{}{}
		}
		l.slow.cuts[ctx.Done()] = r.Context().Done()
		l.unlock()
		s, err := g.streams.Open(r.Context(), rec, st.writer.Stopper(), cancel)
		if err != nil {
			l = st.lock()
			_ = l.fail(err)
			l.unlock()
			g.refuse(st, w, r, unavailable)
			return
		}
		defer s.Close()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// newStreams makes the registry of the guard's streams.
func (c *core) newStreams() *stream.Registry {
	watcher, _ := c.backend.(store.Watcher)
	return stream.New(stream.Config{
		Watcher:     watcher,
		Lookup:      c.lookup,
		Cause:       func(reason store.Reason) error { return &SessionEndedError{reason} },
		Unavailable: ErrUnavailable,
		Stopped:     ErrSessionEnded,
		Timeout:     settleTimeout,
		Logger:      c.log,
	})
}

// lookup finds a live session wherever it has moved. It deletes nothing, since a
// request that was accepted in time may be under way.
func (c *core) lookup(ctx context.Context, key store.Key, owner, id string) (store.Record, error) {
	rec, err := c.follow(ctx, key)
	var ended *store.EndedError
	if errors.Is(err, store.ErrNotFound) && !errors.As(err, &ended) {
		rec, err = c.byID(ctx, owner, id) // it may have moved so long ago that nobody remembers
	}
	if err != nil {
		return rec, err
	}
	now := store.TimeOf(time.Now())
	reason, over := expired(rec, now)
	if over && reason == store.ReasonIdle && now < rec.GoneAt() {
		reason = store.ReasonRemembered
	}
	if over {
		err = &store.EndedError{Reason: reason}
	}
	return rec, err
}
