package sessionguard_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The program of docs/getting-started.md compiles, and its declarations are in the package's
// example, which runs.
func TestGettingStartedCompilesAndIsTheExample(t *testing.T) {
	page, err := os.ReadFile("docs/getting-started.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(page), "```go\npackage main")
	require.True(t, found)
	program, _, found := strings.Cut("package main"+rest, "```\n")
	require.True(t, found)

	name := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(name, []byte(program), 0o600))
	output, err := exec.Command("go", "vet", name).CombinedOutput()
	require.NoError(t, err, string(output))

	example, err := os.ReadFile("example_quickstart_test.go")
	require.NoError(t, err)
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, program, parser.ParseComments)
	require.NoError(t, err)
	for _, d := range file.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.IMPORT {
			continue
		}
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "main" {
			continue
		}
		declaration := program[files.Position(d.Pos()).Offset:files.Position(d.End()).Offset]
		require.Contains(t, string(example), declaration)
	}
}
