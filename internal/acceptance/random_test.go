package acceptance

import (
	"flag"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	randomPrograms = flag.Int("programs", 4000, "how many programs TestRandomPrograms runs")
	randomSeed     = flag.Uint64("seed", 1, "the seed of the first program of TestRandomPrograms; the next has the next seed")
)

// programsPerLab is how many programs share two guards, which take half a millisecond to make.
const programsPerLab = 200

// TestRandomPrograms runs random handlers for random requests of three browsers of two
// users, with limits, and with faults in every call of the backend and of FindUser.
// Whatever they do,
//
//   - there is no live session whose cookie its browser has not got, unless a fault prevented
//     its end, which is reported, or the response was lost after the guard had sent it;
//   - no session is accepted that has ended, by a logout, a timeout, a change of the password
//     or of the account, and no user for another one; and what lives is accepted;
//   - no response has two cookies of one name, or may be cached if it depends on the session;
//   - no login is undone whose response is sent, and a logout that failed says so;
//   - nobody reads another user's values.
//
// A failure prints its program, shrunk. To run one again:
//
//	go test ./internal/acceptance -run TestRandomPrograms -args -programs 1 -seed 42
//
// The clock is that of testing/synctest, so a seed always does the same, as far as the guard
// does: the order in which it ends the sessions of two cookies is random, and so is whether
// CancelOnEnd goes on for a client that has hung up.
func TestRandomPrograms(t *testing.T) {
	var next, handlers atomic.Int64
	t.Cleanup(func() { t.Logf("%d handlers", handlers.Load()) })
	for range runtime.GOMAXPROCS(0) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for !t.Failed() {
				first := int(next.Add(programsPerLab)) - programsPerLab
				if first >= *randomPrograms {
					return
				}
				runPrograms(t, &handlers, *randomSeed+uint64(first), min(programsPerLab, *randomPrograms-first))
			}
		})
	}
}

func runPrograms(t *testing.T, handlers *atomic.Int64, seed uint64, n int) {
	var running atomic.Pointer[program]
	var runs atomic.Int64
	defer watch(&runs, func() { panic(fmt.Sprintf("a deadlock:\n%v", running.Load())) })()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(15 * time.Minute) }) // as withFakeClock does
		l := newLab()
		for i := range uint64(n) {
			p := generate(seed + i)
			running.Store(p)
			runs.Add(1)
			wrong := l.run(p)
			handlers.Add(int64(l.requests))
			if wrong == "" {
				continue
			}
			tries := 0
			p.shrink(func() bool { tries++; runs.Add(1); return tries < 5000 && l.run(p) != "" })
			t.Errorf("%s\n(%s in the program as generated)\n%v", l.run(p), wrong, p)
			return
		}
	})
}

// watch calls stuck if runs does not change for long, until stop is called.
func watch(runs *atomic.Int64, stuck func()) (stop func() bool) {
	var before int64
	var timer *time.Timer
	timer = time.AfterFunc(time.Hour, func() {
		if now := runs.Load(); now == before {
			stuck()
		} else {
			before = now
			timer.Reset(3 * patience)
		}
	})
	timer.Reset(3 * patience)
	return timer.Stop
}
