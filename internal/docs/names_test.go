package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	declaredTest = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z]\w*)\(`)
	namedTest    = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*`)
	selectsTests = regexp.MustCompile(`-(run|skip|bench|fuzz)\b`)
)

// tests returns the names of the tests in the Go files of a directory and below it.
func tests(t *testing.T, directory string) []string {
	t.Helper()
	var names []string
	for _, source := range goFiles(t, directory, true) {
		for _, match := range declaredTest.FindAllStringSubmatch(source, -1) {
			names = append(names, match[1])
		}
	}
	slices.Sort(names)
	return names
}

// goFilesOf are the results of goFiles, by its arguments.
var goFilesOf = map[string]map[string]string{}

// goFiles returns the contents of the Go files of a directory, by path.
func goFiles(t *testing.T, directory string, below bool) map[string]string {
	t.Helper()
	key := fmt.Sprint(filepath.Clean(directory), below)
	if goFilesOf[key] == nil {
		goFilesOf[key] = readGoFiles(t, directory, below)
	}
	return goFilesOf[key]
}

func readGoFiles(t *testing.T, directory string, below bool) map[string]string {
	t.Helper()
	contents := map[string]string{}
	err := filepath.WalkDir(directory, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != directory && (!below || d.Name() == "node_modules" || d.Name() == ".git"):
			return filepath.SkipDir
		case !d.IsDir() && filepath.Ext(path) == ".go":
			content, err := os.ReadFile(path)
			contents[path] = string(content)
			return err
		}
		return nil
	})
	require.NoError(t, err)
	return contents
}

// Every test that a page names exists, in the repository or in the page's own code.
func TestTestsThatPagesNameExist(t *testing.T) {
	all := tests(t, root)
	require.NotEmpty(t, all)
	named := 0
	eachPage(t, readPages(t), func(t *testing.T, p *page) {
		named += len(namedTest.FindAll(p.source, -1))
		for _, problem := range checkNames(p, all) {
			t.Error(problem)
		}
	})
	require.NotZero(t, named)
}

func checkNames(p *page, all []string) (problems []string) {
	own := map[string]bool{}
	for _, b := range p.blocks {
		for _, match := range declaredTest.FindAllStringSubmatch(b.code, -1) {
			own[match[1]] = true
		}
	}
	for i, line := range strings.Split(string(p.source), "\n") {
		for _, name := range namedTest.FindAllString(line, -1) {
			at, found := slices.BinarySearch(all, name)
			if !found && selectsTests.MatchString(line) { // the beginning of a name is a pattern
				found = at < len(all) && strings.HasPrefix(all[at], name)
			}
			if !found && !own[name] {
				problems = append(problems, place(p, i+1)+"there is no test "+name)
			}
		}
	}
	return problems
}

func TestNamesOfNoTestsAreFound(t *testing.T) {
	all := []string{"TestA", "TestBee", "TestCedar"}
	p := parsePage("page.md", []byte("`TestA`, TestB.\n\n`go test -run 'TestB|TestCx'`\n\n```go\nfunc TestOwn(t *testing.T) {}\n```\n\nTestOwn\n"))
	require.Equal(t, []string{"page.md:1: there is no test TestB", "page.md:3: there is no test TestCx"}, checkNames(p, all))
}
