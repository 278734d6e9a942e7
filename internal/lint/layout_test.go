// Package lint checks what no compiler does: the size of files and functions. Its go.mod
// also pins the version of staticcheck.
package lint

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The limits that CONTRIBUTING.md gives.
const (
	maxRootFiles     = 24
	maxFileLines     = 400
	maxFunctionLines = 60
)

func TestLayout(t *testing.T) {
	const root = "../.."
	rootFiles := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		test := strings.HasSuffix(path, "_test.go")
		if filepath.Dir(path) == root && !test {
			rootFiles++
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(source, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", path, n, maxFileLines)
		}
		if !test {
			checkFunctions(t, path, source)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if rootFiles == 0 || rootFiles > maxRootFiles {
		t.Errorf("the root package has %d files that are not tests, not 1 to %d", rootFiles, maxRootFiles)
	}
}

func checkFunctions(t *testing.T, path string, source []byte) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := files.Position(f.End()).Line - files.Position(f.Pos()).Line + 1; n > maxFunctionLines {
			t.Errorf("%s: %s has %d lines, more than %d", path, f.Name.Name, n, maxFunctionLines)
		}
	}
}
