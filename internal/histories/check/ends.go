package check

import (
	"slices"
	"time"
)

// recordEnds records what a request has ended, and what it may have ended.
func (c *checker) recordEnds(op *Op) {
	sent := c.tokens[op.Token]
	switch op.Kind {
	case Logout:
		if sent != nil {
			sent.enders = append(sent.enders, op)
			if end, ok := c.endOf(op, sent.session); ok && !sent.doubted {
				sent.session.endBy(end)
			}
		}
	case Login:
		c.recordLoginEnds(op, sent)
	case EndSession:
		if s := c.ids[op.Session]; s != nil && sent != nil && sent.user == s.user { // nobody ends another user's
			s.enders = append(s.enders, op)
			if end, ok := c.endOf(op, s); ok {
				s.endBy(end)
			}
		}
	case EndOthers:
		if sent != nil {
			c.recordUserEnds(op, sent.user, sent.session)
		}
	case EndUser:
		c.recordUserEnds(op, op.User, nil)
	}
	if sent != nil && op.Outcome == Out && !c.mayReturn(sent, op) {
		sent.ended = min(sent.ended, op.End) // who was sent away once is sent away from then on
	}
}

// endOf returns when a session has certainly ended that a request should have ended. What is
// done again spares the session if the user has logged in again since.
func (c *checker) endOf(op *Op, s *session) (at time.Duration, known bool) {
	if op.Outcome == Done {
		return op.End, true
	}
	at, known = c.doneAgainBy(op)
	for _, other := range slices.Concat(s.logins, s.ops) {
		known = known && (other.Kind != Login || other.End+c.Skew < op.Start)
	}
	return at, known
}

// doneAgainBy returns when what a request with a 503 has begun has certainly been completed,
// or undone. A failover may lose that.
func (c *checker) doneAgainBy(op *Op) (at time.Duration, known bool) {
	if op.Outcome != Unavailable || !op.Retried || c.EndsBy == nil {
		return 0, false
	}
	at, known = c.EndsBy(*op)
	for _, i := range c.Lost {
		known = known && (at < i.Start || i.End < op.Start)
	}
	return at, known
}

// recordLoginEnds: a login of the same user replaces the token that was sent, and any other
// login ends its session. A limit may end other sessions of the user.
func (c *checker) recordLoginEnds(op *Op, sent *token) {
	if sent != nil {
		sent.enders = append(sent.enders, op)
	}
	if op.Session != "" && op.Outcome != Done { // a doubted login
		c.ids[op.Session].enders = append(c.ids[op.Session].enders, op)
	}
	switch {
	case sent == nil || op.Outcome != Done:
	case op.Session == sent.id:
		sent.ended = min(sent.ended, op.End)
	case !sent.doubted:
		sent.session.endBy(op.End)
	}
	if max, refuse := c.Limit(op.User); max > 0 && !refuse {
		c.enders[op.User] = append(c.enders[op.User], op)
	}
}

// recordUserEnds: the sessions that began before the request have ended when it is done, or
// has been done again.
func (c *checker) recordUserEnds(op *Op, user string, except *session) {
	c.enders[user] = append(c.enders[user], op)
	for _, s := range c.users[user] {
		if s == except || s.login.End >= op.Start {
			continue
		}
		if end, ok := c.endOf(op, s); ok {
			s.endBy(end)
		}
	}
}

func (s *session) endBy(at time.Duration) { s.ended = min(s.ended, at) }

// mayHaveEnded reports whether a token may have become invalid by the end of a request: by
// another one that did not certainly come before the last moment at which it was valid.
func (c *checker) mayHaveEnded(t *token, by time.Duration) bool {
	valid := t.setBy.Start
	for _, op := range t.ops {
		if c.tokens[op.Token] == t && op.letIn() && op.Start <= by {
			valid = max(valid, op.Start-c.CacheFor)
		}
	}
	for _, enders := range [][]*Op{t.enders, c.enders[t.user]} {
		for _, op := range enders {
			switch {
			case op.Start > by || op.latest() < valid:
			case op.Outcome == Done && op.Session == t.id && op.NewToken != "" && c.tokens[op.NewToken] == t: // it has set the token
			case op.Kind == EndOthers && c.tokens[op.Token].session == t.session:
			default:
				return true
			}
		}
	}
	return false
}

func (c *checker) checkEnds() {
	lastSeen := map[*session]time.Duration{}
	for n := range c.ops {
		op := &c.ops[n]
		t := c.tokens[op.Token]
		switch {
		case t == nil:
		case op.letIn():
			lastSeen[t.session] = max(lastSeen[t.session], op.Start)
			if end := min(t.session.ended, t.ended); end < never && op.Start > end+c.CacheFor {
				c.report(EndIsFinal, op, "let in %v after the end of session %s of %s", op.Start-end, t.id, t.user)
			}
		case op.Outcome == Out && !c.mayHaveEnded(t, op.End) && !c.mayReturn(t, op) && !c.mayExpire(t, op, lastSeen[t.session]):
			c.report(NoEarlyEnd, op, "sent away (%s) from session %s of %s", op.Reason, t.id, t.user)
		}
	}
}

// mayReturn reports whether a request may be sent away although its session goes on. That
// of a remembered session goes on under another token, from the request that revives it;
// the token before it is recognized only for a while. If nobody got the token, because the
// response was lost or became a refusal, the old one is taken for a copy in the end.
func (c *checker) mayReturn(t *token, op *Op) bool {
	if !t.remembered {
		return false
	}
	theft := op.Reason == "theft_suspected"
	if op.Reason == "remembered" || theft && c.TheftSuspected {
		return true
	}
	for _, other := range t.ops {
		revived := other.NewToken != "" || other.Outcome == Out
		if other != op && other.Start <= op.End && (!other.Outcome.clear() || revived && !theft) {
			return true
		}
	}
	return false
}

// mayExpire reports whether the session may have idled out. Activity is recorded once in
// 1/30 of the idle timeout.
func (c *checker) mayExpire(t *token, op *Op, lastSeen time.Duration) bool {
	lastSeen = max(lastSeen, t.login.Start)
	return !t.remembered && op.End-lastSeen >= c.IdleTimeout-c.IdleTimeout/30-c.Skew
}
