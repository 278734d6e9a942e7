package histories

import (
	"context"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/histories/check"
)

var (
	runFor = flag.Duration("for", 0, "how long each configuration runs; 0: until each fault has happened once")
	seed   = flag.Uint64("seed", 1, "of what the browsers do; when it happens is up to the machine")

	tableFile = flag.String("table", "", "write the table into this `file`, between its markers")
)

// A setup is a fleet, what fails, and what is promised.
type setup struct {
	fleet  *fleet
	faults []fault
	policy check.Policy
}

// A fault begins, lasts, and ends.
type fault struct {
	name       string
	begin, end func() error
	lasts      time.Duration
	// kills is the node that is killed, from 1, with what it would have tried again.
	kills int
	// loses is set for a failover to a replica that lags behind: what was confirmed from
	// the beginning to the end of the fault may be lost.
	loses bool
}

// An occurrence is a fault that has happened.
type occurrence struct {
	fault
	from, to time.Duration
}

// calm is the time before a fault and after it.
const calm = time.Second

// run lets browsers use a fleet while faults happen, and returns what was recorded.
func (s setup) run(t *testing.T, seed uint64, atLeast time.Duration) (history []check.Op, happened []occurrence) {
	t.Helper()
	l := newLoad(s.fleet, seed)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l.start(ctx)
	pause(ctx, calm)
	for n := 0; n < len(s.faults) || l.now() < atLeast; n++ {
		if len(s.faults) == 0 {
			pause(ctx, atLeast-l.now())
			break
		}
		f := s.faults[n%len(s.faults)]
		o := occurrence{fault: f, from: l.now()}
		require.NoError(t, f.begin(), f.name)
		pause(ctx, f.lasts)
		require.NoError(t, f.end(), f.name)
		o.to = l.now()
		happened = append(happened, o)
		l.sendRetired(ctx, l.retiredSince(o.from))
		pause(ctx, calm)
		if (n+1)%len(s.faults) == 0 {
			l.awaitEnds(ctx, happened)
		}
	}
	stop()
	l.running.Wait()
	l.sendRetired(t.Context(), l.retiredSince(0))
	return l.history, happened
}

// retiredSince returns the tokens that may have ended since a moment, at most 3000.
func (l *load) retiredSince(from time.Duration) (tokens []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := len(l.retired) - 1; n >= 0 && l.retired[n].at >= from && len(tokens) < 3000; n-- {
		tokens = append(tokens, l.retired[n].token)
	}
	return tokens
}

// sendRetired sends tokens that may have ended once more, now that nothing fails.
func (l *load) sendRetired(ctx context.Context, tokens []string) {
	work := make(chan string)
	var workers sync.WaitGroup
	for n := range uint64(4) {
		workers.Go(func() {
			r, b := rand.New(rand.NewPCG(l.seed, n)), &browser{load: l}
			for token := range work {
				b.send(ctx, r, check.Op{Kind: check.Page, Token: token})
			}
		})
	}
	for _, token := range tokens {
		work <- token
	}
	close(work)
	workers.Wait()
}

// policyFor completes the policy of a run with what depends on when its faults happened.
func (s setup) policyFor(history []check.Op, happened []occurrence) check.Policy {
	p := s.policy
	p.IdleTimeout, p.Limit = idleTimeout, limitOf
	p.EndsBy = endsBy(troubles(history, happened), happened)
	for _, o := range happened {
		if o.loses {
			p.Lost = append(p.Lost, check.Interval{Start: o.from - 50*time.Millisecond, End: o.to})
		}
	}
	return p
}

func TestHistories(t *testing.T) {
	var mu sync.Mutex
	var all results
	t.Cleanup(func() { // after the parallel ones
		if *tableFile != "" && !t.Failed() {
			require.NoError(t, all.write(*tableFile))
		}
	})
	for _, c := range configurations {
		t.Run(c.name, func(t *testing.T) {
			if !c.alone {
				t.Parallel()
			}
			s := c.start(t)
			history, happened := s.run(t, *seed, *runFor)
			p := s.policyFor(history, happened)
			found := check.Check(history, p)
			r := summarize(c.name, history, happened, p, found)
			mu.Lock()
			all = append(all, r)
			mu.Unlock()
			t.Log(r)
			for _, o := range happened {
				t.Logf("%12v–%12v %s", o.from, o.to, o.name)
			}
			reportAll(t, found)
			require.Greater(t, r.operations, 300, "too few requests to show anything")
			requireAgreement(t, history, p)
		})
	}
}

// requireAgreement checks that another checker comes to the same result.
func requireAgreement(t *testing.T, history []check.Op, p check.Policy) {
	t.Helper()
	compared, disagreements := check.Compare(history, p)
	t.Logf("porcupine has checked %d sessions", compared)
	reportAll(t, disagreements)
}

func reportAll(t *testing.T, violations []check.Violation) {
	t.Helper()
	for _, v := range violations[:min(len(violations), 5)] {
		t.Error(v)
		for _, op := range v.Related[max(0, len(v.Related)-50):] {
			t.Log(op)
		}
	}
}

func TestEveryMistakeIsFound(t *testing.T) {
	for m, expected := range mistakes {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			s := redisSetup(t, nodeConfig{Mistake: m})
			if !expected.faults {
				s.faults = nil
			} else {
				s.faults = s.faults[2:3]
			}
			var seen map[check.Rule]int
			for round := range uint64(8) {
				history, happened := s.run(t, *seed+round, 1500*time.Millisecond)
				seen = map[check.Rule]int{}
				p := s.policyFor(history, happened)
				for _, v := range check.Check(history, p) {
					seen[v.Rule]++
				}
				requireAgreement(t, history, p)
				if seen[expected.rule] > 0 {
					t.Log(seen)
					return
				}
			}
			t.Errorf("not found: %v", seen)
		})
	}
}
