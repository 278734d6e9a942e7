package check

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// No history of a system without a mistake is a violation: one in which each request has
// its whole effect at one moment between its start and its end, and what got no response
// has it later or never.
func TestRightHistoriesAreAccepted(t *testing.T) {
	outcomes := map[Outcome]int{}
	for seed := range uint64(100) {
		history := simulate(rand.New(rand.NewPCG(seed, 0)))
		found := Check(history, policy())
		if len(found) > 0 {
			for _, o := range found[0].Related {
				t.Log(o)
			}
		}
		require.Empty(t, found, "seed %d", seed)
		_, disagreements := Compare(history, policy())
		require.Empty(t, disagreements, "seed %d", seed)
		for _, o := range history {
			outcomes[o.Outcome]++
		}
	}
	for _, o := range []Outcome{Done, Out, Full, HungUp} {
		require.Greater(t, outcomes[o], 300, o)
	}
}

// A world is what the system knows.
type world struct {
	random   *rand.Rand
	sessions []*worldSession
	byToken  map[string]*worldSession
	tokens   int
	values   int
}

type worldSession struct {
	id, user, token string // the token is the current one
	ended           bool
	values          map[string]string
}

// A tab sends one request after the other, with the cookie of its browser.
type tab struct {
	jar  *jar
	busy bool
}

type jar struct{ user, token string }

// simulate returns what tabs see of a world.
func simulate(r *rand.Rand) (history []Op) {
	w := &world{random: r, byToken: map[string]*worldSession{}}
	var tabs []*tab
	for n := range 12 {
		j := &jar{user: []string{"ada", "bob", "two", "refused"}[n%4]}
		tabs = append(tabs, &tab{jar: j}, &tab{jar: j})
	}
	effects, ends := map[int][]func(){}, map[int][]func(){}
	for now := range 600 {
		for _, do := range effects[now] {
			do()
		}
		for _, do := range ends[now] {
			do()
		}
		for _, b := range tabs {
			if b.busy || now > 540 || r.IntN(4) > 0 { // the last requests are completed
				continue
			}
			o := w.request(b.jar)
			o.Start = time.Duration(now)
			effect := now + 1 + r.IntN(8)
			end := effect + r.IntN(8)
			b.busy = true
			if r.IntN(12) == 0 { // hangs up
				end = now + 1 + r.IntN(8)
				hungUp := o
				hungUp.Outcome, hungUp.End = HungUp, time.Duration(end)
				history = append(history, hungUp)
				ends[end] = append(ends[end], func() { b.busy = false })
				if r.IntN(3) > 0 {
					late := now + 1 + r.IntN(40)
					effects[late] = append(effects[late], func() { w.serve(&o) })
				}
				continue
			}
			o.End = time.Duration(end)
			effects[effect] = append(effects[effect], func() { w.serve(&o) })
			ends[end] = append(ends[end], func() {
				b.busy = false
				history = append(history, o)
				if o.NewToken != "" {
					b.jar.token = o.NewToken
				}
				if o.Kind == Logout && r.IntN(4) > 0 {
					b.jar.token = ""
				}
			})
		}
	}
	return history
}

func (w *world) request(j *jar) Op {
	o := Op{Token: j.token}
	switch n := w.random.IntN(20); {
	case j.token == "" || n == 0:
		o.Kind, o.User = Login, j.user
	case n < 5:
		o.Kind = Page
	case n < 10:
		o.Kind, o.Key = Read, []string{"a", "b"}[n%2]
	case n < 15:
		w.values++
		o.Kind, o.Key, o.Value = Write, []string{"a", "b"}[n%2], fmt.Sprint(w.values)
	case n == 15:
		o.Kind, o.User = EndUser, j.user
	case n == 16:
		o.Kind = EndOthers
	case n == 17:
		o.Kind, o.Session = EndSession, w.sessions[w.random.IntN(len(w.sessions))].id
	default:
		o.Kind = Logout
	}
	return o
}

// serve does what a request asks for, and completes it with the response.
func (w *world) serve(o *Op) {
	s := w.byToken[o.Token]
	alive := s != nil && !s.ended && s.token == o.Token
	o.Outcome = Done
	switch o.Kind {
	case Login:
		w.logIn(o, s, alive)
		return
	case Logout:
		if s != nil {
			s.ended = true
		}
		return
	case EndUser:
		w.end(o.User, nil)
		return
	}
	if !alive {
		o.Outcome = Out
		return
	}
	o.User = s.user
	switch o.Kind {
	case Read:
		o.Value = s.values[o.Key]
	case Write:
		s.values[o.Key] = o.Value
	case EndOthers:
		w.end(s.user, s)
	case EndSession:
		for _, other := range w.sessions {
			other.ended = other.ended || other.id == o.Session && other.user == s.user
		}
	}
}

func (w *world) end(user string, except *worldSession) {
	for _, s := range w.sessions {
		s.ended = s.ended || s.user == user && s != except
	}
}

func (w *world) logIn(o *Op, s *worldSession, alive bool) {
	if !alive || s.user != o.User {
		max, refuse := policy().Limit(o.User)
		var others []*worldSession
		for _, other := range w.sessions {
			if other.user == o.User && !other.ended && other != s {
				others = append(others, other)
			}
		}
		if max > 0 && len(others) >= max {
			if refuse {
				o.Outcome = Full
				return
			}
			others[w.random.IntN(len(others))].ended = true
		}
		if s != nil {
			s.ended = true
		}
		s = &worldSession{id: fmt.Sprint("s", len(w.sessions)), user: o.User, values: map[string]string{}}
		w.sessions = append(w.sessions, s)
	}
	w.tokens++
	s.token = fmt.Sprint("t", w.tokens)
	w.byToken[s.token] = s
	o.Session, o.NewToken = s.id, s.token
}
