package histories

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/histories/check"
)

// The waits between a node's attempts to do again what has failed: see internal/retry.
const (
	minDelay = time.Second // the first
	maxDelay = 15 * time.Second
)

// A trouble is a time in which requests fail, with the time after it until all that failed
// has been done again.
type trouble struct{ from, to, settled time.Duration }

// attempt is how long a node's attempt takes at most: three calls.
const attempt = 3 * backendTimeout

// settle returns t with the moment at which all has been done again: once the attempt under
// way has failed, a wait, and another attempt. Each wait is twice as long as the one before,
// so it takes as long as all of them together, and minDelay.
func (t trouble) settle() trouble {
	failed := t.to + attempt
	t.settled = failed + min(failed-t.from+minDelay, maxDelay) + attempt
	return t
}

// troubles returns those of a history, by time. What begins before all has settled belongs to
// the same trouble.
func troubles(history []check.Op, happened []occurrence) (all []trouble) {
	var times []trouble
	for _, o := range happened {
		times = append(times, trouble{from: o.from, to: o.to})
	}
	for _, op := range history {
		if op.Outcome == check.Unavailable {
			times = append(times, trouble{from: op.Start, to: op.End})
		}
	}
	slices.SortFunc(times, func(a, b trouble) int { return cmp.Compare(a.from, b.from) })
	for _, t := range times {
		t = t.settle()
		if last := len(all) - 1; last >= 0 && t.from <= all[last].settled {
			t.from, t.to = all[last].from, max(t.to, all[last].to)
			all[last] = t.settle()
		} else {
			all = append(all, t)
		}
	}
	return all
}

// endsBy returns a [check.Policy.EndsBy]: a node has done again what failed when the trouble
// in which it failed has settled, unless it was killed before.
func endsBy(troubles []trouble, happened []occurrence) func(check.Op) (time.Duration, bool) {
	return func(op check.Op) (time.Duration, bool) {
		n, found := slices.BinarySearchFunc(troubles, op.End, func(t trouble, at time.Duration) int { return cmp.Compare(t.to, at) })
		if !found && n == len(troubles) {
			return 0, false
		}
		settled := troubles[n].settled
		for _, o := range happened {
			if o.kills == op.Node+1 && op.Start <= o.to && o.from <= settled {
				return 0, false
			}
		}
		return settled, true
	}
}

// awaitEnds sends the tokens that nodes go on trying to end until none is let in, or all must
// have ended. On a machine so busy that requests go on failing it gives up.
func (l *load) awaitEnds(ctx context.Context, happened []occurrence) {
	r, b := rand.New(rand.NewPCG(l.seed, uint64(l.now()))), &browser{load: l, patient: true}
	giveUp := l.now() + time.Minute
	for overdue := false; l.now() < giveUp; pause(ctx, 100*time.Millisecond) {
		l.mu.Lock()
		tokens, all := l.unended, troubles(l.history, happened)
		l.unended = nil
		l.mu.Unlock()
		if len(tokens) == 0 || overdue || ctx.Err() != nil {
			return
		}
		overdue = l.now() > all[len(all)-1].settled
		for _, token := range tokens {
			if op := b.send(ctx, r, check.Op{Kind: check.Page, Token: token}); op.Outcome != check.Out {
				b.noteUnended(token)
			}
		}
	}
}
