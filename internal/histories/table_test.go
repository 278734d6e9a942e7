package histories

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/histories/check"
)

// A result is a row of the table.
type result struct {
	name                    string
	lasted                  time.Duration
	operations              int
	faults                  []string
	unavailable, noResponse int
	recovered, lastFailure  time.Duration // after a fault was over; the longest
	violations, documented  int
}

type results []result

// summarize counts what happened. What the documentation says can go wrong is counted by a
// check that allows none of it, as sessions.
func summarize(name string, history []check.Op, happened []occurrence, p check.Policy, found []check.Violation) result {
	r := result{name: name, operations: len(history), violations: len(found)}
	for _, op := range history {
		r.lasted = max(r.lasted, op.End)
		switch op.Outcome {
		case check.Unavailable:
			r.unavailable++
		case check.NoResponse:
			r.noResponse++
		}
	}
	for n, o := range happened {
		r.faults = append(r.faults, o.name)
		next := r.lasted
		if n+1 < len(happened) {
			next = happened[n+1].from
		}
		first := next
		for _, op := range history {
			failed := op.Outcome == check.Unavailable || op.Outcome == check.NoResponse
			switch {
			case op.Start < o.to || op.Start > next:
			case failed:
				r.lastFailure = max(r.lastFailure, op.End-o.to)
			case op.Outcome == check.Done:
				first = min(first, op.End)
			}
		}
		r.recovered = max(r.recovered, first-o.to)
	}
	strict := p
	strict.Exceptions = check.Exceptions{Unanswered: p.Unanswered}
	strict.EndsWithin = 2 * backendTimeout
	sessions := map[string]bool{}
	for _, v := range check.Check(history, strict) {
		sessions[v.Session] = true
	}
	for _, v := range found {
		delete(sessions, v.Session)
	}
	r.documented = len(sessions)
	return r
}

func (r result) String() string { return strings.Join(r.cells(), " | ") }

func (r result) cells() []string {
	var faults []string
	for _, name := range slices.Compact(slices.Sorted(slices.Values(r.faults))) {
		n := 0
		for _, f := range r.faults {
			if f == name {
				n++
			}
		}
		faults = append(faults, fmt.Sprintf("%d × %s", n, name))
	}
	return []string{
		r.name, fmt.Sprintf("%.0f s", r.lasted.Seconds()), fmt.Sprint(r.operations), strings.Join(faults, ", "),
		fmt.Sprint(r.unavailable), fmt.Sprint(r.noResponse),
		fmt.Sprintf("%.2f s", r.recovered.Seconds()), fmt.Sprintf("%.2f s", r.lastFailure.Seconds()),
		fmt.Sprint(r.violations), fmt.Sprint(r.documented),
	}
}

// write puts the table between the markers of a Markdown file.
func (all results) write(file string) error {
	const begin, end = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s has no markers for the table", file)
	}
	return os.WriteFile(file, []byte(before+begin+all.markdown()+end+after), 0o644)
}

func (all results) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Seed %d, on %s.\n\n", *seed, time.Now().UTC().Format("2 January 2006"))
	out.WriteString("| | time | operations | faults | 503 | no response | first success | last failure | violations | documented |\n" +
		"|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(&out, "| %s |\n", r)
	}
	return out.String()
}
