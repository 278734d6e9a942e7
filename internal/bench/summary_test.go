package bench

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// A headline is one row of the table in the project's README.
type headline struct{ request, beside, result string }

// The headlines are in the page about speed, and some of them in the project's README.
const (
	speedPage     = "../../docs/speed.md"
	projectReadme = "../../README.md"
)

var headlines = map[string]headline{}

// headlineTable returns the rows of these names, or "" if one of them was not measured.
func headlineTable(t *testing.T, names ...string) string {
	table := "| One protected request | beside | |\n|---|---|---|\n"
	for _, name := range names {
		h, measured := headlines[name]
		if !measured {
			t.Log("not everything was measured: no", name)
			return ""
		}
		table += fmt.Sprintf("| %s | %s | %s |\n", h.request, h.beside, h.result)
	}
	return table
}

// formatTimes formats the median ratio for a headline.
func formatTimes(ratios []float64, unit string) string {
	median, _, _ := medianAndRange(ratios)
	if median < 10 {
		return fmt.Sprintf("%.1f times %s", median, unit)
	}
	return fmt.Sprintf("%.0f times %s", median, unit)
}

// TestWriteHeadlines runs last, because of the name of its file. It writes a summary of the
// other tests' results to the file of -table, to the page about speed, and in four rows to
// the project's README.
func TestWriteHeadlines(t *testing.T) {
	table := headlineTable(t, "cookiestore", "memstore", "json", "gin", "read", "http", "overhttp", "redis16", "redisjson", "redis64", "cachefor", "postgresql")
	t.Log("\n" + table)
	if table != "" && *tableFile != "" {
		writeSection(t, *tableFile, "headlines", table)
		writeSection(t, speedPage, "headlines", table)
		writeSection(t, projectReadme, "headlines", headlineTable(t, "memstore", "overhttp", "redis16", "postgresql"))
		writeSection(t, *tableFile, "versions", versions())
	}
}

// versions lists the versions of all modules and servers that were measured.
func versions() string {
	modules, err := exec.Command("go", "list", "-m", "-f", "{{if not (or .Main .Indirect .Replace)}}{{.Path}} {{.Version}}{{end}}", "all").Output()
	check(err == nil)
	servers, err := exec.Command("dpkg-query", "-W", "-f", "; Debian's ${Package} ${Version}", "redis-server", "postgresql").Output()
	check(err == nil)
	return strings.Join(strings.Fields(strings.ReplaceAll(string(modules), " ", "@")), ", ") + string(servers) + ".\n"
}

func TestHeadlinesAreQuotedAsMeasured(t *testing.T) {
	_, here, _ := readSection(t, "README.md", "headlines")
	_, onPage, _ := readSection(t, speedPage, "headlines")
	if here == "" || here != onPage {
		t.Errorf("headlines measured:\n%s\nquoted in %s:\n%s", here, speedPage, onPage)
	}
	_, inReadme, _ := readSection(t, projectReadme, "headlines")
	rows := 0
	for row := range strings.Lines(inReadme) {
		rows++
		if !strings.Contains(here, row) {
			t.Errorf("%s quotes what was not measured: %s", projectReadme, row)
		}
	}
	if rows != 6 {
		t.Errorf("%s has %d lines of headlines", projectReadme, rows)
	}
}
