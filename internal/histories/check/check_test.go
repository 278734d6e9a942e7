package check

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// op returns a request that is done, between two seconds.
func op(start, end int, kind Kind, change ...func(*Op)) Op {
	o := Op{Kind: kind, Outcome: Done, Start: seconds(start), End: seconds(end), User: "ada"}
	for _, f := range change {
		f(&o)
	}
	return o
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func with(token string) func(*Op)     { return func(o *Op) { o.Token = token } }
func gets(token string) func(*Op)     { return func(o *Op) { o.NewToken = token } }
func names(session string) func(*Op)  { return func(o *Op) { o.Session = session } }
func is(outcome Outcome) func(*Op)    { return func(o *Op) { o.Outcome = outcome } }
func of(user string) func(*Op)        { return func(o *Op) { o.User = user } }
func because(reason string) func(*Op) { return func(o *Op) { o.Reason = reason } }
func remembered(o *Op)                { o.Remembered = true }
func retried(o *Op)                   { o.Outcome, o.Retried = Unavailable, true }
func at(node int) func(*Op)           { return func(o *Op) { o.Node = node } }

func value(key, value string) func(*Op) {
	return func(o *Op) { o.Key, o.Value = key, value }
}

// ada is logged in with token t as session s, and bob with token b as session z.
var (
	ada = op(0, 1, Login, gets("t"), names("s"))
	bob = op(0, 1, Login, of("bob"), gets("b"), names("z"))
)

func policy(change ...func(*Policy)) Policy {
	p := Policy{
		IdleTimeout: time.Hour,
		Limit: func(user string) (int, bool) {
			return map[string]int{"two": 2, "refused": 2}[user], user == "refused"
		},
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

func TestCheck(t *testing.T) {
	cached := func(p *Policy) { p.CacheFor = seconds(5) }
	repeats := func(p *Policy) {
		p.EndsBy = func(op Op) (time.Duration, bool) { return op.End + seconds(5), op.Node == 0 }
	}
	lost := func(p *Policy) { p.Lost = []Interval{{seconds(2), seconds(4)}} }
	keepsEnds := func(p *Policy) { p.Keeps = Ends }
	keepsWrites := func(p *Policy) { p.Keeps = Writes }
	for _, test := range []struct {
		name    string
		want    Rule // "": no violation
		policy  Policy
		history []Op
	}{
		{"let in after a logout", EndIsFinal, policy(), []Op{ada, op(2, 3, Logout, with("t")), op(4, 5, Page, with("t"))}},
		{"let in while the logout runs", "", policy(), []Op{ada, op(2, 5, Logout, with("t")), op(4, 6, Page, with("t"))}},
		{"let in at the very moment of its end", "", policy(), []Op{ada, op(2, 3, Logout, with("t")), op(3, 4, Page, with("t"))}},
		{"let in after a logout with 503", "", policy(), []Op{ada, op(2, 3, Logout, with("t"), is(Unavailable)), op(4, 5, Page, with("t"))}},
		{"let in after a logout without a response", "", policy(), []Op{ada, op(2, 3, Logout, with("t"), is(HungUp)), op(4, 5, Page, with("t"))}},
		{"let in after a logout that is tried again", EndIsFinal, policy(repeats), []Op{ada, op(2, 3, Logout, with("t"), retried), op(9, 10, Page, with("t"))}},
		{"let in before that", "", policy(repeats), []Op{ada, op(2, 3, Logout, with("t"), retried), op(8, 10, Page, with("t"))}},
		{"let in after a logout at a node that was killed", "", policy(repeats), []Op{ada, op(2, 3, Logout, with("t"), retried, at(1)), op(9, 10, Page, with("t"))}},
		{"let in after a 503 that had not begun", "", policy(repeats), []Op{ada, op(2, 3, EndUser, is(Unavailable)), op(9, 10, Page, with("t"))}},
		{"let in after an EndUser that is tried again", EndIsFinal, policy(repeats), []Op{ada, op(2, 3, EndUser, retried), op(9, 10, Page, with("t"))}},
		{"let in because of a login since then", "", policy(repeats), []Op{
			ada, op(2, 4, EndUser, retried), op(3, 5, Login, with("t"), gets("u"), names("s")), op(9, 10, Page, with("u"))}},
		{"let in after an EndSession that is tried again", EndIsFinal, policy(repeats), []Op{
			ada, op(0, 1, Login, gets("u"), names("v")), op(2, 3, EndSession, with("u"), names("s"), retried), op(9, 10, Page, with("t"))}},
		{"an EndOthers that is tried again keeps its own", "", policy(repeats), []Op{ada, op(2, 3, EndOthers, with("t"), retried), op(9, 10, Page, with("t"))}},
		{"a failover may lose what is tried again", "", policy(repeats, lost), []Op{ada, op(1, 1, Logout, with("t"), retried), op(9, 10, Page, with("t"))}},
		{"refused because of a login that must have been undone", NoLockout, policy(repeats), []Op{
			op(0, 1, Login, of("refused"), gets("t"), names("s")), op(0, 1, Login, of("refused"), retried), op(7, 8, Login, of("refused"), is(Full))}},
		{"let in from a cache", "", policy(cached), []Op{ada, op(2, 3, Logout, with("t")), op(8, 9, Page, with("t"))}},
		{"let in for longer than a cache may", EndIsFinal, policy(cached), []Op{ada, op(2, 3, Logout, with("t")), op(9, 10, Page, with("t"))}},
		{"a logout that a failover may have lost", "", policy(lost), []Op{ada, op(2, 3, Logout, with("t")), op(5, 6, Page, with("t"))}},
		{"a logout that it must not have lost", EndIsFinal, policy(lost, keepsEnds), []Op{ada, op(2, 3, Logout, with("t")), op(5, 6, Page, with("t"))}},
		{"a login that it may have lost", "", policy(lost, keepsEnds), []Op{op(2, 3, Login, gets("t"), names("s")), op(5, 6, Page, with("t"), is(Out))}},
		{"a login that it must not have lost", NoEarlyEnd, policy(lost, keepsWrites), []Op{op(2, 3, Login, gets("t"), names("s")), op(5, 6, Page, with("t"), is(Out))}},
		{"an end that was not confirmed, and seen by somebody", "", policy(lost, keepsWrites), []Op{
			ada, op(2, 4, Logout, with("t"), is(Unavailable)), op(2, 3, Page, with("t"), is(Out)), op(5, 6, Page, with("t"))}},
		{"a logout after the failover", EndIsFinal, policy(lost), []Op{ada, op(4, 5, Logout, with("t")), op(6, 7, Page, with("t"))}},
		{"a logout with a token that a failover may have lost", "", policy(lost), []Op{
			ada, op(2, 3, Login, with("t"), gets("u"), names("s")), op(5, 6, Logout, with("u")), op(7, 8, Page, with("t"))}},
		{"a login with such a token", "", policy(lost), []Op{
			ada, op(2, 3, Login, with("t"), gets("u"), names("s")), op(5, 6, Login, with("u"), gets("w"), names("v")), op(7, 8, Page, with("t"))}},
		{"a value written after a logout", EndIsFinal, policy(), []Op{ada, op(2, 3, Logout, with("t")), op(4, 5, Write, with("t"), value("k", "1"))}},
		{"let in after having been sent away", EndIsFinal, policy(), []Op{
			ada, op(2, 3, EndUser, is(HungUp)), op(4, 5, Page, with("t"), is(Out)), op(6, 7, Page, with("t"))}},
		{"let in after EndUser", EndIsFinal, policy(), []Op{ada, op(2, 3, EndUser), op(4, 5, Page, with("t"))}},
		{"a login during EndUser", "", policy(), []Op{op(2, 3, EndUser), op(2, 4, Login, gets("t"), names("s")), op(5, 6, Page, with("t"))}},
		{"let in after EndSession", EndIsFinal, policy(), []Op{
			ada, op(0, 1, Login, gets("u"), names("v")), op(2, 3, EndSession, with("u"), names("s")), op(4, 5, Page, with("t"))}},
		{"sent away after another user's EndSession", NoEarlyEnd, policy(), []Op{
			ada, bob, op(2, 3, EndSession, of("bob"), with("b"), names("s")), op(4, 5, Page, with("t"), is(Out))}},
		{"let in after EndOthers", EndIsFinal, policy(), []Op{
			ada, op(0, 1, Login, gets("u"), names("v")), op(2, 3, EndOthers, with("u")), op(4, 5, Page, with("t"))}},
		{"EndOthers keeps its own", "", policy(), []Op{
			ada, op(0, 1, Login, gets("u"), names("v")), op(2, 3, EndOthers, with("u")), op(4, 5, Page, with("u"))}},
		{"let in with the token before a re-authentication", EndIsFinal, policy(), []Op{
			ada, op(2, 3, Login, with("t"), gets("u"), names("s")), op(4, 5, Page, with("t"))}},
		{"let in after another's login in the same browser", EndIsFinal, policy(), []Op{
			ada, op(2, 3, Login, of("bob"), with("t"), gets("u"), names("v")), op(4, 5, Page, with("t"))}},
		{"a logout with the token before ends the session", EndIsFinal, policy(), []Op{
			ada, op(2, 9, Login, with("t"), gets("u"), names("s")), op(5, 10, Logout, with("t")), op(11, 12, Page, with("u"))}},
		{"a new session is not ended with the one before", "", policy(), []Op{
			ada, op(2, 9, Login, with("t"), gets("u"), names("v")), op(5, 10, Logout, with("t")), op(11, 12, Page, with("u"))}},

		{"sent away for nothing", NoEarlyEnd, policy(), []Op{ada, op(2, 3, Page, with("t"), is(Out)), op(4, 5, Logout, with("t"))}},
		{"sent away while a logout runs", "", policy(), []Op{ada, op(2, 5, Page, with("t"), is(Out)), op(4, 6, Logout, with("t"))}},
		{"sent away after a logout that got no response", "", policy(), []Op{ada, op(1, 2, Logout, with("t"), is(HungUp)), op(9, 10, Page, with("t"), is(Out))}},
		{"sent away because another user was logged out", NoEarlyEnd, policy(), []Op{ada, bob, op(2, 3, Logout, with("b")), op(4, 5, Page, with("t"), is(Out))}},
		{"sent away although nobody has done anything since", NoEarlyEnd, policy(), []Op{
			op(0, 1, Login, of("two"), gets("t"), names("s")), op(2, 3, Login, of("two"), gets("u"), names("v")),
			op(4, 5, Page, of("two"), with("t")), op(6, 7, Page, with("t"), is(Out))}},
		{"sent away with the token of a re-authentication", NoEarlyEnd, policy(), []Op{
			ada, op(2, 3, Login, with("t"), gets("u"), names("s")), op(4, 5, Page, with("u"), is(Out))}},
		{"sent away by the later of two re-authentications", "", policy(), []Op{
			ada, op(2, 3, Login, with("t"), gets("u"), names("s")), op(3, 5, Login, with("t"), gets("v"), names("s")),
			op(4, 5, Page, with("u"), is(Out))}},
		{"sent away by EndOthers of its own", NoEarlyEnd, policy(), []Op{
			ada, op(2, 3, EndOthers, with("t")), op(2, 3, Page, with("t"), is(Out))}},
		{"sent away after the idle timeout", "", policy(), []Op{ada, op(3600, 3601, Page, with("t"), is(Out))}},
		{"sent away by a limit", "", policy(), []Op{
			op(0, 1, Login, of("two"), gets("t"), names("s")), op(2, 3, Login, of("two"), gets("u"), names("v")),
			op(4, 5, Page, with("t"), is(Out))}},
		{"sent away because a failover lost the login", "", policy(lost), []Op{
			op(2, 3, Login, gets("t"), names("s")), op(5, 6, Page, with("t"), is(Out))}},
		{"sent away from a remembered session", NoEarlyEnd, policy(), []Op{
			op(0, 1, Login, gets("t"), names("s"), remembered), op(3600, 3601, Page, with("t"), is(Out))}},
		{"a revival takes the token over", "", policy(), []Op{
			op(0, 1, Login, gets("t"), names("s"), remembered), op(10, 11, Page, with("t"), gets("u")),
			op(12, 13, Page, with("t"), is(Out)), op(14, 15, Page, with("u"))}},
		{"a revival that is refused in the end overtakes a request", "", policy(), []Op{
			op(0, 1, Login, gets("t"), names("s"), remembered), op(10, 14, Page, with("t"), is(Out)),
			op(11, 13, Page, with("t"), is(Out)), op(12, 15, Login, with("t"), gets("u"), names("s"), remembered)}},
		{"theft is suspected after a revival", NoEarlyEnd, policy(), []Op{
			op(0, 1, Login, gets("t"), names("s"), remembered), op(10, 11, Page, with("t"), gets("u")),
			op(12, 13, Page, with("t"), is(Out), because("theft_suspected"))}},

		{"another user's page", OwnPages, policy(), []Op{ada, op(2, 3, Page, with("t"), of("bob"))}},
		{"another user's value", OwnPages, policy(), []Op{
			ada, bob, op(2, 3, Write, with("b"), of("bob"), value("k", "1")), op(4, 5, Read, with("t"), value("k", "1"))}},

		{"a value that nobody wrote", OwnPages, policy(), []Op{ada, op(4, 5, Read, with("t"), value("k", "1"))}},
		{"a value that a new session takes over", "", policy(), []Op{
			ada, op(2, 3, Write, with("t"), value("k", "1")), op(4, 5, Login, with("t"), gets("u"), names("v")),
			op(6, 7, Read, with("u"), value("k", "1"))}},

		{"a lost value", NothingLost, policy(), []Op{
			ada, op(2, 3, Write, with("t"), value("k", "1")), op(4, 5, Read, with("t"), value("k", ""))}},
		{"a value that may be lost", "", policy(), []Op{
			ada, op(2, 3, Write, with("t"), value("k", "1"), is(Unavailable)), op(4, 5, Read, with("t"), value("k", ""))}},
		{"a value that was read is lost", NothingLost, policy(), []Op{
			ada, op(2, 3, Write, with("t"), value("k", "1"), is(HungUp)), op(4, 5, Read, with("t"), value("k", "1")),
			op(6, 7, Read, with("t"), value("k", ""))}},
		{"a value comes back", NothingLost, policy(), []Op{
			ada, op(2, 3, Write, with("t"), value("k", "1")), op(4, 5, Write, with("t"), value("k", "2")),
			op(6, 7, Read, with("t"), value("k", "1"))}},
		{"two reads disagree on the order of two writes", NothingLost, policy(), []Op{
			ada, op(2, 9, Write, with("t"), value("k", "1")), op(2, 9, Write, with("t"), value("k", "2")),
			op(3, 4, Read, with("t"), value("k", "1")), op(5, 6, Read, with("t"), value("k", "2")), op(7, 8, Read, with("t"), value("k", "1"))}},
		{"a value read before it was written", NothingLost, policy(), []Op{
			ada, op(2, 3, Read, with("t"), value("k", "1")), op(4, 5, Write, with("t"), value("k", "1"))}},
		{"a value read from a cache", "", policy(cached), []Op{
			ada, op(2, 3, Write, with("t"), value("k", "1")), op(4, 5, Read, with("t"), value("k", ""))}},
		{"a value survives a re-authentication", NothingLost, policy(), []Op{
			ada, op(2, 3, Write, with("t"), value("k", "1")), op(4, 5, Login, with("t"), gets("u"), names("s")),
			op(6, 7, Read, with("u"), value("k", ""))}},

		{"two tokens of one session", OneToken, policy(), []Op{
			ada, op(2, 5, Login, with("t"), gets("u"), names("s")), op(2, 5, Login, with("t"), gets("v"), names("s")),
			op(6, 7, Page, with("u")), op(8, 9, Page, with("v")), op(10, 11, Page, with("u"))}},
		{"the later of two tokens", "", policy(), []Op{
			ada, op(2, 5, Login, with("t"), gets("u"), names("s")), op(2, 5, Login, with("t"), gets("v"), names("s")),
			op(6, 7, Page, with("v")), op(8, 9, Page, with("u"), is(Out))}},

		{"three sessions where two are allowed", LimitHolds, policy(), []Op{
			op(0, 1, Login, of("two"), gets("t"), names("s")), op(0, 1, Login, of("two"), gets("u"), names("v")),
			op(0, 1, Login, of("two"), gets("w"), names("x")),
			op(2, 3, Page, of("two"), with("t")), op(2, 3, Page, of("two"), with("u")), op(2, 3, Page, of("two"), with("w"))}},
		{"one after the other", "", policy(), []Op{
			op(0, 1, Login, of("two"), gets("t"), names("s")), op(0, 1, Login, of("two"), gets("u"), names("v")),
			op(2, 3, Page, of("two"), with("t")), op(2, 3, Page, of("two"), with("u")),
			op(2, 4, Login, of("two"), gets("w"), names("x")), op(5, 6, Page, of("two"), with("w"))}},
		{"refused below the limit", NoLockout, policy(), []Op{
			op(0, 1, Login, of("refused"), gets("t"), names("s")), op(2, 3, Login, of("refused"), is(Full))}},
		{"refused at the limit", "", policy(), []Op{
			op(0, 1, Login, of("refused"), gets("t"), names("s")), op(0, 1, Login, of("refused"), is(Unavailable)),
			op(2, 3, Login, of("refused"), is(Full))}},
		{"refused after a logout", NoLockout, policy(), []Op{
			op(0, 1, Login, of("refused"), gets("t"), names("s")), op(0, 1, Login, of("refused"), gets("u"), names("v")),
			op(2, 3, Logout, with("t")), op(4, 5, Login, of("refused"), is(Full))}},

		{"no response", GetsResponse, policy(), []Op{ada, op(2, 3, Page, with("t"), is(NoResponse))}},
		{"no response, as documented", "", policy(func(p *Policy) { p.Unanswered = true }), []Op{ada, op(2, 3, Page, with("t"), is(NoResponse))}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := slices.Clone(test.history)
			found := Check(test.history, test.policy)
			require.Equal(t, before, test.history)
			if test.want == "" {
				require.Empty(t, found)
				return
			}
			require.NotEmpty(t, found)
			require.Equal(t, test.want, found[0].Rule, "%v", found)
		})
	}
}
