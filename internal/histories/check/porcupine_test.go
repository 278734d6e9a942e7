package check

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// Two checkers that know nothing of each other must agree on short histories of one session
// with one value: this package's rules, and porcupine, which tries every order of the
// requests. To porcupine the session is a register that is deleted once.
func TestCheckAgreesWithPorcupine(t *testing.T) {
	verdicts := map[bool]int{}
	for seed := range uint64(20000) {
		history := randomHistory(rand.New(rand.NewPCG(seed, 0)))
		found := Check(history, policy())
		linearizable := porcupine.CheckOperations(sessionModel, operations(history))
		require.Equal(t, linearizable, len(found) == 0, "seed %d: %v\n%v", seed, found, history)
		verdicts[linearizable]++
	}
	require.Greater(t, min(verdicts[true], verdicts[false]), 2000, "%v", verdicts)
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

// A register is what a session's value is, and whether there is a session.
type registerState struct {
	alive bool
	value string
}

var sessionModel = porcupine.Model{
	Init: func() any { return registerState{alive: true} },
	Step: func(state, input, _ any) (bool, any) {
		s, o := state.(registerState), input.(Op)
		unclear := !o.Outcome.clear()
		switch {
		case o.Kind == Logout:
			return true, registerState{}
		case o.Outcome == Out:
			return !s.alive, s
		case !s.alive:
			return unclear, s
		case o.Kind == Write:
			return true, registerState{true, o.Value}
		case o.Kind == Read:
			return unclear || s.value == o.Value, s
		}
		return true, s
	},
}

// operations returns a history for porcupine, without the login. A request without a clear
// response may have its effect at any later time. So may a write that was refused: the
// value may have been saved before the session ended.
func operations(history []Op) (all []porcupine.Operation) {
	for n, o := range history[1:] {
		if o.Kind == Write && o.Outcome == Out {
			page := o
			page.Kind, o.Outcome = Page, HungUp
			all = append(all, operations([]Op{ada, page})...)
		}
		end := int64(o.End)
		if !o.Outcome.clear() {
			end = int64(time.Hour)
		}
		all = append(all, porcupine.Operation{ClientId: n, Input: o, Call: int64(o.Start), Return: end})
	}
	return all
}
