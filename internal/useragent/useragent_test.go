package useragent

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSummaryNamesBrowserAndSystem(t *testing.T) {
	for userAgent, want := range map[string]string{
		"": "",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36":                            "Chrome on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0":              "Edge on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 OPR/125.0.0.0":              "Opera on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15":                      "Safari on macOS",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:140.0) Gecko/20100101 Firefox/140.0":                                                       "Firefox on macOS",
		"Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/141.0 Mobile/15E148 Safari/604.1":              "Chrome on iPad",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/140.0 Mobile/15E148 Safari/605.1.15":  "Firefox on iPhone",
		"Mozilla/5.0 (Linux; Android 15; SM-S931B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36": "Samsung Internet on Android",
		"Mozilla/5.0 (X11; CrOS x86_64 16181.61.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36":                            "Chrome on ChromeOS",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/141.0.0.0 Safari/537.36":                              "Chrome on Linux",
		"curl/8.14.1":        "curl",
		"Go-http-client/2.0": "Go-http-client",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Vivaldi/7.5":                       "Vivaldi on Linux",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36 EdgA/141.0.0.0":          "Edge on Android",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (Windows NT 10.0; Trident/7.0; rv:11.0) like Gecko":                                                                          "Windows",
		"my_app 2.1":                        "my_app 2.1",
		"my_app/2.1 (Linux)":                "my_app on Linux",
		strings.Repeat("a", 32):             strings.Repeat("a", 32),
		strings.Repeat("a", 32) + "/1 CrOS": strings.Repeat("a", 32) + " on ChromeOS",
		strings.Repeat("a", 33) + "/1 CrOS": "ChromeOS",
		"curl\u202e/1":                      "",
		"curl\xff/1":                        "",
		"a;b/1":                             "",
		"a\nb/1":                            "",
		"Mozilla/5.0":                       "",
		"<script>alert(1)</script>":         "",
		strings.Repeat("a", 33):             "",
		"Ünsinn/1":                          "",
		"\x00\x1b[31m/1":                    "",
	} {
		require.Equal(t, want, Summary(userAgent), userAgent)
	}
}

// Browsers also send the words of those that they claim to be: each entry counts
// before all later ones.
func TestTheFirstNameInTheTableCounts(t *testing.T) {
	for _, table := range [][][2]string{browsers, systems} {
		for i, entry := range table {
			all := ""
			for _, later := range table[i:] {
				all = later[0] + " " + all
			}
			require.Equal(t, entry[1], firstOf(table, all))
			require.Equal(t, entry[1], Summary("Mozilla/5.0 "+all))
		}
	}
}

// harmless needs no escaping in HTML, in logs or in a terminal.
var harmless = regexp.MustCompile(`^[A-Za-z0-9 ._-]{0,44}$`)

// Anyone can send any User-Agent, and administrators read its summary.
func FuzzSummary(f *testing.F) {
	for _, userAgent := range []string{
		"", "curl/8.14.1", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"SamsungBrowser/ CrOS", strings.Repeat("a", 32) + "/1 CrOS", strings.Repeat("é", 16) + "/Windows",
		"<script>alert(1)</script>", "\x1b[31m/1 Linux", "a\r\nb/1", "\u202egnp.exe/1", "\xff/1",
	} {
		f.Add(userAgent)
	}
	f.Fuzz(func(t *testing.T, userAgent string) {
		if summary := Summary(userAgent); !harmless.MatchString(summary) {
			t.Errorf("%q for %q", summary, userAgent)
		}
	})
}
