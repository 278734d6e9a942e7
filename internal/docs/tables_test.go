package docs

import (
	"github.com/yuin/goldmark/ast"
	east "github.com/yuin/goldmark/extension/ast"
)

// tableOf returns n as a table, if it is one.
func tableOf(p *page, n ast.Node) (t table, ok bool) {
	node, ok := n.(*east.Table)
	if !ok {
		return table{}, false
	}
	if len(p.headings) > 0 {
		t.under = p.headings[len(p.headings)-1].anchor
	}
	for r := node.FirstChild(); r != nil; r = r.NextSibling() {
		var cells []string
		for c := r.FirstChild(); c != nil; c = c.NextSibling() {
			cells = append(cells, p.textOf(c))
		}
		if _, ok := r.(*east.TableHeader); ok {
			t.head, t.line = cells, p.lineOf(r.FirstChild())
			continue
		}
		entry := row{line: p.lineOf(r.FirstChild()), cells: cells}
		_ = ast.Walk(r.FirstChild(), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
			if span, ok := n.(*ast.CodeSpan); ok && entering {
				entry.names = append(entry.names, p.textOf(span))
			}
			return ast.WalkContinue, nil
		})
		t.rows = append(t.rows, entry)
	}
	return t, true
}
