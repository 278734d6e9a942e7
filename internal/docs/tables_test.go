package docs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/types"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
	markdown "github.com/yuin/goldmark/ast"
	east "github.com/yuin/goldmark/extension/ast"
)

// tableOf returns n as a table, if it is one.
func tableOf(p *page, n markdown.Node) (t table, ok bool) {
	node, ok := n.(*east.Table)
	if !ok {
		return table{}, false
	}
	t.heading = len(p.headings) - 1
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
		_ = markdown.Walk(r.FirstChild(), func(n markdown.Node, entering bool) (markdown.WalkStatus, error) {
			if span, ok := n.(*markdown.CodeSpan); ok && entering {
				entry.names = append(entry.names, p.textOf(span))
			}
			return markdown.WalkContinue, nil
		})
		t.rows = append(t.rows, entry)
	}
	return t, true
}

// rowsUnder returns the rows of the tables between a heading and the next one that is not below it.
func rowsUnder(t *testing.T, name, anchor string) (rows []row) {
	t.Helper()
	p := readPage(t, name)
	at := slices.IndexFunc(p.headings, func(h heading) bool { return h.anchor == anchor })
	require.GreaterOrEqual(t, at, 0, "%s has no heading %s", name, anchor)
	end := at + 1
	for end < len(p.headings) && p.headings[end].level > p.headings[at].level {
		end++
	}
	for _, table := range p.tables {
		if at <= table.heading && table.heading < end {
			rows = append(rows, table.rows...)
		}
	}
	require.NotEmpty(t, rows, "%s#%s has no table", name, anchor)
	return rows
}

// byName returns rows by the names in their first cells. No name may be in two of them.
func byName(t *testing.T, rows []row) map[string]row {
	t.Helper()
	named := map[string]row{}
	for _, r := range rows {
		require.NotEmpty(t, r.names, "line %d: the first cell has no name", r.line)
		for _, name := range r.names {
			require.NotContains(t, named, name, "line %d", r.line)
			named[name] = r
		}
	}
	return named
}

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// scope returns the declarations of a package of this repository.
func scope(t *testing.T, path string) *types.Scope {
	t.Helper()
	pkg, err := loaded(t).importer.Import(module + path)
	require.NoError(t, err)
	return pkg.Scope()
}

// fields returns the exported fields of a struct of the root package.
func fields(t *testing.T, name string) (names []string) {
	t.Helper()
	s := scope(t, "").Lookup(name).Type().Underlying().(*types.Struct)
	for f := range s.Fields() {
		if f.Exported() {
			names = append(names, f.Name())
		}
	}
	slices.Sort(names)
	return names
}

// constants returns the values of the constants of a type, by name.
func constants(t *testing.T, path, typeName string) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, name := range scope(t, path).Names() {
		if c, ok := scope(t, path).Lookup(name).(*types.Const); ok && types.TypeString(c.Type(), nil) == module+path+"."+typeName {
			values[name] = constant.StringVal(c.Val())
		}
	}
	require.NotEmpty(t, values)
	return values
}

// docs/configuration.md has every field of Config and Refusals.
func TestTheConfigurationPageHasEveryField(t *testing.T) {
	const name = "docs/configuration.md"
	rows := byName(t, rowsUnder(t, name, "fields"))
	require.Equal(t, fields(t, "Config"), keys(rows))
	require.Equal(t, fields(t, "Refusals"), keys(byName(t, rowsUnder(t, name, "refusals"))))

	// The defaults that are numbers are those of config.go.
	file, err := parser.ParseFile(loaded(t).files, filepath.Join(root, "config.go"), nil, 0)
	require.NoError(t, err)
	file.Decls = slices.DeleteFunc(file.Decls, func(d ast.Decl) bool {
		g, ok := d.(*ast.GenDecl)
		return !ok || g.Tok.String() == "type"
	})
	pkg, _, problems := loaded(t).check(nil, file)
	require.Empty(t, problems)
	compared := 0
	for _, name := range pkg.Scope().Names() {
		c, ok := pkg.Scope().Lookup(name).(*types.Const)
		field, isDefault := strings.CutPrefix(name, "default")
		if !ok || !isDefault {
			continue
		}
		value, _ := constant.Int64Val(c.Val())
		want := strconv.FormatInt(value, 10)
		switch d := time.Duration(value); {
		case types.TypeString(c.Type(), nil) != "time.Duration":
		case d >= time.Hour:
			want = fmt.Sprintf("%d hours", d/time.Hour)
		case d >= time.Minute:
			want = fmt.Sprintf("%d minutes", d/time.Minute)
		default:
			want = fmt.Sprintf("%d seconds", d/time.Second)
		}
		require.Contains(t, rows[field].cells[1], want, field)
		compared++
	}
	require.NotZero(t, compared)
}

// docs/configuration.md has every option of Login.
func TestTheConfigurationPageHasEveryLoginOption(t *testing.T) {
	var options []string
	for _, name := range scope(t, "").Names() {
		if f, ok := scope(t, "").Lookup(name).(*types.Func); ok {
			if results := f.Signature().Results(); results.Len() == 1 && types.TypeString(results.At(0).Type(), nil) == module+".LoginOption" {
				options = append(options, name)
			}
		}
	}
	require.NotEmpty(t, options)
	var named []string
	for name := range byName(t, rowsUnder(t, "docs/configuration.md", "login-options")) {
		name, _, _ = strings.Cut(strings.TrimPrefix(name, "sessionguard."), "(")
		named = append(named, name)
	}
	require.ElementsMatch(t, options, named)
}

// docs/events.md has every event, with its constant and the level at which it is logged.
func TestTheEventsPageHasEveryEvent(t *testing.T) {
	rows := byName(t, rowsUnder(t, "docs/events.md", "events"))
	events := constants(t, "", "EventName")
	var names []string
	for name, value := range events {
		row := rows[value]
		names = append(names, value)
		require.GreaterOrEqual(t, len(row.cells), 3, value)
		require.Equal(t, name, row.cells[1])
		if event := sessionguard.EventName(value); event != sessionguard.EventRefused {
			require.Equal(t, levelOf(sessionguard.Event{Name: event}), row.cells[2], value)
		}
	}
	slices.Sort(names)
	require.Equal(t, names, keys(rows))
}

// docs/events.md has every code of EventRefused, with its level.
func TestTheEventsPageHasEveryCode(t *testing.T) {
	rows := byName(t, rowsUnder(t, "docs/events.md", "codes-of-refused"))
	require.Equal(t, codes(t), keys(rows))
	for code, row := range rows {
		require.Equal(t, levelOf(sessionguard.Event{Name: sessionguard.EventRefused, Code: code}), row.cells[1], code)
	}
}

// codes returns the codes with which the root package emits EventRefused: those of the table
// refusals that say so, those of a refused login, and that of ActAs.
func codes(t *testing.T) (codes []string) {
	t.Helper()
	refusals := regexp.MustCompile(`(?s)\n\t\w+: \{(.*?)\n\t\}`)
	code, event := regexp.MustCompile(`\bcode: "(\w+)"`), regexp.MustCompile(`\bevent:\s+true`)
	literal := regexp.MustCompile(`Name: EventRefused,[^}]*Code: "(\w+)"`)
	login := regexp.MustCompile(`emitLoginRefused\(.*store\.(Reason\w+)\)`)
	reasons := constants(t, "/store", "Reason")
	for _, source := range goFiles(t, root, false) {
		for _, match := range refusals.FindAllStringSubmatch(source, -1) {
			if c := code.FindStringSubmatch(match[1]); c != nil && event.MatchString(match[1]) {
				codes = append(codes, c[1])
			}
		}
		for _, match := range literal.FindAllStringSubmatch(source, -1) {
			codes = append(codes, match[1])
		}
		for _, match := range login.FindAllStringSubmatch(source, -1) {
			codes = append(codes, reasons[match[1]])
		}
	}
	slices.Sort(codes)
	codes = slices.Compact(codes)
	require.Greater(t, len(codes), 6)
	return codes
}

// levelOf returns the level at which an event is logged, in lower case.
func levelOf(e sessionguard.Event) string {
	var log bytes.Buffer
	e.Log(context.Background(), slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	var record struct{ Level string }
	_ = json.Unmarshal(log.Bytes(), &record)
	return strings.ToLower(record.Level)
}

// docs/events.md has every attribute of a record.
func TestTheEventsPageHasEveryAttribute(t *testing.T) {
	var log bytes.Buffer
	sessionguard.Event{Name: sessionguard.EventEnded, UserID: "u", SessionHash: "s", Reason: "r", Actor: "a", Code: "c", Count: 1,
		Factors: []string{"pwd"}, Err: errors.New("e"), Method: "GET", Path: "/", Address: "127.0.0.1", UserAgent: "x"}.
		Log(t.Context(), slog.New(slog.NewJSONHandler(&log, nil)))
	var record map[string]any
	require.NoError(t, json.Unmarshal(log.Bytes(), &record))
	for _, name := range []string{slog.TimeKey, slog.LevelKey, slog.MessageKey} {
		require.Contains(t, record, name)
		delete(record, name)
	}
	rows := byName(t, rowsUnder(t, "docs/events.md", "attributes"))
	require.Equal(t, paths(record), keys(rows))

	// Every field of Event is in one of them.
	named := ""
	for _, row := range rows {
		named += " " + row.cells[1]
	}
	require.ElementsMatch(t, fields(t, "Event"), strings.Fields(named))
}

// paths returns the names of the values in nested objects, with dots.
func paths(object map[string]any) (names []string) {
	for name, value := range object {
		if inner, ok := value.(map[string]any); ok {
			for _, rest := range paths(inner) {
				names = append(names, name+"."+rest)
			}
		} else {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// docs/lifecycle.md has every reason that an application can get, with its constant.
func TestTheLifecyclePageHasEveryReason(t *testing.T) {
	reasons := constants(t, "/store", "Reason")
	named := byName(t, rowsUnder(t, "docs/lifecycle.md", "reasons"))
	events := readPage(t, "docs/events.md").codes
	for constant, value := range reasons {
		if store.Reason(value).Retained() {
			require.Contains(t, named, value)
		} else { // only events have it
			require.True(t, slices.ContainsFunc(events, func(c code) bool { return c.text == value }), value)
		}
		if row, ok := named[value]; ok {
			require.Contains(t, strings.Split(strings.ReplaceAll(row.cells[1], "store.", ""), ", "), constant)
		}
	}
	for value := range named {
		require.Contains(t, slices.Collect(maps.Values(reasons)), value)
	}
}

// docs/front-ends.md has every attribute of the guard script, with its default.
func TestTheFrontEndsPageHasEveryAttribute(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(root, "guard.js"))
	require.NoError(t, err)
	want := attributes(string(script))
	for _, name := range []string{"nonce", "id"} { // of ScriptTag
		want[name] = ""
	}
	named := byName(t, rowsUnder(t, "docs/front-ends.md", "attributes"))
	require.Equal(t, keys(want), keys(named))
	for name, value := range want {
		if value != "" {
			require.Equal(t, value, named[name].cells[1], name)
		}
	}
}

// attributes returns the attributes that the script reads of its element, with those
// defaults that are numbers and texts.
func attributes(script string) map[string]string {
	found := map[string]string{}
	attribute := func(name string) string { // of a name in HTMLElement.dataset
		return "data-" + regexp.MustCompile(`[A-Z]`).ReplaceAllStringFunc(name, func(c string) string { return "-" + strings.ToLower(c) })
	}
	for _, match := range regexp.MustCompile(`\b(?:option|duration)\("(\w+)"(?:, (?:"([^"]*)"|(\d+)))?`).FindAllStringSubmatch(script, -1) {
		name := attribute(match[1])
		found[name] = match[2] + match[3]
	}
	for _, kind := range regexp.MustCompile(`(?m)^    (\w+): \["(.*)", "(.*)", "(.*)"\],$`).FindAllStringSubmatch(script, -1) {
		for i, part := range []string{"-title", "-text", "-button"} {
			found["data-"+kind[1]+part] = kind[2+i]
		}
	}
	delete(found, "data-logout") // whose default is relative to the script
	found["data-logout"] = ""
	for _, own := range []string{"data-session", "data-idle-seconds", "data-absolute-seconds", "data-unproven"} { // ScriptTag sets these
		delete(found, own)
	}
	return found
}
