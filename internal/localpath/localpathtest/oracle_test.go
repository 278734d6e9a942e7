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

// WHATWG URL section 4.4
func TestBrowsersReadLinksInTheirOwnWay(t *testing.T) {
	for link, want := range map[string][2]string{
		"":                              {"https", Host},
		"/home":                         {"https", Host},
		"home:":                         {"home", ""},
		"1a:b":                          {"https", Host},
		"//evil.example/a":              {"https", "evil.example"},
		"////evil.example":              {"https", "evil.example"},
		`/\evil.example?a`:              {"https", "evil.example"},
		`\/\/evil.example#a`:            {"https", "evil.example"},
		"/\t/evil.example":              {"https", "evil.example"},
		"/\r\n/evil.example":            {"https", "evil.example"},
		"\x00\x1f //evil.example \x7f":  {"https", "evil.example \x7f"},
		"//a:b@app.example":             {"https", "a:b@app.example"},
		"https:home":                    {"https", Host},
		"https:/home":                   {"https", Host},
		"hTTps:\\/evil.example":         {"https", "evil.example"},
		"http:evil.example":             {"http", "evil.example"},
		"WSS:///evil.example":           {"wss", "evil.example"},
		"ja\nvascript:alert(1)":         {"javascript", "alert(1)"},
		"\x01 javascript://app.example": {"javascript", "//app.example"},
	} {
		scheme, authority := browserReads(link)
		require.Equal(t, want, [2]string{scheme, authority}, "%q", link)
	}
}
