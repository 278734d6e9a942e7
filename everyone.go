package sessionguard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/owner"
	"github.com/sessionguard-go/sessionguard/internal/retry"
	"github.com/sessionguard-go/sessionguard/store"
)

// errNoLister is returned where the backend would have to list all owners.
var errNoLister = fmt.Errorf("%w: Config.Backend does not implement store.Lister", errors.ErrUnsupported)

// AllSessions yields the live sessions of all users, each with its UserID, in no
// particular order. It reads a few at a time from the backend, so that a million sessions
// take hardly more memory than a few. It yields every session that lives all the while
// once. Sessions that begin or end meanwhile are yielded once or not at all. None is
// Current.
//
// If there is an error, it is the last that AllSessions yields: [ErrUnavailable]
// (wrapped), or [errors.ErrUnsupported] (wrapped) if Config.Backend is no [store.Lister].
// The loop may end the sessions that it receives.
func (g *core) AllSessions(ctx context.Context) iter.Seq2[Session, error] {
	return func(yield func(Session, error) bool) {
		for rec, err := range g.everyones(ctx) {
			now := store.TimeOf(time.Now())
			switch {
			case err != nil:
				yield(Session{}, err)
				return
			case g.isListed(rec, now) && !yield(g.sessionOf(rec, now), nil):
				return
			}
		}
	}
}

// CountSessions returns how many logins there are. Acting sessions do not count, though
// AllSessions yields them. Sessions that have just timed out may count for up to
// [store.Grace]. The errors are those of AllSessions.
func (g *core) CountSessions(ctx context.Context) (int, error) {
	if g.lister == nil {
		return 0, errNoLister
	}
	n, err := g.lister.Count(ctx, g.owners.Realm(owner.Counted))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return n, nil
}

// EndAll ends the sessions of all users on every node, the caller's included: after a
// breach, or when a deployment requires it (OWASP ASVS 7.4.5). It also ends streams
// ([Guard.CancelOnEnd]), sessions that [Remember] would revive, and pending logins. The
// reason is [store.ReasonEnded]. The cookies of visitors stay. Everybody can log in again
// at once. To keep out anyone who has stolen passwords, change the users first.
//
// EndAll ends every session that began before the call, in pages of [store.MaxPage],
// while others go on logging in. A login during the call may end as well, or complete.
// EndAll completes even if ctx ends, and emits the event of each session. That may take
// long. A handler then calls [Guard.End], so that its own response is sent and deletes
// the cookie: otherwise its session has ended meanwhile, and its request may be refused.
//
// It returns [errors.ErrUnsupported] (wrapped) if Config.Backend is no [store.Lister],
// [ErrInCallback], or [ErrUnavailable] (wrapped) if only some sessions have ended.
// Another call ends the rest. The guard goes on trying as after a [Guard.Logout], but
// spares logins after this call.
func (g *core) EndAll(ctx context.Context) error {
	if g.lister == nil {
		return errNoLister
	}
	_, actor, err := g.endingActor(ctx, "")
	if err != nil {
		return err
	}
	err = g.endEveryone(ctx, actor, func(store.Record) bool { return true })
	if err != nil {
		failed := store.TimeOf(time.Now()) // so that of two calls the later one's attempts end more
		g.unfinished.Add(everyone{}, retry.NoShare, err, func(ctx context.Context) error {
			return g.endEveryone(ctx, actor, func(rec store.Record) bool { return rec.Authenticated <= failed })
		})
	}
	return err
}

// everyone is the key of EndAll among what is tried again.
type everyone struct{}

// endEveryone ends the sessions of all users that match. How many there are is no reason to
// give up, but a backend that hangs is.
func (c *core) endEveryone(ctx context.Context, actor string, match func(store.Record) bool) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	patience := time.Duration(listTimeout)
	if c.local { // it cannot hang, but looks at the sessions of all guards
		patience = math.MaxInt64
	}
	hangs := time.AfterFunc(patience, cancel)
	defer hangs.Stop()
	var ends []store.End
	var failed error
	failures := 0 // pages in a row
	for rec, err := range c.everyones(ctx) {
		hangs.Stop() // events may take longer
		failed = cmp.Or(failed, err)
		if err == nil && match(rec) {
			ends = append(ends, store.End{Owner: rec.Owner, ID: rec.ID, Reason: store.ReasonEnded})
		}
		if len(ends) == store.MaxPage {
			n, err := c.endPage(ctx, ends, actor)
			failed = cmp.Or(failed, err)
			if failures++; err == nil || n > 0 { // one that cannot end, or a replica that lags, saves no others
				failures = 0
			}
			if failures == maxFailedPages {
				return failed
			}
			ends = ends[:0]
		}
		hangs.Reset(patience)
	}
	_, err := c.endPage(ctx, ends, actor)
	return cmp.Or(failed, err)
}

const (
	// listTimeout is how long a backend may look for the next session. Where there are few, that
	// may be many round trips: at least one for each group, and more where many have expired.
	listTimeout = 2 * time.Minute
	// maxFailedPages is after how many a backend is taken to be down.
	maxFailedPages = 3
)

// endPage ends sessions, and returns how many have ended.
func (c *core) endPage(ctx context.Context, ends []store.End, actor string) (int, error) {
	d, cancel := detached(ctx)
	defer cancel()
	ended, err := c.endByID(d, ends)
	c.emitEnded(ctx, ended, actor)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return len(ended), err
}

// everyones yields the sessions of all users of this guard, also dead ones and logins that
// lack a factor, without their values. An error is the last: sessions of one kind that cannot be
// read, such as a corrupt one, hide none of the other.
func (c *core) everyones(ctx context.Context) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		if c.lister == nil {
			yield(store.Record{}, errNoLister)
			return
		}
		// A login that lacks a factor may be completed meanwhile, and then is of the first kind.
		var failed error
		for _, kind := range slices.Backward(owner.Kinds[:]) {
			for rec, err := range c.lister.All(ctx, c.owners.Realm(kind)) {
				if err != nil {
					failed = cmp.Or(failed, err)
					break
				}
				if !yield(rec, nil) {
					return
				}
			}
		}
		if failed != nil {
			yield(store.Record{}, fmt.Errorf("%w: %w", ErrUnavailable, failed))
		}
	}
}

// Stats are counts of this process, for metrics. [Guard.CountSessions] counts what all
// nodes share.
type Stats struct {
	OpenStreams    int // responses behind [Guard.CancelOnEnd] that have not ended
	UnfinishedEnds int // ends of sessions that have failed and are tried again, as after a [Guard.Logout]
}

// Stats returns the counts. It does not call the backend.
func (g *core) Stats() Stats {
	return Stats{OpenStreams: g.streams.Len(), UnfinishedEnds: g.unfinished.Len() + g.undos.Len()}
}
