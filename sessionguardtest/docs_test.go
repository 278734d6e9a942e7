package sessionguardtest_test

import (
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/sessionguardtest"
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

// The README's lines run.
func TestTheReadmeShowsCodeThatRuns(t *testing.T) {
	_, rest, found := strings.Cut(read(t, "../README.md"), "## In your application's tests\n")
	require.True(t, found)
	code := codeBlock.FindStringSubmatch(rest)[1]
	require.Contains(t, unindented(read(t, "docs_test.go")), unindented(code))

	guard, app := newApp(t, nil)
	client := sessionguardtest.NewClient(t, app) // a browser without a network
	sessionguardtest.LogIn(t, guard, client, ada, sessionguard.Factors("pwd"))
	client.Get("/home").HasStatus(http.StatusOK).Contains("Hello, ada.")
	sessionguardtest.Idle(t, guard, client, 31*time.Minute) // or, under testing/synctest, client.Wait(31*time.Minute)
	client.Get("/home").RedirectsTo("/login?next=%2Fhome&reason=idle")
}
