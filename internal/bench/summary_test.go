package bench

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// A headline is what the project's README quotes of a table.
type headline struct{ request, beside, result string }

const projectReadme = "../../README.md"

var headlines = map[string]headline{}

// timesAsMany is a headline's result: the median.
func timesAsMany(ratios []float64, what string) string {
	median, _, _ := middle(ratios)
	if median < 10 {
		return fmt.Sprintf("%.1f times %s", median, what)
	}
	return fmt.Sprintf("%.0f times %s", median, what)
}

// TestTheHeadlines comes last, by the name of its file. It writes what the others have
// found to the top of the table's file, and to the project's README.
func TestTheHeadlines(t *testing.T) {
	table := "| One protected request | beside | |\n|---|---|---|\n"
	for _, of := range []string{"cookiestore", "memstore", "gin", "read", "http", "redis16", "redis64", "cachefor", "postgresql"} {
		h, measured := headlines[of]
		if !measured {
			t.Log("not everything was measured: no", of)
			return
		}
		table += fmt.Sprintf("| %s | %s | %s |\n", h.request, h.beside, h.result)
	}
	t.Log("\n" + table)
	if *tableFile != "" {
		write(t, *tableFile, "headlines", table)
		write(t, projectReadme, "headlines", table)
		write(t, *tableFile, "versions", versions())
	}
}

// versions are those of everything that takes part.
func versions() string {
	modules, err := exec.Command("go", "list", "-m", "-f", "{{if not (or .Main .Indirect .Replace)}}{{.Path}} {{.Version}}{{end}}", "all").Output()
	check(err == nil)
	servers, err := exec.Command("dpkg-query", "-W", "-f", "; Debian's ${Package} ${Version}", "redis-server", "postgresql").Output()
	check(err == nil)
	return strings.Join(strings.Fields(strings.ReplaceAll(string(modules), " ", "@")), ", ") + string(servers) + ".\n"
}

func TestTheProjectsReadmeQuotesThisOne(t *testing.T) {
	_, here, _ := published(t, "README.md", "headlines")
	_, there, _ := published(t, projectReadme, "headlines")
	if here == "" || here != there {
		t.Errorf("headlines measured:\n%s\nquoted:\n%s", here, there)
	}
}
