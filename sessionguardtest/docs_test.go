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
	"github.com/sessionguard-go/sessionguard/store"
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

// docs/testing.md shows the application and its tests whole. Its other code is below.
func TestThePageAboutTestsShowsCodeThatRuns(t *testing.T) {
	app, tests := read(t, "internal/app/app.go"), read(t, "internal/app/app_test.go")
	here := unindented(read(t, "docs_test.go"))
	whole := 0
	for _, block := range codeBlock.FindAllStringSubmatch(read(t, "../docs/testing.md"), -1) {
		if code := block[1]; code == app || code == tests {
			whole++
		} else {
			require.Contains(t, here, unindented(code))
		}
	}
	require.Equal(t, 2, whole)

	guard, handler := newApp(t, nil)
	showTimeout(t, guard, handler)
	guard, handler = newBoundApp(t)
	client := sessionguardtest.NewClient(t, handler)
	sessionguardtest.Login(t, guard, client, ada)
	showDevice(t, guard, client)
}

func showTimeout(t *testing.T, guard *sessionguard.Guard[*person], app http.Handler) {
	client := sessionguardtest.NewClient(t, app) // a browser without a network
	sessionguardtest.Login(t, guard, client, ada, sessionguard.Factors("pwd"))
	client.Get("/home").HasStatus(http.StatusOK).Contains("Hello, ada.")
	sessionguardtest.Idle(t, guard, client, 31*time.Minute) // or, under testing/synctest, client.Wait(31*time.Minute)
	client.Get("/home").RedirectsTo("/login?next=%2Fhome&reason=idle")
}

func showDevice(t *testing.T, guard *sessionguard.Guard[*person], client *sessionguardtest.Client) {
	sessionguardtest.Bind(t, guard, client, 0)
	client.Get("/payments").HasStatus(http.StatusOK) // behind RequireBound(0)
	sessionguardtest.Bind(t, guard, client, 11*time.Minute)
	sessionguardtest.LoggedOut(t, guard, client, store.ReasonDeviceUnproven)
}

// unindented returns text with no space at the beginnings of lines.
func unindented(text string) string {
	return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(text, "")
}
