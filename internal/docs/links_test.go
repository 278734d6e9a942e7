package docs

import (
	"bytes"
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"go/types"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

const (
	module  = "github.com/sessionguard-go/sessionguard"
	sources = "https://github.com/sessionguard-go/sessionguard/"
	godoc   = "https://pkg.go.dev/" + module
)

// Links lead to files, headings and names that exist. No other host is asked.
func TestLinksLeadSomewhere(t *testing.T) {
	pages := map[string]*page{}
	all := readPages(t)
	for _, p := range all {
		pages[p.name] = p
	}
	links := 0
	eachPage(t, all, func(t *testing.T, p *page) {
		for _, l := range p.links {
			links++
			if problem := checkLink(t, pages, p, l.to); problem != "" {
				t.Errorf("%s:%d: %s: %s", p.name, l.line, l.to, problem)
			}
		}
	})
	require.NotZero(t, links)
}

// checkLink returns what is wrong with a link, or "".
func checkLink(t *testing.T, pages map[string]*page, p *page, to string) string {
	if rest, ok := strings.CutPrefix(to, godoc); ok {
		return checkGodoc(t, rest)
	}
	for _, view := range []string{"blob", "tree", "raw"} {
		if rest, ok := strings.CutPrefix(to, sources+view+"/main/"); ok {
			return checkFile(pages, rest)
		}
	}
	u, err := url.Parse(to)
	switch {
	case err != nil:
		return err.Error()
	case u.Scheme != "" || u.Host != "":
		return ""
	case u.Path == "":
		return checkAnchor(p, u.Fragment)
	case strings.HasPrefix(u.Path, "/"):
		return "begins with a slash"
	}
	name := path.Join(path.Dir(p.name), u.Path)
	if u.Fragment != "" {
		name += "#" + u.Fragment
	}
	return checkFile(pages, name)
}

// checkFile checks a name of a file or directory, relative to the root, with its anchor.
func checkFile(pages map[string]*page, name string) string {
	name, anchor, _ := strings.Cut(name, "#")
	if name == ".." || strings.HasPrefix(name, "../") {
		return "is not in the repository"
	}
	if target := pages[path.Clean(name)]; target != nil {
		return checkAnchor(target, anchor)
	}
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		if info, err := os.Stat(filepath.Join(root, filepath.FromSlash(name))); err != nil || !info.IsDir() || anchor != "" {
			return "there is no such file"
		}
		return ""
	}
	if anchor == "" {
		return ""
	}
	line, err := strconv.Atoi(strings.TrimPrefix(anchor, "L"))
	if err != nil || line < 1 || line > bytes.Count(content, []byte("\n")) {
		return "there is no such line"
	}
	return ""
}

func checkAnchor(p *page, anchor string) string {
	if anchor != "" && !p.anchors[anchor] {
		return p.name + " has no heading or element of that name"
	}
	return ""
}

var version = regexp.MustCompile(`@[^/]*`)

// checkGodoc checks what follows the path of the module in an address of pkg.go.dev.
func checkGodoc(t *testing.T, rest string) string {
	rest, anchor, _ := strings.Cut(rest, "#")
	rest = version.ReplaceAllString(rest, "")
	directory := filepath.Join(root, filepath.FromSlash(rest))
	if rest != "" && !strings.HasPrefix(rest, "/") {
		return "there is no such package"
	}
	pkg, err := loaded(t).importer.Import(module + rest)
	if err != nil {
		return err.Error()
	}
	anchors, err := otherAnchors(directory, module+rest)
	if err != nil {
		return err.Error()
	}
	if anchor == "" || anchors[anchor] {
		return ""
	}
	name, member, isMember := strings.Cut(anchor, ".")
	object := pkg.Scope().Lookup(name)
	if object == nil || !object.Exported() {
		return "there is no such name in the package"
	}
	if isMember {
		if found, _, _ := types.LookupFieldOrMethod(object.Type(), true, pkg, member); found == nil || !found.Exported() {
			return name + " has no such method or field"
		}
	}
	return ""
}

// otherAnchors returns the anchors of a package on pkg.go.dev that are not names of its
// declarations: of sections, headings in the package comment, and examples.
func otherAnchors(directory, importPath string) (map[string]bool, error) {
	anchors := map[string]bool{}
	for _, section := range []string{"overview", "index", "examples", "constants", "variables", "functions", "types"} {
		anchors["pkg-"+section] = true
	}
	names, err := filepath.Glob(filepath.Join(directory, "*.go"))
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	pkg, err := doc.NewFromFiles(set, files, importPath)
	if err != nil {
		return nil, err
	}
	for _, block := range pkg.Parser().Parse(pkg.Doc).Content {
		if h, ok := block.(*comment.Heading); ok {
			anchors[h.DefaultID()] = true
		}
	}
	add := func(of string, examples []*doc.Example) {
		for _, e := range examples {
			anchor := "example-" + of
			if e.Suffix != "" {
				first, size := utf8.DecodeRuneInString(e.Suffix)
				anchor += "-" + string(unicode.ToUpper(first)) + e.Suffix[size:]
			}
			anchors[anchor] = true
		}
	}
	functions := func(of string, list []*doc.Func) {
		for _, f := range list {
			add(of+f.Name, f.Examples)
		}
	}
	add("package", pkg.Examples)
	functions("", pkg.Funcs)
	for _, typ := range pkg.Types {
		add(typ.Name, typ.Examples)
		functions("", typ.Funcs)
		functions(typ.Name+".", typ.Methods)
	}
	return anchors, nil
}

// Links that lead nowhere are found.
func TestBadLinksAreFound(t *testing.T) {
	p := parsePage("docs/x.md", []byte("## A heading\n"))
	pages := map[string]*page{p.name: p}
	for _, to := range []string{"#none", "none.md", "../none/", "../docs/#a", "/docs", "../../outside", "../go.mod#L9999", "../README.md#L1x",
		godoc + "#Vanished", godoc + "#Guard.Vanished", godoc + "#Vanished.Handler", godoc + "/vanished", godoc + "x", godoc + "#guard",
		godoc + "#example-Guard.Vanished", godoc + "/store#hdr-None", sources + "blob/main/none.go"} {
		require.NotEmpty(t, checkLink(t, pages, p, to), to)
	}
	for _, to := range []string{"#a-heading", "x.md#a-heading", "x.md", "../docs/", "../docs", "../go.mod#L1", "https://example.com/#none", "mailto:a@example.com",
		godoc, godoc + "/store", godoc + "@v0.1.0/store#Backend.Create", godoc + "#Guard.Handler", godoc + "#Config.FindUser", godoc + "#pkg-variables",
		godoc + "#example-Guard.Login", godoc + "/store/redisstore#NewWithClient", sources + "blob/main/go.mod"} {
		require.Empty(t, checkLink(t, pages, p, to), to)
	}
}
