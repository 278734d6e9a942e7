package docs

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

const root = "../.."

// A page is a Markdown file.
type page struct {
	name     string // relative to the root of the repository, with slashes
	source   []byte
	headings []heading
	anchors  map[string]bool // of headings, and of elements with an ID
	blocks   []block
	links    []link
	tables   []table
	codes    []code
}

type heading struct {
	level, line  int
	text, anchor string
}

// A block is a fenced block of code.
type block struct {
	language, code string
	line           int // of its first line of code
	section        int // counts the headings of level 1 and 2 before it
}

type link struct {
	to   string
	line int
}

// A table has the texts of its cells, and those of the code spans in its first column.
type table struct {
	heading int // the index of the heading before it, or -1
	line    int
	head    []string
	rows    []row
}

type row struct {
	line  int
	cells []string
	names []string
}

// A code is a code span.
type code struct {
	text string
	line int
}

// readPages returns all pages of the repository that are covered.
func readPages(t *testing.T) (pages []*page) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == "testdata"):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			pages = append(pages, readPage(t, filepath.ToSlash(name)))
		}
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	return pages
}

// eachPage runs test on every page.
func eachPage(t *testing.T, pages []*page, test func(t *testing.T, p *page)) {
	for _, p := range pages {
		t.Run(p.name, func(t *testing.T) { test(t, p) })
	}
}

func readPage(t *testing.T, name string) *page {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	require.NoError(t, err)
	return parsePage(name, source)
}

func parsePage(name string, source []byte) *page {
	p := &page{name: name, source: source, anchors: map[string]bool{}}
	document := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(source))
	section := 0
	_ = ast.Walk(document, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			if n.Level <= 2 {
				section++
			}
			h := heading{level: n.Level, line: p.lineOf(n), text: p.textOf(n)}
			h.anchor = p.newAnchor(h.text)
			p.headings = append(p.headings, h)
		case *ast.FencedCodeBlock:
			b := block{language: string(n.Language(source)), code: string(n.Lines().Value(source)), section: section}
			b.line = p.lineOf(n)
			p.blocks = append(p.blocks, b)
		case *ast.CodeSpan:
			p.codes = append(p.codes, code{p.textOf(n), p.lineOf(n)})
		case *ast.Link:
			p.links = append(p.links, link{string(n.Destination), p.lineOf(n)})
		case *ast.Image:
			p.links = append(p.links, link{string(n.Destination), p.lineOf(n)})
		case *ast.AutoLink:
			if n.AutoLinkType == ast.AutoLinkURL { // a module@version is taken for an address
				p.links = append(p.links, link{string(n.URL(source)), p.lineOf(n)})
			}
		case *ast.RawHTML:
			p.readHTML(n.Segments.Value(source), p.lineOf(n))
		case *ast.HTMLBlock:
			p.readHTML(n.Lines().Value(source), p.lineOf(n))
		}
		if t, ok := tableOf(p, n); ok {
			p.tables = append(p.tables, t)
		}
		return ast.WalkContinue, nil
	})
	return p
}

var (
	htmlID   = regexp.MustCompile(`\b(?:id|name)="([^"]*)"`)
	htmlLink = regexp.MustCompile(`\b(?:href|src|srcset)="([^" ]*)`)
)

func (p *page) readHTML(source []byte, line int) {
	for _, id := range htmlID.FindAllSubmatch(source, -1) {
		p.anchors[string(id[1])] = true
	}
	for _, to := range htmlLink.FindAllSubmatch(source, -1) {
		p.links = append(p.links, link{string(to[1]), line})
	}
}

// newAnchor returns the anchor that GitHub gives a heading.
func (p *page) newAnchor(text string) string {
	slug := strings.Map(func(c rune) rune {
		switch {
		case c == ' ':
			return '-'
		case c == '-' || c == '_' || unicode.In(c, unicode.L, unicode.M, unicode.Nd, unicode.Pc):
			return unicode.ToLower(c)
		}
		return -1
	}, text)
	anchor := slug
	for i := 1; p.anchors[anchor]; i++ {
		anchor = fmt.Sprintf("%s-%d", slug, i)
	}
	p.anchors[anchor] = true
	return anchor
}

// textOf returns the text of n as a browser shows it.
func (p *page) textOf(n ast.Node) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Image:
			return ast.WalkSkipChildren, nil
		case *ast.AutoLink:
			b.Write(n.Label(p.source))
		case *ast.Text:
			b.Write(n.Segment.Value(p.source))
			if n.SoftLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.String:
			b.Write(n.Value)
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// lineOf returns the line at which n, or the block that it is in, begins.
func (p *page) lineOf(n ast.Node) int {
	for ; n != nil; n = n.Parent() {
		if n.Type() == ast.TypeBlock && n.Lines() != nil && n.Lines().Len() > 0 {
			return p.lineAt(n.Lines().At(0).Start)
		}
	}
	return 1
}

func (p *page) lineAt(offset int) int { return 1 + bytes.Count(p.source[:offset], []byte("\n")) }

// The pages are short enough to be read: the README in two minutes.
func TestThePagesAreShort(t *testing.T) {
	eachPage(t, readPages(t), func(t *testing.T, p *page) {
		most := 1000
		switch {
		case p.name == "README.md":
			most = 150
		case strings.HasPrefix(p.name, "docs/"):
			most = 249
		}
		if n := bytes.Count(p.source, []byte("\n")); n > most {
			t.Errorf("%s has %d lines, more than %d", p.name, n, most)
		}
	})
}

// What the tests read of a page is what GitHub shows.
func TestPagesAreReadAsGitHubDoes(t *testing.T) {
	p := parsePage("page.md", []byte("# A `guard.Handler(mux)`, *and* [more](x.md#y)\n\n## CSRF\n\n## CSRF\n\n"+
		"<a id=\"own\"></a>\n\n![seen](a.svg) <img src=\"b.png\">\n\n| A | B |\n|---|---|\n| `x`, `y` | [z](z.md) |\n\n"+
		"```go\nx := 1\n```\n"))
	anchors := make([]string, 0, 3)
	for _, h := range p.headings {
		anchors = append(anchors, h.anchor)
	}
	require.Equal(t, []string{"a-guardhandlermux-and-more", "csrf", "csrf-1"}, anchors)
	require.True(t, p.anchors["own"])
	require.Equal(t, []link{{"x.md#y", 1}, {"a.svg", 9}, {"b.png", 9}, {"z.md", 13}}, p.links)
	require.Equal(t, []block{{language: "go", code: "x := 1\n", line: 16, section: 3}}, p.blocks)
	require.Equal(t, []table{{heading: 2, line: 11, head: []string{"A", "B"},
		rows: []row{{line: 13, cells: []string{"x, y", "z"}, names: []string{"x", "y"}}}}}, p.tables)
}
