package sessionguardtest_test

import (
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// The tests that the package's documentation shows are the ones that run.
func TestThePackageCommentShowsTheApplicationsTests(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	code := regexp.MustCompile(`(?m)^`).ReplaceAllString(read(t, "internal/app/app_test.go"), "\t")
	code = strings.TrimRight(regexp.MustCompile(`(?m)^\t+$`).ReplaceAllString(code, ""), "\n")
	require.Contains(t, file.Doc.Text(), code)
}

var codeBlock = regexp.MustCompile("(?s)```go\n(.*?)```\n")

// docs/testing.md shows the application and its tests whole, and otherwise parts of them.
func TestThePageAboutTestsShowsCodeThatRuns(t *testing.T) {
	files := []string{read(t, "internal/app/app.go"), read(t, "internal/app/app_test.go")}
	whole := 0
	for _, block := range codeBlock.FindAllStringSubmatch(read(t, "../docs/testing.md"), -1) {
		switch code := block[1]; {
		case code == files[0] || code == files[1]:
			whole++
		default:
			found := false
			for _, file := range files {
				found = found || strings.Contains(unindented(file), unindented(code))
			}
			require.True(t, found, code)
		}
	}
	require.Equal(t, len(files), whole)
}

// unindented returns text with no space at the beginnings of lines.
func unindented(text string) string {
	return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(text, "")
}
