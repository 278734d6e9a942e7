package bench

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// A headline is one row of the table in the project's README.
type headline struct{ request, beside, result string }

const projectReadme = "../../README.md"

var headlines = map[string]headline{}

// formatTimes formats the median ratio for a headline.
func formatTimes(ratios []float64, unit string) string {
	median, _, _ := medianAndRange(ratios)
	if median < 10 {
		return fmt.Sprintf("%.1f times %s", median, unit)
	}
	return fmt.Sprintf("%.0f times %s", median, unit)
}

// TestWriteHeadlines runs last, because of the name of its file. It writes a summary of the
// other tests' results to the file of -table and to the project's README.
func TestWriteHeadlines(t *testing.T) {
	table := "| One protected request | beside | |\n|---|---|---|\n"
	for _, name := range []string{"cookiestore", "memstore", "gin", "read", "http", "redis16", "redis64", "cachefor", "postgresql"} {
		h, measured := headlines[name]
		if !measured {
			t.Log("not everything was measured: no", name)
			return
		}
		table += fmt.Sprintf("| %s | %s | %s |\n", h.request, h.beside, h.result)
	}
	t.Log("\n" + table)
	if *tableFile != "" {
		writeSection(t, *tableFile, "headlines", table)
		writeSection(t, projectReadme, "headlines", table)
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

func TestProjectReadmeQuotesHeadlines(t *testing.T) {
	_, here, _ := readSection(t, "README.md", "headlines")
	_, there, _ := readSection(t, projectReadme, "headlines")
	if here == "" || here != there {
		t.Errorf("headlines measured:\n%s\nquoted:\n%s", here, there)
	}
}
