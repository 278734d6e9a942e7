package frameworks

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	codeBlock = regexp.MustCompile("(?s)```go\n(.*?)```\n")
	imports   = regexp.MustCompile(`\Aimport .*\n\n`)
)

// What docs/routers.md shows is compiled and runs: it is in the files of this module.
func TestTheDocumentationShowsCodeOfTheseTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/routers.md")
	require.NoError(t, err)
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	var code strings.Builder
	for _, name := range files {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		code.WriteString(unindented(string(source)))
	}
	blocks := codeBlock.FindAllStringSubmatch(string(page), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		require.Contains(t, code.String(), unindented(imports.ReplaceAllString(block[1], "")))
	}
}

// unindented returns text with no space at the beginnings of lines.
func unindented(text string) string {
	return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(text, "")
}
