package check

import (
	"slices"

	"github.com/anishathalye/porcupine"
)

// Compare checks short sessions by two checkers that know nothing of each other: the rules
// of this package, and porcupine, which tries every order of the requests. It returns how
// many it has compared, and those on which the two disagree.
//
// To porcupine a session is a register that is deleted once. So it leaves out sessions that
// are remembered or have had more than one login, and policies under which a response may
// be old, and takes an end that is Retried for one that may never come. It takes long with
// many requests.
func Compare(history []Op, p Policy) (compared int, disagreements []Violation) {
	if p.CacheFor > 0 || len(history) > maxCompared {
		return 0, nil
	}
	p.EndsBy = nil
	c := newChecker(doubt(history, p), p)
	c.check()
	for _, s := range c.all {
		ops, ok := c.modelled(s)
		if !ok {
			continue
		}
		compared++
		violated := slices.ContainsFunc(c.found, func(v violationAt) bool {
			return v.Session == s.id && v.Rule != LimitHolds && v.Rule != GetsResponse
		})
		if linearizable(ops) == violated {
			disagreements = append(disagreements, Violation{Session: s.id, Text: "porcupine disagrees", Related: ops})
		}
	}
	return compared, disagreements
}

const (
	maxCompared = 30000 // requests of a history
	maxModelled = 30    // requests of a session
	maxUnclear  = 6     // of them without a clear response: porcupine tries each at every time
)

// modelled returns the requests of a session as the model knows them: what may end it is a
// Logout.
func (c *checker) modelled(s *session) (ops []Op, ok bool) {
	if s.remembered || len(s.logins) > 1 || s.login.Outcome != Done {
		return nil, false
	}
	for n := range c.ops {
		op := c.ops[n]
		sent := c.tokens[op.Token]
		mine := sent != nil && sent.session == s
		switch {
		case mine && (op.Kind == Login || op.letIn() && op.User != s.user || op.Kind == Read && op.Outcome == Done && c.isForeign(s, op.Value)):
			return nil, false
		case !mine || op.Kind == EndUser: // which needs no session
		case op.Outcome.clear() || op.Kind == Write || op.Kind == Logout: // the others have no effect
			ops = append(ops, op)
		}
		ends, certain := c.ends(&op, s, sent)
		if ends && op.latest() >= s.login.Start {
			op.Kind = mayEnd
			if certain {
				op.Kind = Logout
			}
			ops = append(ops, op)
		}
	}
	unclear := 0
	for _, op := range ops {
		if !op.Outcome.clear() {
			unclear++
		}
	}
	return ops, len(ops) <= maxModelled && unclear <= maxUnclear
}

// isForeign reports whether a value was written with another session.
func (c *checker) isForeign(s *session, value string) bool {
	w := c.writes[value]
	return w != nil && (c.tokens[w.Token] == nil || c.tokens[w.Token].session != s)
}

// ends reports whether a request of another session may end s, and whether it certainly has.
func (c *checker) ends(op *Op, s *session, sent *token) (may, certain bool) {
	before := op.Outcome == Done && s.login.End < op.Start
	switch op.Kind {
	case EndSession:
		return op.Session == s.id && sent != nil && sent.user == s.user, op.Outcome == Done
	case EndOthers:
		return sent != nil && sent.user == s.user && sent.session != s, before
	case EndUser:
		return op.User == s.user, before
	case Login:
		max, refuse := c.Limit(op.User)
		return op.User == s.user && max > 0 && !refuse && op.Session != s.id, false
	}
	return false, false
}

// linearizable reports whether the requests of a session have an order that explains the
// responses, for each key.
func linearizable(ops []Op) bool {
	keys := []string{""}
	for _, op := range ops {
		if !slices.Contains(keys, op.Key) {
			keys = append(keys, op.Key)
		}
	}
	for _, key := range keys {
		var all []porcupine.Operation
		for _, op := range ops {
			if op.Key != key && (op.Kind == Read || op.Kind == Write) {
				op.Kind = Page
			}
			all = append(all, operations(op)...)
		}
		if !porcupine.CheckOperations(sessionModel, all) {
			return false
		}
	}
	return true
}

// operations returns what porcupine needs of a request. Without a clear response it may have
// its effect at any later time. So may a write that was refused: the value may have been
// saved before the session ended.
func operations(op Op) (all []porcupine.Operation) {
	if op.Kind == Write && op.Outcome == Out {
		refused := op
		refused.Kind, op.Outcome = Page, HungUp
		all = operations(refused)
	}
	end := min(op.latest(), 1<<62)
	return append(all, porcupine.Operation{Input: op, Call: int64(op.Start), Return: int64(end)})
}

// A registerState is a session's value for one key, or that the session has ended.
type registerState struct {
	ended bool
	value string
}

// mayEnd is what a request is to the model that may have ended the session or not.
const mayEnd Kind = "may end"

var sessionModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{registerState{}} },
	Step: func(state, input, _ any) []any {
		s, op := state.(registerState), input.(Op)
		ended := registerState{ended: true}
		switch {
		case op.Kind == Logout:
			return []any{ended}
		case op.Kind == mayEnd:
			return []any{s, ended}
		case op.Outcome == Out != s.ended && op.Outcome.clear():
			return nil
		case s.ended:
			return []any{s}
		case op.Kind == Write:
			return []any{registerState{value: op.Value}}
		case op.Kind == Read && op.Outcome == Done && s.value != op.Value:
			return nil
		}
		return []any{s}
	},
}).ToModel()
