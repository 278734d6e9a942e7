package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// growthKinds are what may cost more among many sessions.
var growthKinds = []string{"protected request", "login", "`EndUser`", "`AllSessions`, per session"}

// A grownSite is a site for many sessions.
type grownSite struct {
	guard   *sessionguard.Guard[*user]
	logIn   func(from, to int) crowd    // the users with these numbers
	request func(c crowd) func() int    // which sends some requests, each of another user, and returns how many
	each    func(n int, do func(i int)) // calls do with 0 to n-1
	cpu     func() float64              // µs so far
}

// TestGrowth measures what requests cost with more and more sessions in store.Memory.
func TestGrowth(t *testing.T) {
	fresh := func() grownSite {
		guard := newGuard(t, store.NewMemory(), nil)
		s := guardSubject(guardName, guard)
		return grownSite{
			guard:   guard,
			logIn:   func(from, to int) crowd { return logIn(t, s.login, from, to) },
			request: func(c crowd) func() int { return c.request(s.page) },
			each: func(n int, do func(int)) {
				for i := range n {
					do(i)
				}
			},
			cpu: processCPU,
		}
	}
	turns, sizes := min(*rounds, 3), growthSizes(1000, 100, 10, 1)
	results := map[int]map[string][]float64{}
	for range turns {
		for _, n := range sizes {
			addTo(results, n, measureGrowth(t, n, fresh, func() {}))
		}
	}
	publish(t, "growth", describeTurns(turns, *turnLength)+" or until the garbage has been collected twice", growthTable(sizes, results, growthKinds))
}

func growthSizes(divisors ...int) (sizes []int) {
	for _, d := range divisors {
		sizes = append(sizes, *sessionCount/d)
	}
	return sizes
}

func addTo(results map[int]map[string][]float64, n int, measured map[string]float64) {
	if results[n] == nil {
		results[n] = map[string][]float64{}
	}
	for kind, value := range measured {
		results[n][kind] = append(results[n][kind], value)
	}
}

// growthTable returns a table with one row for each number of sessions.
func growthTable(sizes []int, results map[int]map[string][]float64, kinds []string) string {
	table := "| sessions | " + strings.Join(kinds, " | ") + " |\n|---|" + strings.Repeat("---|", len(kinds)) + "\n"
	for _, n := range sizes {
		table += fmt.Sprintf("| %d |", n)
		for _, kind := range kinds {
			format := "%.2f µs"
			if !slices.Contains(growthKinds, kind) {
				format = "%.0f B"
			}
			median, low, high := medianAndRange(results[n][kind])
			table += fmt.Sprintf(" "+format, median)
			if low < high {
				table += fmt.Sprintf(" (%.2f–%.2f)", low, high)
			}
			table += " |"
		}
		table += "\n"
	}
	return table
}

// measureGrowth returns the µs of CPU of each of growthKinds among n sessions of as many users.
// The logins are those of the second half of them, and EndUser ends up to half of them. Where
// that is too little to measure, it is repeated with fresh sites. It calls filled when n have logged in.
func measureGrowth(t *testing.T, n int, fresh func() grownSite, filled func()) map[string]float64 {
	result := map[string]float64{}
	repeats := max(1, *sessionCount/50/n)
	for repeat := range repeats {
		s := fresh()
		first := s.logIn(0, n/2)
		before := s.cpu()
		second := s.logIn(n/2, n)
		result["login"] += (s.cpu() - before) / float64((n-n/2)*repeats)
		if repeat == 0 {
			filled()
			all := crowd{first.cookies + second.cookies, second.length}
			result["protected request"] = cpuUntilCollected(s.cpu, s.request(all))
			result["`AllSessions`, per session"] = cpuUntilCollected(s.cpu, listAll(t, s.guard, n))
		}
		result["`EndUser`"] += cpuUntilCollected(s.cpu, endSome(t, s, n)) / float64(repeats)
	}
	return result
}

// listAll returns a function that lists n sessions, a few times if there are many.
func listAll(t *testing.T, guard *sessionguard.Guard[*user], n int) func() int {
	left := 3 * *sessionCount
	return func() (listed int) {
		if left <= 0 {
			return 0
		}
		for _, err := range guard.AllSessions(t.Context()) {
			check(err == nil)
			listed++
		}
		check(listed == n)
		left -= listed
		return listed
	}
}

// endSome returns a function that ends the sessions of some of n users, in random order, and
// returns of how many. It stops when half of them have ended.
func endSome(t *testing.T, s grownSite, n int) func() int {
	order := rand.Perm(n)[:n/2]
	return func() int {
		some := order[:min(1024, len(order))]
		order = order[len(some):]
		s.each(len(some), func(i int) {
			err := s.guard.EndUser(t.Context(), "user"+strconv.Itoa(some[i]))
			check(err == nil)
		})
		return len(some)
	}
}
