package check

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// An access is a write or a read of a register. Each value is written at most once.
type access struct {
	op         *Op
	value      string
	write      bool
	start, end time.Duration
}

// A zone has what is known of the time of one value: some access had ended at first, and
// another began at last. If first < last, the register has that value all the time between.
type zone struct {
	first, last time.Duration
	lastOp      *Op
}

// register checks that writes and reads can be put in an order in which each read returns
// the value written last before it. It returns a request that shows that they cannot, or
// nil. Values that nobody has written were there at the beginning.
//
// With the values unique, all accesses to one value are together in that order. So the order
// of the values is fixed where one value's zone must come before another's, and it exists
// unless two must each come before the other (P. Gibbons and E. Korach, Testing Shared
// Memories, SIAM Journal on Computing 26, 1997, theorem 4.1).
func register(accesses []access) *Op {
	zones, written := map[string]*zone{}, map[string]time.Duration{}
	for _, a := range accesses {
		if a.write {
			written[a.value] = a.start
		}
	}
	for _, a := range accesses {
		z := zones[a.value]
		if z == nil {
			z = &zone{first: never, last: -never}
			zones[a.value] = z
			if _, ok := written[a.value]; !ok {
				z.first = -never
			}
		}
		if start, ok := written[a.value]; ok && a.end < start {
			return a.op // read before it was written
		}
		z.first = min(z.first, a.end)
		if a.start >= z.last {
			z.last, z.lastOp = a.start, a.op
		}
	}
	all := slices.SortedFunc(maps.Values(zones), func(a, b *zone) int { return cmp.Compare(a.first, b.first) })
	for n, a := range all {
		for _, b := range all[n+1:] {
			if b.first >= a.last {
				break // as for all that follow
			}
			if a.first < b.last {
				return a.lastOp
			}
		}
	}
	return nil
}

// checkValues checks each key of a session as a register. The values of a remembered session
// are deleted when it is revived, so they are not checked.
func (c *checker) checkValues(s *session) {
	if s.remembered {
		return
	}
	keys := map[string][]access{}
	for _, op := range s.ops {
		switch {
		case op.Kind == Write:
			keys[op.Key] = append(keys[op.Key], c.writeOf(op, op.Value, op.Outcome == Done))
		case op.Kind == Read && op.Outcome == Done:
			if op.Value != "" && !c.mayHave(s, c.writes[op.Value]) {
				c.report(OwnPages, op, "the value %q, which is not %s's", op.Value, s.user)
				continue
			}
			keys[op.Key] = append(keys[op.Key], c.readOf(op, op.Value))
		}
	}
	for key, accesses := range keys {
		if op := register(accesses); op != nil {
			c.report(NothingLost, op, "%s of session %s has the value %q again", key, s.id, op.Value)
		}
	}
}

// mayHave reports whether a session may have what a request wrote: a login may pass on the
// values of a session of the same user.
func (c *checker) mayHave(s *session, write *Op) bool {
	if write == nil {
		return false
	}
	t := c.tokens[write.Token]
	return t == nil || t.user == s.user
}

// checkTokens checks a session's current token as a register: logins write it, and whoever
// is let in has read it. While a remembered session is revived, it has two.
func (c *checker) checkTokens(s *session) {
	if s.remembered {
		return
	}
	var accesses []access
	for _, op := range s.logins {
		accesses = append(accesses, c.writeOf(op, op.NewToken, op.Outcome == Done))
	}
	for _, op := range s.ops {
		if op.letIn() {
			accesses = append(accesses, c.readOf(op, op.Token))
		}
	}
	if op := register(accesses); op != nil {
		c.report(OneToken, op, "a token of session %s is valid again, or beside another", s.id)
	}
}

func (c *checker) writeOf(op *Op, value string, confirmed bool) access {
	a := access{op, value, true, op.Start, op.End}
	if !confirmed {
		a.end = never
	}
	return a
}

func (c *checker) readOf(op *Op, value string) access {
	return access{op, value, false, op.Start - c.CacheFor, op.End}
}
