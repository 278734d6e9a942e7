// Package check decides whether a history of requests to several nodes keeps what
// sessionguard promises.
//
// A history is a list of requests with the moments at which each was sent and at which its
// response had arrived, all read from one clock. Whatever a request did, it did in between.
// So one request comes before another only if its response arrived before the other was
// sent. Two requests that overlap may have happened in either order, and the check accepts
// both. What got no clear response may have happened at any time after it was sent, or never.
//
// Thus a violation is never a matter of bad luck: no order of the requests explains the
// responses. The converse does not hold everywhere, because each rule is checked by itself.
package check

import (
	"fmt"
	"time"
)

// An Op is one request and its response.
type Op struct {
	Kind       Kind
	Outcome    Outcome
	Start, End time.Duration // when the request was sent, and when the response had arrived
	Node       int

	Token    string // the session cookie that the request sent
	NewToken string // the session cookie that the response set

	// User is who logs in, whose sessions EndUser ends, and otherwise the user for whom the
	// response was made.
	User string
	// Session is, of a Login that is Done, the session that the response named. An EndSession
	// names the session that it ends.
	Session    string
	Remembered bool   // of a Login: it asked to be remembered
	Key, Value string // of a Write and a Read
	Reason     string // of a request that is Out: why, as far as the response said
	Retried    bool   // of a request that is Unavailable: the node has begun it and goes on trying
}

// A Kind says what a request asks for.
type Kind string

// Each of these needs a session, but for Login, Logout and EndUser.
const (
	Login      Kind = "login" // also of a user who is logged in: a re-authentication
	Logout     Kind = "logout"
	Page       Kind = "page"
	Read       Kind = "read"
	Write      Kind = "write"
	EndSession Kind = "end session" // one of the user's, by its ID
	EndOthers  Kind = "end others"  // all of the user's but this one
	EndUser    Kind = "end user"    // all of any user's, as an administrator does
)

// An Outcome is what the client knows of a request afterwards.
type Outcome string

// The last three mean that the request may have had its effect or not, or may have it later.
const (
	Done        Outcome = "done"
	Out         Outcome = "not logged in"
	Full        Outcome = "too many sessions" // of a Login
	Unavailable Outcome = "503"
	NoResponse  Outcome = "no response"
	HungUp      Outcome = "hung up" // the client did not wait
)

func (o Outcome) clear() bool { return o == Done || o == Out || o == Full }

func (o Op) String() string {
	short := func(token string) string { return token[max(0, len(token)-6):] }
	return fmt.Sprintf("%12v–%12v node %d %-11s %-15s %s token …%s → …%s session %s %s=%q %s",
		o.Start.Round(time.Microsecond), o.End.Round(time.Microsecond), o.Node, o.Kind, o.Outcome, o.User,
		short(o.Token), short(o.NewToken), o.Session, o.Key, o.Value, o.Reason)
}

// letIn reports whether the response was one for somebody who is logged in.
func (o *Op) letIn() bool {
	switch o.Kind {
	case Page, Read, Write, EndSession, EndOthers:
		return o.Outcome == Done
	}
	return false
}

// latest returns the latest moment at which the request can have had its effect.
func (o *Op) latest() time.Duration {
	if o.Outcome.clear() {
		return o.End
	}
	return never
}

const never = time.Duration(1<<63 - 1)

// A Policy says what the configuration under test promises.
type Policy struct {
	IdleTimeout time.Duration // of sessions that are not remembered
	// Limit returns how many sessions a user may have, or 0, and whether a login beyond
	// that is refused.
	Limit func(user string) (max int, refuse bool)
	// CacheFor is how long a node may go on using what it has read.
	CacheFor time.Duration
	// Skew is by how much the clocks of two nodes differ at most.
	Skew time.Duration
	// EndsBy returns the moment by which has certainly ended what a request should have ended
	// that is Retried, or false if there is none. nil means that nothing of it need end.
	EndsBy func(op Op) (at time.Duration, ok bool)

	Exceptions
}

// Exceptions are what the documentation says can go wrong. The zero Exceptions are none.
type Exceptions struct {
	// Lost are the times whose changes a failover may have lost. What a response said then
	// may be true no longer.
	Lost []Interval
	// Keeps says what those times have not lost, if it was confirmed. What was only seen, such
	// as an end without a confirmation, may be lost all the same.
	Keeps Keeps
	// Unanswered allows that requests get no response.
	Unanswered bool
	// TheftSuspected allows that a session that is remembered ends because a superseded
	// token was received so late that it was taken for a copy.
	TheftSuspected bool
}

// Keeps says what a failover does not lose.
type Keeps int

// A failover that keeps writes keeps ends too.
const (
	Nothing Keeps = iota
	Ends          // logouts and the like
	Writes        // logins and values
)

func (k Keeps) keeps(op *Op) bool {
	switch op.Kind {
	case Logout, EndSession, EndOthers, EndUser:
		return op.Outcome == Done && k >= Ends
	case Login, Write:
		return op.Outcome == Done && k >= Writes
	}
	return false
}

// An Interval is the time from Start to End, both included.
type Interval struct{ Start, End time.Duration }

func (i Interval) contains(at time.Duration) bool { return i.Start <= at && at <= i.End }

// doubt returns the history as it looks if nothing that was said in the lost times counts.
func doubt(history []Op, p Policy) []Op {
	doubted := make([]Op, len(history))
	for n, op := range history {
		for _, i := range p.Lost {
			if op.Outcome.clear() && i.contains(op.End) && !p.Keeps.keeps(&op) {
				op.Outcome = Unavailable
			}
		}
		doubted[n] = op
	}
	return doubted
}
