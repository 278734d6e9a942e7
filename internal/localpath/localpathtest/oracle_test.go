package localpathtest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// An oracle that finds nothing would let every test with it pass.
func TestLeavesRecognisesLinksThatLeadAway(t *testing.T) {
	for _, link := range []string{
		"https://evil.example", "HTTP://evil.example", "http:evil.example", "javascript:alert(1)", "java\tscript:alert(1)", " \x01javascript:alert(1)",
		"//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`, "/\t/evil.example", "\n/\r\\evil.example", "//app.example@evil.example", "//a@app.example", "//app.example:444",
		`https:\\evil.example`, "https://", "ftp:/app.example", "/\x00", "/%zz",
	} {
		require.NotEmpty(t, Leaves(link), "%q", link)
	}
	for _, link := range []string{"", "/", "home", "../home", "?a=b", "#a", "/a:b", "//app.example/home", "https://app.example/home", "/?q=https://evil.example"} {
		require.Empty(t, Leaves(link), "%q", link)
	}
}
