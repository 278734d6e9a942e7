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
	tableFile = flag.String("table", "", "measure as long as it takes, and write the results into this Markdown `file`, between its markers")
	rounds    = flag.Int("rounds", 1, "how often each subject takes its turn; with -table 9")
	each      = flag.Duration("each", 20*time.Millisecond, "how long a turn takes; with -table 400ms")
	many      = flag.Int("sessions", 10_000, "how many are logged in where many are; with -table a million")
)

func TestMain(m *testing.M) {
	if server := os.Getenv(generatorOf); server != "" {
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
	slog.SetDefault(slog.New(slog.DiscardHandler)) // gin-contrib/sessions logs each forged cookie
	servers.Main(m)
}

// clients are how many ask at the same time.
var clients = []int{1, 16, 64}

// A comparison is what subjects did beside each other.
type comparison struct {
	subjects []subject
	results  map[string]map[int][]sample // by whom, and of how many clients
}

// compare lets the subjects take turns, so that whatever else the machine does hits
// all of them.
func compare(t *testing.T, subjects []subject) comparison {
	t.Helper()
	c := comparison{subjects, map[string]map[int][]sample{}}
	requests := map[string][]*http.Request{}
	for _, s := range subjects {
		c.results[s.name] = map[int][]sample{}
		requests[s.name] = s.visitors(t, slices.Max(clients))
	}
	for round := range *rounds {
		for _, n := range clients {
			for i := range subjects {
				s := subjects[(i+round)%len(subjects)] // who begins has no advantage
				runtime.GC()                           // nobody pays for what another left
				got := load(t.Context(), s.page, requests[s.name][:n], *each)
				c.results[s.name][n] = append(c.results[s.name][n], got)
			}
		}
	}
	return c
}

// table has the medians.
func (c comparison) table(first string) string {
	var table strings.Builder
	fmt.Fprintf(&table, "| %s |", first)
	for _, n := range clients {
		fmt.Fprintf(&table, " %s: requests/s | × the fastest peer | median, p99 |", count(n, "client"))
	}
	table.WriteString("\n|---|" + strings.Repeat("---|---|---|", len(clients)) + "\n")
	for _, s := range c.subjects {
		fmt.Fprintf(&table, "| %s |", s.name)
		for _, n := range clients {
			var rates []float64
			var medians, p99s []time.Duration
			for _, got := range c.results[s.name][n] {
				rates = append(rates, got.perSecond)
				medians, p99s = append(medians, got.median), append(p99s, got.p99)
			}
			rate, _, _ := middle(rates)
			fmt.Fprintf(&table, " %.0f | %s | %s, %s |", rate, ratio(c.times(s.name, n)), micros(medians), micros(p99s))
		}
		table.WriteByte('\n')
	}
	return table.String()
}

// times is how many requests a subject served for one of the fastest peer, in each round.
func (c comparison) times(name string, clients int) (ratios []float64) {
	for round, got := range c.results[name][clients] {
		fastest := 0.0
		for _, s := range c.subjects {
			if s.peer {
				fastest = max(fastest, c.results[s.name][clients][round].perSecond)
			}
		}
		ratios = append(ratios, got.perSecond/fastest)
	}
	return ratios
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

// publish puts a table between the markers of its name in the file of -table, and says
// how it was measured.
func publish(t *testing.T, name, how, table string) {
	t.Helper()
	t.Log("\n" + table)
	head := fmt.Sprintf("%s, %s, %s, %s.\n\n", time.Now().Format("2 January 2006"), runtime.Version(), processors(), how)
	if *tableFile != "" {
		write(t, *tableFile, name, head+table)
	}
}

func turns(n int, each time.Duration) string {
	return fmt.Sprintf("%s of %v each", count(n, "turn"), each)
}

func write(t *testing.T, file, name, text string) {
	t.Helper()
	before, _, after := published(t, file, name)
	if err := os.WriteFile(file, []byte(before+text+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// published is what a file has between the markers of a name, and around it.
func published(t *testing.T, file, name string) (before, text, after string) {
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
