package docs

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// place returns where something is, for a message.
func place(p *page, line int) string { return fmt.Sprintf("%s:%d: ", p.name, line) }

// The commands of go on the pages name directories, tests and flags that exist. They are run
// at the root of the repository, or where the page is.
func TestCommandsOnThePagesWouldRun(t *testing.T) {
	commands := 0
	eachPage(t, readPages(t), func(t *testing.T, p *page) {
		for _, c := range commandsOf(p) {
			commands++
			problem := checkCommand(t, root, c.words)
			if problem != "" && checkCommand(t, filepath.Join(root, path.Dir(p.name)), c.words) != "" {
				t.Error(place(p, c.line) + strings.Join(c.words, " ") + ": " + problem)
			}
		}
	})
	require.NotZero(t, commands)
}

type command struct {
	line  int
	words []string // from "go" on
}

// A word of a shell's command, or what separates commands.
var shellWord = regexp.MustCompile(`&&|\|\||[;|]|#.*|(?:'[^']*'|"[^"]*"|[^\s'"|;])+`)

var quotes = strings.NewReplacer("'", "", `"`, "")

// commandsOf returns the commands of go in code spans and in blocks for a shell.
func commandsOf(p *page) (commands []command) {
	read := func(text string, line int) {
		var words []string
		flush := func() {
			if at := slices.Index(words, "go"); at >= 0 && !slices.ContainsFunc(words[:at], func(w string) bool { return !strings.Contains(w, "=") && w != "$" }) {
				commands = append(commands, command{line, words[at:]})
			}
			words = nil
		}
		for _, word := range shellWord.FindAllString(text, -1) {
			switch {
			case strings.HasPrefix(word, "#"):
				continue
			case strings.Contains("&& || ; |", word):
				flush()
			default:
				words = append(words, quotes.Replace(word))
			}
		}
		flush()
	}
	for _, b := range p.blocks {
		if b.language == "sh" || b.language == "bash" || b.language == "console" || b.language == "" {
			for i, line := range strings.Split(b.code, "\n") {
				read(line, b.line+i)
			}
		}
	}
	for _, c := range p.codes {
		read(c.text, c.line)
	}
	return commands
}

// withValue are flags of the go command that a word follows.
var withValue = []string{"run", "skip", "bench", "fuzz", "benchtime", "count", "cpu", "cpuprofile", "fuzztime", "memprofile", "o", "p", "parallel", "tags", "timeout", "trace"}

// alone are those that none follows.
var alone = []string{"benchmem", "cover", "failfast", "fullpath", "json", "c", "race", "short", "v", "x"}

// checkCommand returns what is wrong with a command of go in a directory, or "".
func checkCommand(t *testing.T, directory string, words []string) string {
	t.Helper()
	words = words[1:]
	if len(words) > 1 && words[0] == "-C" {
		directory, words = filepath.Join(directory, words[1]), words[2:]
		if _, err := os.Stat(directory); err != nil {
			return "there is no such directory"
		}
	}
	if len(words) == 0 {
		return ""
	}
	switch verb, words := words[0], words[1:]; verb {
	case "get":
		return checkGet(words)
	case "test", "run", "vet", "build":
		return checkPackages(t, directory, verb, words)
	case "env", "fix", "fmt", "generate", "install", "list", "mod", "tool", "version", "work":
		return ""
	}
	return "there is no such command"
}

func checkGet(words []string) string {
	for _, word := range words {
		rest, ours := strings.CutPrefix(version.ReplaceAllString(word, ""), module)
		if _, err := os.Stat(filepath.Join(root, rest, "go.mod")); ours && err != nil {
			return "there is no such module"
		}
	}
	return ""
}

// checkPackages checks the arguments of a verb that takes packages.
func checkPackages(t *testing.T, directory, verb string, words []string) string {
	var directories, unknown []string
	patterns, below := map[string]string{}, false
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		name, isFlag := strings.CutPrefix(word, "-")
		name, value, joined := strings.Cut(name, "=")
		switch {
		case isFlag && name == "args":
			unknown, words = append(unknown, flagsOf(words)...), nil
		case isFlag && slices.Contains(withValue, name):
			if !joined && len(words) == 0 {
				return "a value is missing after -" + name
			}
			if !joined {
				value, words = words[0], words[1:]
			}
			patterns[name] = value
		case isFlag && slices.Contains(alone, name):
		case isFlag: // the test's own, all of which take a value
			unknown = append(unknown, name)
			if !joined && len(words) > 0 {
				words = words[1:]
			}
		default:
			target := strings.TrimSuffix(strings.TrimSuffix(word, "..."), "/")
			below = below || strings.HasSuffix(word, "...")
			if rest, ok := strings.CutPrefix(target, module); ok {
				target = filepath.Join(root, rest)
			} else if strings.HasPrefix(target, ".") {
				target = filepath.Join(directory, target)
			} else {
				return word + " is no package of this repository"
			}
			if len(goNames(target)) == 0 && !below {
				return "there is no package " + word
			}
			if _, err := os.Stat(target); err != nil {
				return "there is no directory " + word
			}
			directories = append(directories, target)
			if verb == "run" {
				unknown, words = append(unknown, flagsOf(words)...), nil
			}
		}
	}
	if directories == nil {
		directories = []string{directory}
	}
	return checkFlagsAndPatterns(t, directories, unknown, patterns, below)
}

// goNames returns the Go files of a directory.
func goNames(directory string) []string {
	names, _ := filepath.Glob(filepath.Join(directory, "*.go"))
	return names
}

func flagsOf(words []string) (names []string) {
	for _, word := range words {
		if name, ok := strings.CutPrefix(word, "-"); ok {
			name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
			names = append(names, name)
		}
	}
	return names
}

// checkFlagsAndPatterns checks the flags that programs or tests define, and the tests that
// patterns select.
func checkFlagsAndPatterns(t *testing.T, directories, flags []string, patterns map[string]string, below bool) string {
	var source strings.Builder
	var names []string
	for _, d := range directories {
		for _, content := range goFiles(t, d, true) {
			source.WriteString(content)
		}
		for _, content := range goFiles(t, d, below) {
			for _, match := range declaredTest.FindAllStringSubmatch(content, -1) {
				names = append(names, match[1])
			}
		}
	}
	for _, name := range flags {
		if !regexp.MustCompile(`\b(?:f|flag|flags)\.\w+\((?:&[\w.]+, )?"` + regexp.QuoteMeta(name) + `"`).MatchString(source.String()) {
			return "there is no flag -" + name
		}
	}
	for _, flag := range []string{"run", "skip", "bench", "fuzz"} {
		pattern, _, _ := strings.Cut(patterns[flag], "/")
		if pattern == "" || pattern == "^$" || pattern == "." {
			continue
		}
		matches, err := regexp.Compile(pattern)
		if err != nil {
			return err.Error()
		}
		kind := map[string]string{"bench": "Benchmark", "fuzz": "Fuzz", "run": "", "skip": ""}[flag]
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, kind) && matches.MatchString(name) }) {
			return "-" + flag + " selects nothing"
		}
	}
	return ""
}

// What would not run is found.
func TestBadCommandsAreFound(t *testing.T) {
	for line, want := range map[string]string{
		"go test ./none":    "there is no package ./none",
		"go -C none test .": "there is no such directory",
		"go test -run TestVanished ./internal/acceptance":                     "-run selects nothing",
		"go test -bench=Vanished .":                                           "-bench selects nothing",
		"go run ./examples/dashboard -vanished":                               "there is no flag -vanished",
		"go -C internal/e2e test . -args -vanished 1":                         "there is no flag -vanished",
		"go get " + module + "/vanished":                                      "there is no such module",
		"go tset ./...":                                                       "there is no such command",
		"X=1 go test ./... && go test ./none":                                 "there is no package ./none",
		"go run ./examples/dashboard -idle 30s # a comment with go test none": "",
		"go get " + module + "/store/redisstore@latest":                       "",
		"go test -run '^TestRandom' ./internal/acceptance -args -programs 1":  "",
		"go -C internal/bench test -run='^$' -bench=. ./...":                  "",
	} {
		problem := ""
		for _, c := range commandsOf(parsePage("page.md", []byte("```sh\n"+line+"\n```\n"))) {
			problem += checkCommand(t, root, c.words)
		}
		require.Equal(t, want, problem, line)
	}
}
