package check

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckAgreesWithPorcupine(t *testing.T) {
	right, compares := 0, 0
	const histories = 20000
	for seed := range uint64(histories) {
		history := randomHistory(rand.New(rand.NewPCG(seed, 0)))
		compared, disagreements := Compare(history, policy())
		require.LessOrEqual(t, compared, 1)
		compares += compared
		require.Empty(t, disagreements, "seed %d", seed)
		if len(Check(history, policy())) == 0 {
			right++
		}
	}
	require.Greater(t, compares, histories*9/10)
	require.Greater(t, min(right, histories-right), histories/10, "%d are right", right)
}

// randomHistory returns a history in which half of the responses are as from a register, and
// the others made up.
func randomHistory(r *rand.Rand) []Op {
	const latest = 40
	history := []Op{ada}
	type step struct {
		at int
		op Op
	}
	var steps []step
	for n := range 2 + r.IntN(8) {
		at := 2 + r.IntN(latest)
		o := op(max(2, at-r.IntN(8)), at+r.IntN(8), []Kind{Page, Read, Read, Write, Write, Logout}[r.IntN(6)], with("t"))
		o.Node = n
		if o.Kind == Write {
			o.Key, o.Value = "k", strconv.Itoa(n+1)
		}
		steps = append(steps, step{at, o})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return a.at - b.at })
	alive, stored := true, ""
	for _, s := range steps {
		o := s.op
		if unclear := r.IntN(8) == 0; unclear {
			o.Outcome = HungUp
			if r.IntN(2) == 0 {
				history = append(history, o)
				continue // without an effect
			}
		}
		switch {
		case o.Kind == Logout:
			alive = false
		case !alive:
			if o.Outcome == Done {
				o.Outcome = Out
			}
		case o.Kind == Write:
			stored = o.Value
		case o.Kind == Read:
			o.Key, o.Value = "k", stored
		}
		if r.IntN(12) == 0 && o.Outcome != HungUp && o.Kind != Logout { // a wrong response
			switch {
			case o.Kind == Read && o.Outcome == Done && r.IntN(2) == 0:
				o.Value = []string{"", "1", "2", "3"}[r.IntN(4)]
			case o.Outcome == Done:
				o.Outcome = Out
			default:
				o.Outcome = Done
				if o.Kind == Read {
					o.Key, o.Value = "k", stored
				}
			}
		}
		history = append(history, o)
	}
	return history
}
