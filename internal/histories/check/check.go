package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A Violation is a promise that the history shows broken.
type Violation struct {
	Rule    Rule
	Session string // whose, if it is one session's
	Text    string
	// Related are, of the first violations, the requests until then that used the session or
	// may have ended it, by Start.
	Related []Op
}

func (v Violation) String() string { return string(v.Rule) + ": " + v.Text }

// A Rule is what every history must keep.
type Rule string

// The rules.
const (
	EndIsFinal   Rule = "what begins after a session's end is not let in"
	NoEarlyEnd   Rule = "nobody is sent away whose session cannot have ended"
	OwnPages     Rule = "a page is for the user who logged in, and its values are that user's"
	NothingLost  Rule = "a value that was confirmed or read is not lost"
	OneToken     Rule = "a session has one token at a time"
	LimitHolds   Rule = "no user has more sessions than the limit"
	NoLockout    Rule = "a login is refused only at the limit"
	GetsResponse Rule = "every request gets a response"
)

// Check returns the violations of a history, by the time of the response that shows them.
func Check(history []Op, p Policy) []Violation {
	c := newChecker(doubt(history, p), p)
	c.check()
	slices.SortStableFunc(c.found, func(a, b violationAt) int { return cmp.Compare(a.at, b.at) })
	violations := make([]Violation, len(c.found))
	for n, v := range c.found {
		violations[n] = v.Violation
		if s := c.ids[v.Session]; s != nil && n < maxExplained {
			violations[n].Related = c.related(s, v.at)
		}
	}
	return violations
}

const maxExplained = 10 // violations that get their Related

func (c *checker) check() {
	for n := range c.ops {
		c.recordEnds(&c.ops[n])
	}
	c.checkResponses()
	c.checkEnds()
	for _, s := range c.all {
		c.checkValues(s)
		c.checkTokens(s)
	}
	for user := range c.users {
		c.checkLimit(user)
	}
}

type checker struct {
	Policy
	ops    []Op // by End
	all    []*session
	ids    map[string]*session   // by ID
	tokens map[string]*token     // those that a response has set
	users  map[string][]*session // by user, in the order of the logins
	logins map[string][]*Op      // by user
	enders map[string][]*Op      // by user: all that may have ended any of the sessions
	writes map[string]*Op        // by value: each is written once
	found  []violationAt
}

type violationAt struct {
	Violation
	at time.Duration
}

// A session is one that the response to a login has named.
type session struct {
	id, user   string
	login      *Op   // the first
	logins     []*Op // all that named it
	ops        []*Op // all that sent one of its tokens
	enders     []*Op // all that may have ended it, without those of checker.enders
	remembered bool

	ended time.Duration // when it has ended, at the latest
}

// A token is the value of a session cookie.
type token struct {
	*session
	setBy   *Op
	doubted bool          // a failover may have lost that it is the session's
	ended   time.Duration // when it stopped to be its session's, at the latest
}

func newToken(s *session, setBy *Op) *token {
	return &token{session: s, setBy: setBy, doubted: setBy.Outcome != Done, ended: never}
}

func newChecker(history []Op, p Policy) *checker {
	c := &checker{
		Policy: p, ops: history, ids: map[string]*session{}, tokens: map[string]*token{},
		users: map[string][]*session{}, logins: map[string][]*Op{}, enders: map[string][]*Op{}, writes: map[string]*Op{},
	}
	// Nobody can send a token before the response that set it.
	slices.SortStableFunc(c.ops, func(a, b Op) int { return cmp.Compare(a.End, b.End) })
	for n := range c.ops {
		op := &c.ops[n]
		sent := c.tokens[op.Token]
		if sent != nil {
			sent.ops = append(sent.ops, op)
		}
		switch {
		case op.Kind == Login:
			c.logins[op.User] = append(c.logins[op.User], op)
			if op.Session != "" {
				c.recordLogin(op)
			}
		case op.Kind == Write:
			c.writes[op.Value] = op
		}
		if sent != nil && op.NewToken != "" && c.tokens[op.NewToken] == nil { // a revival
			c.tokens[op.NewToken] = newToken(sent.session, op)
		}
	}
	return c
}

func (c *checker) recordLogin(op *Op) {
	s := c.ids[op.Session]
	if s == nil {
		s = &session{id: op.Session, user: op.User, login: op, ended: never}
		c.ids[s.id] = s
		c.all = append(c.all, s)
		c.users[s.user] = append(c.users[s.user], s)
	}
	s.logins = append(s.logins, op)
	s.remembered = s.remembered || op.Remembered
	c.tokens[op.NewToken] = newToken(s, op)
}

func (c *checker) report(rule Rule, op *Op, format string, args ...any) {
	text := fmt.Sprintf("%s at node %d, %v–%v: %s", op.Kind, op.Node, op.Start.Round(time.Microsecond), op.End.Round(time.Microsecond), fmt.Sprintf(format, args...))
	v := Violation{Rule: rule, Text: text}
	if t := c.tokens[op.Token]; t != nil {
		v.Session = t.id
	}
	c.found = append(c.found, violationAt{v, op.End})
}

// related returns the requests until a moment that used a session or may have ended it.
func (c *checker) related(s *session, until time.Duration) (related []Op) {
	for _, op := range slices.Concat(s.logins, s.ops) {
		related = append(related, *op)
	}
	for n := range c.ops {
		if op := &c.ops[n]; op.Session == s.id && op.Kind == EndSession || op.User == s.user && op.Kind == EndUser {
			related = append(related, *op)
		}
	}
	slices.SortFunc(related, func(a, b Op) int { return cmp.Compare(a.Start, b.Start) })
	related = slices.DeleteFunc(related, func(op Op) bool { return op.Start > until })
	return slices.CompactFunc(related, func(a, b Op) bool { return a == b })
}

func (c *checker) checkResponses() {
	for n := range c.ops {
		op := &c.ops[n]
		if op.Outcome == NoResponse && !c.Unanswered {
			c.report(GetsResponse, op, "there was none")
		}
		if t := c.tokens[op.Token]; t != nil && op.letIn() && op.User != t.user {
			c.report(OwnPages, op, "the page of %s, where %s is logged in", op.User, t.user)
		}
	}
}
