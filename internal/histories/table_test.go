package histories

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
	strict.EndsBy = func(op check.Op) (time.Duration, bool) { return op.End + 2*backendTimeout, true }
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

// The markers of the table in a Markdown file.
const (
	tableBegins = "<!-- measured: begin -->\n"
	tableEnds   = "<!-- measured: end -->\n"
)

// write puts the results into the table of a Markdown file. The rows of other configurations
// stay.
func (all results) write(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), tableBegins)
	table, after, closed := strings.Cut(rest, tableEnds)
	if !ok || !closed {
		return fmt.Errorf("%s has no markers for the table", file)
	}
	return os.WriteFile(file, []byte(before+tableBegins+all.replaceIn(table)+tableEnds+after), 0o644)
}

// replaceIn returns a table with the rows of these results.
func (all results) replaceIn(table string) string {
	rows := map[string]string{}
	for row := range strings.Lines(table) {
		if cells := strings.Split(row, " | "); len(cells) > 1 {
			rows[strings.TrimPrefix(cells[0], "| ")] = row
		}
	}
	date := time.Now().UTC().Format("2006-01-02")
	for _, r := range all {
		rows[r.name] = fmt.Sprintf("| %s | %d | %s |\n", r, *seed, date)
	}
	var out strings.Builder
	out.WriteString("| | time | operations | faults | 503 | no response | first success | last failure | violations | documented | seed | date |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range configurations {
		out.WriteString(rows[c.name])
	}
	return out.String()
}

func TestTableKeepsRowsOfOtherConfigurations(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	require.NoError(t, os.WriteFile(file, []byte("before\n"+tableBegins+tableEnds+"after\n"), 0o600))
	for _, r := range []result{
		{name: configurations[1].name, operations: 1},
		{name: configurations[0].name, operations: 2},
		{name: configurations[1].name, operations: 3},
	} {
		require.NoError(t, results{r}.write(file))
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	rows := strings.Split(string(text), "\n")
	require.Len(t, rows, 9)
	require.Contains(t, rows[4], "| "+configurations[0].name+" | 0 s | 2 | ")
	require.Contains(t, rows[5], "| "+configurations[1].name+" | 0 s | 3 | ")
	require.Equal(t, []string{strings.TrimSpace(tableEnds), "after", ""}, rows[6:])
}
