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
	tableFile = flag.String("table", "", "write the table into this `file`, between its markers")
	only      = flag.String("flows", "", "run only the flows whose name matches this regular `expression`")
	browsers  = flag.Int("browsers", 2, "how many browsers of each engine run at a time")
)

// A variant is one column of the table: the scheme, and the protections left in place.
type variant struct {
	scheme     string
	protection protection
}

var variants = []variant{
	{"https", none}, {"https", recipe}, {"https", recipeResent}, {"https", withoutScript}, {"https", scriptOnly}, {"https", whole},
	{"http", none}, {"http", whole},
}

// includes reports whether the flow is measured in a variant. On the screen, only the
// script makes a difference, and the scheme makes none; neither is measured with a library. The script alone is measured in
// one flow, in which the page comes out of the back/forward cache.
func (f flow) includes(v variant) bool {
	if strings.HasPrefix(f.name, "on the screen") || f.library() != nil {
		return v == variant{"https", none} || v == variant{"https", whole}
	}
	return v.protection != scriptOnly || f.name == "idle expiry, Back"
}

type cell struct {
	flow, engine string
	variant      variant
}

// results collects the outcomes of all cells of the table.
type results struct {
	mu       sync.Mutex
	versions []string
	cells    map[cell]outcome
}

// TestProtectedPageNeverShownAfterSessionEnds proves the README's third promise: what
// leaks without protection does not leak with it. A flow that leaks nothing without
// protection proves nothing, and fails.
func TestProtectedPageNeverShownAfterSessionEnds(t *testing.T) {
	all := &results{cells: map[cell]outcome{}}
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { all.measure(t, e) })
	}
	if *tableFile != "" && !t.Failed() {
		must(t, all.write(*tableFile))
	}
}

// measure runs every flow in every variant, in several browsers at a time because the
// flows mostly wait.
func (all *results) measure(t *testing.T, e *engine) {
	requireEngine(t, e)
	type job struct {
		flow    flow
		variant variant
	}
	pattern, err := regexp.Compile(*only)
	must(t, err)
	if slices.ContainsFunc(libraryFlows, func(f flow) bool { return pattern.MatchString(f.name) }) {
		requireLibraries(t)
	}
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
			examples := map[string]*url.URL{} // not shared between browsers, because a flow ends all of ada's sessions
			for j := range jobs {
				secure := j.variant.scheme == "https"
				key := fmt.Sprint(secure, j.flow.args)
				if examples[key] == nil {
					examples[key] = startExample(t, secure, j.flow.args...)
				}
				begun := time.Now()
				o, err := measureCell(t, b, examples[key], j.flow, j.variant)
				all.record(t, cell{j.flow.name, e.name, j.variant}, o, err, time.Since(begun))
			}
		})
	}
	for _, f := range slices.Concat(flows, libraryFlows) {
		for _, v := range variants {
			if f.includes(v) && pattern.MatchString(f.name) {
				jobs <- job{f, v}
			}
		}
	}
	close(jobs)
	work.Wait()
}

// measureCell runs a flow in one variant, for one cell of the table.
func measureCell(t *testing.T, b *browser, app *url.URL, f flow, column variant) (o outcome, err error) {
	proxy, err := newTestProxy(app, column.protection, column.scheme == "https")
	if err != nil {
		return o, err
	}
	defer proxy.Close()
	proxy.library = f.library()
	v := &visit{T: t, browser: b, proxy: proxy, protection: column.protection}
	defer func() {
		if p := recover(); p != nil {
			failure, ok := p.(visitFailure)
			if !ok {
				panic(p)
			}
			err = failure.error
		}
		err = errors.Join(err, v.end())
	}()
	v.begin()
	f.steps(v)
	if column.protection == whole && f.verify != nil {
		f.verify(v)
	}
	return v.outcome(), nil
}

// record adds an outcome to the table and checks it.
func (all *results) record(t *testing.T, c cell, o outcome, err error, took time.Duration) {
	all.mu.Lock()
	defer all.mu.Unlock()
	name := fmt.Sprintf("%s, %s, %s", c.flow, c.variant.scheme, c.variant.protection)
	t.Logf("%-70s leak %-5t bfcache %-5t %v", name, o.leaked, o.persisted, took.Round(10*time.Millisecond))
	if errors.Is(err, errUnsupported) {
		return
	}
	all.cells[c] = o
	switch p := c.variant.protection; {
	case err != nil:
		t.Errorf("%s: %v", name, err)
	case p == none && !o.leaked:
		t.Errorf("%s: no leak without protection, so this flow proves nothing", name)
	case p == whole && o.leaked:
		t.Errorf("%s: the secret was visible in %d frames of %s", name, o.Leaked, o.LeakedAt)
	case p == whole && c.engine == chromium.name && strings.HasSuffix(c.flow, " expiry, Back") && !o.persisted:
		t.Errorf("%s: the page did not come out of the back/forward cache, so the script was not tested", name)
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

// markdown returns the table.
func (all *results) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s, on %s.\n\n| | |", strings.Join(all.versions, ", "), time.Now().UTC().Format("2 January 2006"))
	for _, v := range variants {
		fmt.Fprintf(&out, " %s, %s |", v.protection, v.scheme)
	}
	out.WriteString("\n|---|---|" + strings.Repeat("---|", len(variants)) + "\n")
	for _, f := range slices.Concat(flows, libraryFlows) {
		name := f.name
		for _, e := range engines {
			fmt.Fprintf(&out, "| %s | %s |", name, e.name)
			for _, v := range variants {
				o, measured := all.cells[cell{f.name, e.name, v}]
				text := "holds"
				switch {
				case !f.includes(v):
					text = ""
				case !measured:
					text = "–"
				case o.leaked:
					text = "**leaks**"
				}
				if o.persisted {
					text += " °"
				}
				fmt.Fprintf(&out, " %s |", text)
			}
			out.WriteString("\n")
			name = ""
		}
	}
	return out.String()
}
