package proxies

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The parts of configurations in docs/deployment.md are in those of docs/proxies.md, which run.
func TestThePageAboutDeploymentAgreesWithTheOneAboutProxies(t *testing.T) {
	page, err := os.ReadFile("../../docs/deployment.md")
	require.NoError(t, err)
	for _, s := range sites {
		whole := unindented(s.document(t))
		for _, block := range blocksOf(s.language, string(page)) {
			for _, part := range strings.Split(block, "\n\n") {
				require.Contains(t, whole, unindented(part)+"\n", s.name)
			}
		}
	}
	for _, language := range []string{"nginx", "haproxy", "caddyfile"} {
		require.NotEmpty(t, blocksOf(language, string(page)), language)
	}
}

// blocksOf returns the code blocks of a language.
func blocksOf(language, page string) (blocks []string) {
	for _, block := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?)\n```\n").FindAllStringSubmatch(page, -1) {
		blocks = append(blocks, block[1])
	}
	return blocks
}

var indentation = regexp.MustCompile(`(?m)^[ \t]+`)

func unindented(text string) string { return indentation.ReplaceAllString(text, "") }
