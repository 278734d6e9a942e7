package docs

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The code on the pages compiles.
func TestCodeOnThePagesCompiles(t *testing.T) {
	p := loaded(t)
	blocks := 0
	eachPage(t, readPages(t), func(t *testing.T, page *page) {
		n, problems := p.checkPage(page)
		blocks += n
		for _, problem := range problems {
			t.Error(problem)
		}
	})
	require.NotZero(t, blocks)
}

// checkPage returns how many blocks of Go a page has, and what is wrong with them.
func (p *packages) checkPage(page *page) (blocks int, problems []error) {
	declared := maps.Clone(p.prelude)      // on the page
	variables := map[string]types.Object{} // in the section
	files := map[string][]*ast.File{}      // by the name of their package
	section := 0
	for _, b := range page.blocks {
		if b.section != section {
			section, variables = b.section, map[string]types.Object{}
		}
		if b.language != "go" {
			continue
		}
		blocks++
		known := maps.Clone(declared)
		maps.Copy(known, variables)
		f, err := p.parse(page.name, b, known)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		checked := []*ast.File{f.file}
		if f.whole {
			name := f.file.Name.Name
			files[name] = append(files[name], f.file)
			checked, known = files[name], nil
		}
		pkg, info, wrong := p.check(known, checked...)
		problems = append(problems, wrong...)
		for _, name := range p.topLevel(f.file) {
			if object := pkg.Scope().Lookup(name); object != nil {
				declared[name] = object
				delete(variables, name)
			}
		}
		if f.body != nil {
			scope := info.Scopes[f.body.Type]
			for _, name := range scope.Names() {
				if v, ok := scope.Lookup(name).(*types.Var); ok {
					variables[name] = types.NewVar(v.Pos(), pkg, name, v.Type())
				}
			}
		}
	}
	return blocks, problems
}

// A fragment is a block as a file.
type fragment struct {
	file  *ast.File
	whole bool          // it is one as it stands
	body  *ast.FuncDecl // has the statements
}

// detachMethods makes functions of the methods whose types the file does not declare, since
// types that are known have all their methods.
func detachMethods(file *ast.File, known map[string]types.Object) {
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv == nil || len(f.Recv.List) != 1 {
			continue
		}
		of := f.Recv.List[0].Type
		if pointer, ok := of.(*ast.StarExpr); ok {
			of = pointer.X
		}
		if name, ok := of.(*ast.Ident); ok && known[name.Name] != nil && file.Scope.Lookup(name.Name) == nil {
			f.Type.Params.List = append(f.Recv.List, f.Type.Params.List...)
			for _, parameter := range f.Type.Params.List {
				if parameter.Names == nil {
					parameter.Names = []*ast.Ident{ast.NewIdent("_")}
				}
			}
			f.Recv, f.Name = nil, ast.NewIdent("_")
		}
	}
}

var (
	packageClause = regexp.MustCompile(`(?m)\A(?://.*\n|\n)*package \w+`)
	fieldLine     = regexp.MustCompile(`\A(?:\s*//.*\n)*([A-Z]\w*):\s`)
)

// literals are the structs whose fields may stand alone.
var literals = []string{"sessionguard.Config[*User]", "sessionguard.Refusals", "redisstore.Config", "sqlstore.Config"}

// parse makes a file of a block, with the imports that it leaves out. Positions in it are
// those on the page.
func (p *packages) parse(page string, b block, known map[string]types.Object) (*fragment, error) {
	start := strings.Repeat("\n", b.line-2) // before the fence, in whose line goes what the test adds
	if packageClause.MatchString(b.code) {
		file, err := p.parseFile(page, start+"\n"+b.code)
		return &fragment{file: file, whole: true}, err
	}
	end := endOfImports(b.code)
	imports, rest := b.code[:end], b.code[end:]
	before := "\n"
	if imports != "" {
		imports, before = "\n"+imports+"; ", ""
	}
	forms := [][2]string{{before, ""}, {"func _() " + results(rest) + " {" + before, "\n; panic(0) }"}}
	if fieldLine.MatchString(rest) {
		forms = nil
		for _, literal := range literals {
			forms = append(forms, [2]string{"var _ = " + literal + "{" + before, "\n}"})
		}
	}
	var furthest error
	var fallback *fragment
	for i, form := range forms {
		source := imports + form[0] + rest + form[1]
		file, err := p.parseFile(page, start+"package page; "+source)
		if err != nil {
			furthest = further(furthest, err)
			continue
		}
		if file, err = p.parseFile(page, start+"package page; "+p.missingImports(file, known)+source); err != nil {
			return nil, err
		}
		detachMethods(file, known)
		f := &fragment{file: file}
		if strings.HasPrefix(form[0], "func") {
			f.body = file.Decls[len(file.Decls)-1].(*ast.FuncDecl)
		}
		if len(literals) != len(forms) || i == len(forms)-1 && fallback == nil {
			return f, nil
		}
		if _, _, problems := p.check(maps.Clone(known), file); len(problems) == 0 {
			return f, nil
		}
		if fallback == nil {
			fallback = f // whose problems are reported, since it is a Config most of the time
		}
	}
	if fallback != nil {
		return fallback, nil
	}
	return nil, fmt.Errorf("neither declarations nor statements: %w", furthest)
}

func (p *packages) parseFile(name, source string) (*ast.File, error) {
	return parser.ParseFile(p.files, name, source, 0)
}

// endOfImports returns where the imports at the beginning of code end.
func endOfImports(code string) int {
	const clause = "package p;"
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "", clause+code, parser.ImportsOnly)
	if err != nil || len(file.Decls) == 0 {
		return 0
	}
	return files.Position(file.Decls[len(file.Decls)-1].End()).Offset - len(clause)
}

// results returns a list of as many results as the statements return.
func results(code string) string {
	file, err := parser.ParseFile(token.NewFileSet(), "", "package p; func _() {"+code+"\n}", parser.SkipObjectResolution)
	if err != nil {
		return ""
	}
	n := 0
	ast.Inspect(file.Decls[len(file.Decls)-1].(*ast.FuncDecl).Body, func(node ast.Node) bool {
		if r, ok := node.(*ast.ReturnStmt); ok {
			n = max(n, len(r.Results))
		}
		_, inner := node.(*ast.FuncLit)
		return !inner
	})
	if n == 0 {
		return ""
	}
	return "(" + strings.TrimSuffix(strings.Repeat("_, ", n), ", ") + " any)"
}

// further returns that error of a parser which is further down.
func further(a, b error) error {
	at := func(err error) int {
		if list, ok := errors.AsType[scanner.ErrorList](err); ok {
			return list[0].Pos.Offset
		}
		return -1
	}
	if at(a) >= at(b) {
		return a
	}
	return b
}

// missingImports returns the imports that file leaves out.
func (p *packages) missingImports(file *ast.File, known map[string]types.Object) string {
	imported := map[string]bool{}
	for _, name := range p.topLevel(file) {
		imported[name] = true
	}
	unresolved := map[*ast.Ident]bool{}
	for _, ident := range file.Unresolved {
		unresolved[ident] = true
	}
	used := map[string][]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && unresolved[x] && !imported[x.Name] {
				used[x.Name] = append(used[x.Name], s.Sel.Name)
			}
		}
		return true
	})
	var imports strings.Builder
	for _, name := range slices.Sorted(maps.Keys(used)) {
		candidates := p.byName[name]
		best := slices.IndexFunc(candidates, func(pkg *types.Package) bool {
			return !slices.ContainsFunc(used[name], func(s string) bool { return pkg.Scope().Lookup(s) == nil })
		})
		if best >= 0 || len(candidates) > 0 && known[name] == nil {
			imports.WriteString("import " + name + " " + strconv.Quote(candidates[max(best, 0)].Path()) + "; ")
		}
	}
	return imports.String()
}

// What does not compile is found, with its place.
func TestMistakesInCodeAreFound(t *testing.T) {
	p := loaded(t)
	for name, test := range map[string]struct{ page, want string }{
		"a name that nobody declared": {"```go\n\nguard.Handler(unheardOf)\n```\n", "page.md:3:15: undefined: unheardOf"},
		"a method that is no more":    {"# A\n\n```go\nx := guard.Vanished()\n```\n", "page.md:4:12: guard.Vanished undefined"},
		"a placeholder":               {"```go\nguard, err := sessionguard.New(…)\n```\n", "page.md:2:32: illegal character"},
		"a field that is no more":     {"```go\nIdleTime: time.Minute,\n```\n", "page.md:2:1: unknown field IdleTime"},
		"a field of a wrong type":     {"```go\nIdleTimeout: 3.5,\n```\n", "page.md:2:14: cannot use 3.5"},
		"a wrong import":              {"```go\nimport \"example.com/none\"\n\nnone.F()\n```\n", "page.md:2:8: could not import example.com/none"},
		"in a whole file":             {"```go\npackage main\n\nfunc main() { guard.Handler(nil) }\n```\n", "page.md:4:15: undefined: guard"},
		"a variable of another section": {"## A\n\n```go\nfresh := 1\n```\n\n## B\n\n```go\nprintln(fresh)\n```\n",
			"page.md:10:9: undefined: fresh"},
		"the second file of a package": {"```go\npackage a\n\nfunc F() {}\n```\n\n```go\npackage a\n\nfunc G() { H() }\n```\n", "page.md:10:12: undefined: H"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := p.checkPage(parsePage("page.md", []byte(test.page)))
			require.Len(t, problems, 1)
			require.Contains(t, problems[0].Error(), test.want)
		})
	}
}

// What doc.go says that pages may write is accepted.
func TestCodeMayLeaveOutWhatThePreludeHas(t *testing.T) {
	p := loaded(t)
	for name, code := range map[string]string{
		"statements":             "user, err := find(ctx, \"ada\")\nif err != nil {\n\treturn\n}\n",
		"statements that return": "if err != nil {\n\treturn nil, err\n}\nreturn guard.Handler(mux), nil\n",
		"imports and statements": "import (\n\t\"github.com/gorilla/sessions\" // a comment\n)\n\nstore := sessions.NewCookieStore(key)\n",
		"a driver":               "import _ \"modernc.org/sqlite\"\n\ndb, err := sql.Open(\"sqlite\", \"x\")\n",
		"declarations":           "type Item struct{ name string }\n\nfunc (i Item) String() string { return strings.ToUpper(i.name) }\n",
		"methods of User":        "func (u *User) SessionStamp() string { return u.Stamp }\n",
		"fields":                 "// A comment.\nIdleTimeout: 20 * time.Minute,\nFactors:     func(u *User) []string { return u.Factors },\n",
		"fields of Refusals":     "Login: http.NotFoundHandler(),\n",
		"fields of a backend":    "CacheFor: 10 * time.Second,\n",
		"one of two packages":    "e := echo.New()\ne.Use(middleware.Recover())\nc := chi.NewRouter()\n",
		"the other of these":     "c := chi.NewRouter()\nc.Use(middleware.Recoverer)\n",
		"mux, the package":       "m := mux.NewRouter()\nm.Handle(\"/x\", guard.RequireLogin(next))\n",
		"mux, the variable":      "mux.Handle(\"/x\", guard.RequireLogin(next))\n",
		"its own user":           "type User struct{ name string }\n\nfunc of(u User) string { return u.name }\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := p.checkPage(parsePage("page.md", []byte("```go\n"+code+"```\n")))
			require.Empty(t, problems)
		})
	}
	t.Run("what an earlier block declares", func(t *testing.T) {
		_, problems := p.checkPage(parsePage("page.md", []byte("```go\ntype item struct{ name string }\n```\n\n"+
			"```go\nfirst, err := item{\"a\"}, errors.New(\"b\")\n```\n\n```go\nfmt.Println(first.name, err)\n```\n")))
		require.Empty(t, problems)
	})
	t.Run("what an earlier file declares", func(t *testing.T) {
		_, problems := p.checkPage(parsePage("page.md", []byte("```go\npackage main\n\ntype item struct{ name string }\n\nfunc main() {}\n```\n\n"+
			"## More\n\n```go\nfmt.Println(item{}.name)\n```\n")))
		require.Empty(t, problems)
	})
}
