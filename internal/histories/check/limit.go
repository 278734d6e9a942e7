package check

import (
	"cmp"
	"slices"
	"time"
)

func (c *checker) checkLimit(user string) {
	max, refuse := c.Limit(user)
	if max == 0 {
		return
	}
	c.checkMaximum(user, max)
	if !refuse {
		return
	}
	for _, op := range c.logins[user] {
		if op.Outcome == Full {
			if n := c.possiblyAlive(user, op); n < max {
				c.report(NoLockout, op, "%s has at most %d sessions", user, n)
			}
		}
	}
}

// checkMaximum counts the sessions that exist at the same time: each from the response of
// its login to the last request that was let in.
func (c *checker) checkMaximum(user string, max int) {
	type change struct {
		at   time.Duration
		by   int
		last *Op
	}
	var changes []change
	for _, s := range c.users[user] {
		last := s.login
		for _, op := range s.ops {
			if op.letIn() && op.Start > last.Start {
				last = op
			}
		}
		if until := last.Start - c.CacheFor; until > s.login.End {
			changes = append(changes, change{s.login.End, 1, last}, change{until, -1, last})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
	n := 0
	for _, ch := range changes {
		if n += ch.by; n > max {
			c.report(LimitHolds, ch.last, "%s has %d sessions", user, n)
			return
		}
	}
}

// possiblyAlive counts the sessions that may exist while a login runs. A login without a
// clear response may have left one, until it is undone.
func (c *checker) possiblyAlive(user string, during *Op) (n int) {
	for _, s := range c.users[user] {
		if s.login.Start <= during.End && during.Start <= s.ended {
			n++
		}
	}
	for _, op := range c.logins[user] {
		if by, ok := c.doneAgainBy(op); !op.Outcome.clear() && op.Start <= during.End && (!ok || by >= during.Start) {
			n++
		}
	}
	return n
}
