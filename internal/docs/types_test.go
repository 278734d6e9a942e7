package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// packages are the compiled packages that imports.go lists, and all that they import.
type packages struct {
	files    *token.FileSet
	importer types.Importer
	byName   map[string][]*types.Package // those of imports.go, in its order
	prelude  map[string]types.Object
}

// load reads them once for all tests.
var load = sync.OnceValues(func() (*packages, error) {
	export, err := exports()
	if err != nil {
		return nil, err
	}
	p := &packages{files: token.NewFileSet(), byName: map[string][]*types.Package{}, prelude: map[string]types.Object{}}
	p.importer = importer.ForCompiler(p.files, "gc", func(path string) (io.ReadCloser, error) {
		name, ok := export[path]
		if !ok {
			return nil, errors.New("not in internal/docs/imports.go")
		}
		return os.Open(name)
	})
	file, err := parser.ParseFile(p.files, "imports.go", nil, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		pkg, err := p.importer.Import(path)
		if err != nil {
			return nil, err
		}
		p.byName[pkg.Name()] = append(p.byName[pkg.Name()], pkg)
	}
	if file, err = parser.ParseFile(p.files, "prelude.go", nil, 0); err != nil {
		return nil, err
	}
	pkg, _, problems := p.check(nil, file)
	for _, name := range pkg.Scope().Names() {
		p.prelude[name] = pkg.Scope().Lookup(name)
	}
	return p, errors.Join(problems...)
})

func loaded(t *testing.T) *packages {
	t.Helper()
	p, err := load()
	require.NoError(t, err)
	return p
}

// exports returns the files with the types of the packages, by import path.
func exports() (map[string]string, error) {
	list := exec.Command("go", "list", "-export", "-deps", "-tags", "prelude", "-json=ImportPath,Export", ".")
	var stderr bytes.Buffer
	list.Stderr = &stderr
	output, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, &stderr)
	}
	export := map[string]string{}
	for decoder := json.NewDecoder(bytes.NewReader(output)); decoder.More(); {
		var pkg struct{ ImportPath, Export string }
		if err := decoder.Decode(&pkg); err != nil {
			return nil, err
		}
		export[pkg.ImportPath] = pkg.Export
	}
	return export, nil
}

// check checks files, which may use what known contains. All packages have one path, so that
// files may use the unexported names in types of known.
func (p *packages) check(known map[string]types.Object, files ...*ast.File) (*types.Package, *types.Info, []error) {
	var problems []error
	config := types.Config{
		GoVersion: "go1.26",
		Importer:  p.importer,
		Error: func(err error) {
			problem, ok := errors.AsType[types.Error](err)
			unused := ok && problem.Soft // a variable or an import
			// What is known is of another package with the same path.
			ours := strings.Contains(err.Error(), "implicit assignment to unexported field") && strings.Contains(err.Error(), " type page.")
			if !unused && !ours {
				problems = append(problems, err)
			}
		},
	}
	pkg := types.NewPackage("page", files[0].Name.Name)
	for _, file := range files {
		for _, name := range p.topLevel(file) {
			delete(known, name)
		}
	}
	for _, object := range known {
		pkg.Scope().Insert(object)
	}
	info := &types.Info{Scopes: map[ast.Node]*types.Scope{}}
	_ = types.NewChecker(&config, p.files, pkg, info).Files(files) // it reports to Error
	return pkg, info, problems
}

// topLevel returns the names that file imports or declares at top level.
func (p *packages) topLevel(file *ast.File) (names []string) {
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		if spec.Name != nil {
			names = append(names, spec.Name.Name)
		} else if pkg, err := p.importer.Import(path); err == nil {
			names = append(names, pkg.Name())
		}
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				names = append(names, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}
