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
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/servers"
)

var (
	tableFile    = flag.String("table", "", "measure thoroughly, and write the results into this Markdown `file`, between its markers")
	rounds       = flag.Int("rounds", 1, "number of turns of each subject; with -table 9")
	turnLength   = flag.Duration("each", 20*time.Millisecond, "length of a turn; with -table 400ms")
	sessionCount = flag.Int("sessions", 10_000, "number of sessions in the tests with many; with -table a million")
)

func TestMain(m *testing.M) {
	if server := os.Getenv(generatorEnv); server != "" {
		generate(server)
		return
	}
	flag.Parse()
	if *tableFile != "" {
		full := map[string]string{"rounds": "9", "each": "400ms", "sessions": "1000000"}
		flag.Visit(func(f *flag.Flag) { delete(full, f.Name) })
		for name, value := range full {
			check(flag.Set(name, value) == nil)
		}
	}
	slog.SetDefault(slog.New(slog.DiscardHandler)) // gin-contrib/sessions logs every forged cookie
	servers.Main(m)
}

// clientCounts are the numbers of concurrent clients that subjects are compared with.
var clientCounts = []int{1, 16, 64}

// A comparison holds what subjects achieved when they took turns.
type comparison struct {
	subjects []subject
	results  map[string]map[int][]sample // by name and number of clients, one per round
}

// compare lets the subjects take turns, so that other load on the machine affects all of
// them.
func compare(t *testing.T, subjects []subject) comparison {
	t.Helper()
	c := comparison{subjects, map[string]map[int][]sample{}}
	requests := map[string][]*http.Request{}
	for _, s := range subjects {
		c.results[s.name] = map[int][]sample{}
		requests[s.name] = s.loggedIn(t, slices.Max(clientCounts))
	}
	for round := range *rounds {
		for _, n := range clientCounts {
			for i := range subjects {
				s := subjects[(i+round)%len(subjects)] // another one begins each round
				runtime.GC()                           // so that garbage of the turn before does not count
				result := runClients(t.Context(), s.page, requests[s.name][:n], *turnLength)
				c.results[s.name][n] = append(c.results[s.name][n], result)
			}
		}
	}
	return c
}

// table returns the medians as a Markdown table. first is the head of its first column.
func (c comparison) table(first string) string {
	var table strings.Builder
	fmt.Fprintf(&table, "| %s |", first)
	for _, n := range clientCounts {
		fmt.Fprintf(&table, " %s: requests/s | × the fastest peer | median, p99 |", plural(n, "client"))
	}
	table.WriteString("\n|---|" + strings.Repeat("---|---|---|", len(clientCounts)) + "\n")
	for _, s := range c.subjects {
		fmt.Fprintf(&table, "| %s |", s.name)
		for _, n := range clientCounts {
			var rates []float64
			var medians, p99s []time.Duration
			for _, result := range c.results[s.name][n] {
				rates = append(rates, result.perSecond)
				medians, p99s = append(medians, result.median), append(p99s, result.p99)
			}
			rate, _, _ := medianAndRange(rates)
			fmt.Fprintf(&table, " %.0f | %s | %s, %s |", rate, formatRatio(c.ratiosToFastestPeer(s.name, n)), medianMicros(medians), medianMicros(p99s))
		}
		table.WriteByte('\n')
	}
	return table.String()
}

// ratiosToFastestPeer returns, for each round, how many requests a subject served for each
// one of the fastest peer.
func (c comparison) ratiosToFastestPeer(name string, clients int) (ratios []float64) {
	var peers []string
	for _, s := range c.subjects {
		if s.peer {
			peers = append(peers, s.name)
		}
	}
	return c.ratiosToFastest(name, clients, peers...)
}

// ratiosToFastest is ratiosToFastestPeer for some of the subjects.
func (c comparison) ratiosToFastest(name string, clients int, of ...string) (ratios []float64) {
	for round, result := range c.results[name][clients] {
		fastest := 0.0
		for _, other := range of {
			fastest = max(fastest, c.results[other][clients][round].perSecond)
		}
		ratios = append(ratios, result.perSecond/fastest)
	}
	return ratios
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// medianMicros formats the median of durations, in microseconds. It sorts them.
func medianMicros(all []time.Duration) string {
	slices.Sort(all)
	us := float64(all[len(all)/2]) / float64(time.Microsecond)
	if us < 10 {
		return fmt.Sprintf("%.1f µs", us)
	}
	return fmt.Sprintf("%.0f µs", us)
}

// publish logs a table. With -table it also writes it between the markers of its name, with
// a line that says when, on what and how it was measured.
func publish(t *testing.T, name, how, table string) {
	t.Helper()
	t.Log("\n" + table)
	head := fmt.Sprintf("%s, %s, %s, %s.\n\n", time.Now().Format("2 January 2006"), runtime.Version(), describeProcessors(), how)
	if *tableFile != "" {
		writeSection(t, *tableFile, name, head+table)
	}
}

func describeTurns(n int, length time.Duration) string {
	return fmt.Sprintf("%s of %v each", plural(n, "turn"), length)
}

// writeSection replaces the text between the markers of a name.
func writeSection(t *testing.T, file, name, text string) {
	t.Helper()
	before, _, after := readSection(t, file, name)
	if err := os.WriteFile(file, []byte(before+text+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readSection returns the text between the markers of a name, and what is before and after
// it.
func readSection(t *testing.T, file, name string) (before, text, after string) {
	t.Helper()
	all, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+": begin -->\n", "<!-- "+name+": end -->"
	before, rest, found := strings.Cut(string(all), begin)
	text, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no markers for %q", file, name)
	}
	return before + begin, text, end + after
}

func describeProcessors() string {
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

// keepBusy keeps all cores busy until stop, which waits for the last request: the store is closed
// afterwards.
func keepBusy(t *testing.T, h http.Handler, requests []*http.Request) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	clients.Go(func() { runClients(ctx, h, requests, time.Hour) })
	stop = func() {
		cancel()
		clients.Wait()
	}
	t.Cleanup(stop)
	return stop
}
