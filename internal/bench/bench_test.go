package bench

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/servers"
)

var (
	tableFile = flag.String("table", "", "write the results into this Markdown `file`, between its markers")
	rounds    = flag.Int("rounds", 1, "how often each subject takes its turn")
	each      = flag.Duration("each", 20*time.Millisecond, "how long a turn takes")
)

func TestMain(m *testing.M) {
	if server := os.Getenv(generatorOf); server != "" {
		generate(server)
		return
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // gin-contrib/sessions logs each forged cookie
	servers.Main(m)
}

// clients are how many ask at the same time.
var clients = []int{1, 16, 64}

// compare lets the subjects take turns, so that whatever else the machine does hits
// all of them, and returns a table of medians.
func compare(t *testing.T, first string, subjects []subject) string {
	t.Helper()
	results := map[string]map[int][]sample{}
	requests := map[string][]*http.Request{}
	for _, s := range subjects {
		results[s.name] = map[int][]sample{}
		requests[s.name] = s.visitors(t, slices.Max(clients))
	}
	for range *rounds {
		for _, n := range clients {
			for _, s := range subjects {
				runtime.GC() // nobody pays for what another left
				got := load(t.Context(), s.page, requests[s.name][:n], *each)
				results[s.name][n] = append(results[s.name][n], got)
			}
		}
	}

	var table strings.Builder
	fmt.Fprintf(&table, "| %s |", first)
	for _, n := range clients {
		fmt.Fprintf(&table, " %s: requests/s | × the fastest peer | median, p99 |", count(n, "client"))
	}
	table.WriteString("\n|---|" + strings.Repeat("---|---|---|", len(clients)) + "\n")
	for _, s := range subjects {
		fmt.Fprintf(&table, "| %s |", s.name)
		for _, n := range clients {
			var rates, ratios []float64
			var medians, p99s []time.Duration
			for i, got := range results[s.name][n] {
				rates = append(rates, got.perSecond)
				ratios = append(ratios, got.perSecond/fastestPeer(subjects, results, n, i))
				medians, p99s = append(medians, got.median), append(p99s, got.p99)
			}
			rate, _, _ := middle(rates)
			ratio, low, high := middle(ratios)
			fmt.Fprintf(&table, " %.0f | %.1f (%.1f–%.1f) | %s, %s |", rate, ratio, low, high, micros(medians), micros(p99s))
		}
		table.WriteByte('\n')
	}
	return table.String()
}

func fastestPeer(subjects []subject, results map[string]map[int][]sample, clients, round int) (fastest float64) {
	for _, s := range subjects {
		if s.peer {
			fastest = max(fastest, results[s.name][clients][round].perSecond)
		}
	}
	return fastest
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// micros is the median of durations, in microseconds.
func micros(all []time.Duration) string {
	slices.Sort(all)
	us := float64(all[len(all)/2]) / float64(time.Microsecond)
	if us < 10 {
		return fmt.Sprintf("%.1f µs", us)
	}
	return fmt.Sprintf("%.0f µs", us)
}

// publish puts a table between the markers of its name in the file of -table.
func publish(t *testing.T, name, table string) {
	t.Helper()
	t.Log("\n" + table)
	if *tableFile == "" {
		return
	}
	text, err := os.ReadFile(*tableFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), "<!-- "+name+": begin -->\n")
	_, after, closed := strings.Cut(rest, "<!-- "+name+": end -->")
	if !found || !closed {
		t.Fatalf("%s has no markers for %q", *tableFile, name)
	}
	head := fmt.Sprintf("%s, %s, %s, %d rounds of %v.\n\n", time.Now().Format("2 January 2006"), runtime.Version(), processors(), *rounds, *each)
	text = []byte(before + "<!-- " + name + ": begin -->\n" + head + table + "<!-- " + name + ": end -->" + after)
	if err := os.WriteFile(*tableFile, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func processors() string {
	model := ""
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			model = " " + strings.TrimSpace(value)
			break
		}
	}
	return fmt.Sprintf("%d shared cores%s", runtime.NumCPU(), cmp.Or(model, " of an unknown kind"))
}

// busy keeps all cores busy until ctx is done.
func busy(ctx context.Context, h http.Handler, requests []*http.Request) {
	go load(ctx, h, requests, time.Hour)
}
