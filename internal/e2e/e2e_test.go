package e2e

import (
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	tableFile = flag.String("table", "", "write the results into this `file`, between its markers")
	only      = flag.String("flows", "", "only the flows whose name matches this regular `expression`")
	browsers  = flag.Int("browsers", 2, "how many browsers of an engine at a time")
)

// A way is how the browser talks to the application, and with how much of its
// protection.
type way struct {
	scheme     string
	protection protection
}

// ways are the columns of the table.
var ways = []way{
	{"https", none}, {"https", recipe}, {"https", recipeResent}, {"https", withoutScript}, {"https", scriptOnly}, {"https", whole},
	{"http", none}, {"http", whole},
}

// tells says whether a flow has anything to say about a way. On the screen,
// only a script changes anything, and the scheme nothing; that the script holds
// alone, where the page comes out of the back/forward cache, is told once.
func (f flow) tells(w way) bool {
	if strings.HasPrefix(f.name, "on the screen") {
		return w == way{"https", none} || w == way{"https", whole}
	}
	return w.protection != scriptOnly || f.name == "idle expiry, Back"
}

type cell struct {
	flow, engine string
	way          way
}

// results are what the cells of the table came to.
type results struct {
	mu       sync.Mutex
	versions []string
	cells    map[cell]outcome
}

// TestNobodySeesAPageThatIsOver is the proof of the README's third promise: what
// leaks with the protection taken out does not leak with it. A flow that leaks
// nothing without protection would prove nothing, and fails.
func TestNobodySeesAPageThatIsOver(t *testing.T) {
	all := &results{cells: map[cell]outcome{}}
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { all.measure(t, e) })
	}
	if *tableFile != "" && !t.Failed() {
		must(t, all.write(*tableFile))
	}
}

// measure goes every way through every flow, in a few browsers at a time: much
// of it is waiting.
func (all *results) measure(t *testing.T, e *engine) {
	needs(t, e)
	type job struct {
		flow flow
		way  way
	}
	pattern, err := regexp.Compile(*only)
	must(t, err)
	jobs := make(chan job)
	var work sync.WaitGroup
	for range *browsers {
		b, err := e.launch()
		must(t, err)
		t.Cleanup(func() { must(t, b.Quit()) })
		all.mu.Lock()
		if !slices.Contains(all.versions, b.Version()) {
			all.versions = append(all.versions, b.Version())
		}
		all.mu.Unlock()
		work.Go(func() {
			examples := map[string]*url.URL{} // of this browser alone: an administrator ends all of ada's sessions
			for j := range jobs {
				secure := j.way.scheme == "https"
				key := fmt.Sprint(secure, j.flow.args)
				if examples[key] == nil {
					examples[key] = example(t, secure, j.flow.args...)
				}
				begun := time.Now()
				o, err := visitOnce(t, b, examples[key], j.flow, j.way)
				all.record(t, cell{j.flow.name, e.name, j.way}, o, err, time.Since(begun))
			}
		})
	}
	for _, f := range flows {
		for _, w := range ways {
			if f.tells(w) && pattern.MatchString(f.name) {
				jobs <- job{f, w}
			}
		}
	}
	close(jobs)
	work.Wait()
}

// visitOnce is one cell of the table.
func visitOnce(t *testing.T, b *browser, app *url.URL, f flow, w way) (o outcome, err error) {
	front, err := newFront(app, w.protection, w.scheme == "https")
	if err != nil {
		return o, err
	}
	defer front.Close()
	v := &visit{T: t, browser: b, front: front, protection: w.protection}
	defer func() {
		if p := recover(); p != nil {
			stop, ok := p.(stopped)
			if !ok {
				panic(p)
			}
			err = stop.error
		}
		err = errors.Join(err, v.end())
	}()
	v.begin()
	f.do(v)
	if w.protection == whole && f.held != nil {
		f.held(v)
	}
	return v.outcome(), nil
}

func (all *results) record(t *testing.T, c cell, o outcome, err error, took time.Duration) {
	all.mu.Lock()
	defer all.mu.Unlock()
	name := fmt.Sprintf("%s, %s, %s", c.flow, c.way.scheme, c.way.protection)
	t.Logf("%-70s leak %-5t bfcache %-5t %v", name, o.leaked, o.persisted, took.Round(10*time.Millisecond))
	if errors.Is(err, errCannot) {
		return
	}
	all.cells[c] = o
	switch p := c.way.protection; {
	case err != nil:
		t.Errorf("%s: %v", name, err)
	case p == none && !o.leaked:
		t.Errorf("%s: nothing leaks without protection, so this flow proves nothing", name)
	case p == whole && o.leaked:
		t.Errorf("%s: %d frames of %s showed the secret", name, o.Leaked, o.LeakedAt)
	case p == whole && c.engine == chromium.name && strings.HasSuffix(c.flow, " expiry, Back") && !o.persisted:
		t.Errorf("%s: the page was not kept, so that it came back hidden was not seen", name)
	}
}

// write puts the table between the markers of a Markdown file.
func (all *results) write(file string) error {
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

// markdown is what people saw of a page that was no longer theirs.
func (all *results) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s, on %s.\n\n| | |", strings.Join(all.versions, ", "), time.Now().UTC().Format("2 January 2006"))
	for _, w := range ways {
		fmt.Fprintf(&out, " %s, %s |", w.protection, w.scheme)
	}
	out.WriteString("\n|---|---|" + strings.Repeat("---|", len(ways)) + "\n")
	for _, f := range flows {
		name := f.name
		for _, e := range engines {
			fmt.Fprintf(&out, "| %s | %s |", name, e.name)
			for _, w := range ways {
				o, measured := all.cells[cell{f.name, e.name, w}]
				shown := "holds"
				switch {
				case !f.tells(w):
					shown = ""
				case !measured:
					shown = "–"
				case o.leaked:
					shown = "**leaks**"
				}
				if o.persisted {
					shown += " °"
				}
				fmt.Fprintf(&out, " %s |", shown)
			}
			out.WriteString("\n")
			name = ""
		}
	}
	return out.String()
}
