package localpath

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard/internal/localpath/localpathtest"
	"github.com/stretchr/testify/require"
)

// R2, OWASP ASVS 3.7.2
func TestTargetsThatLeadElsewhereAreRefused(t *testing.T) {
	for _, target := range localpathtest.Refused {
		require.False(t, IsLocal(target), "%.80q", target)
	}
}

// R2: what is accepted is used as it is.
func TestPathsOnThisServerAreAccepted(t *testing.T) {
	for _, target := range localpathtest.Local {
		require.True(t, IsLocal(target), "%.80q", target)
		require.Empty(t, localpathtest.Leaves(target), "%.80q", target)
		require.Empty(t, localpathtest.Leaves(redirect(target)), "%.80q", target)
	}
}

// redirect returns the Location header that net/http writes for target.
func redirect(target string) string {
	w := httptest.NewRecorder()
	http.Redirect(w, httptest.NewRequest("GET", "https://"+localpathtest.Host+"/deep/login", nil), target, http.StatusSeeOther)
	return w.Header().Get("Location")
}

func TestEveryControlCharacterAndBackslashIsRefusedAnywhere(t *testing.T) {
	for c := range 256 {
		s := string(rune(c))
		refused := c < 0x20 || c == 0x7f || c == '\\'
		for _, target := range []string{"/a" + s + "b", "/a?b=" + s, "/a#" + s, "/" + s + "a", "/a" + s} {
			switch {
			case refused:
				require.False(t, IsLocal(target), "%q", target)
			case c == '%' || c == '/' && target == "/"+s+"a": // an invalid escape, "//a"
				continue
			default:
				require.True(t, IsLocal(target), "%q", target)
			}
		}
		escaped := url.PathEscape(s)
		if c < 0x80 && escaped == s {
			continue
		}
		for layers := range 4 {
			target := "/a" + encodeAgain(escaped, layers) + "b"
			require.Equal(t, !refused && c != '%', IsLocal(target), "%q", target)
			require.True(t, IsLocal("/a?b="+encodeAgain(escaped, layers)), "in a query: %q", target)
		}
	}
}

// encodeAgain percent-encodes the percent signs of s again, layers times.
func encodeAgain(s string, layers int) string {
	return strings.ReplaceAll(s, "%", "%"+strings.Repeat("25", layers))
}

// A path is decoded until nothing changes, and refused if that takes too long: it
// must not be worth an attacker's while to encode one hundreds of times.
func TestAPathIsDecodedUpToSevenTimes(t *testing.T) {
	for layers := 1; layers <= 20; layers++ {
		harmless := "/a" + encodeAgain("%20", layers-1) + "b"
		require.Equal(t, layers <= 7, IsLocal(harmless), "%d layers", layers)
		for _, trick := range []string{"/%2fevil.example", "/%5cevil.example", "/%2e%2e/x", "/a%0ab", "/a%00b"} {
			require.False(t, IsLocal(encodeAgain(trick, layers-1)), "%d layers of %s", layers, trick)
		}
	}
	require.False(t, IsLocal("/a%"+strings.Repeat("25", 900)+"20b"))
}

func TestATargetMayHave2000Bytes(t *testing.T) {
	for _, prefix := range []string{"/", "/home?q=", "/home#"} {
		require.True(t, IsLocal(prefix+strings.Repeat("a", 2000-len(prefix))), prefix)
		require.False(t, IsLocal(prefix+strings.Repeat("a", 2001-len(prefix))), prefix)
	}
}

// R2: whatever IsLocal accepts stays on this server for Go's parser and for a
// browser's, as it is, as a redirect, and decoded more often than anybody should.
// A router that cleans paths finds nothing to do.
func FuzzIsLocal(f *testing.F) {
	for _, targets := range [][]string{localpathtest.Refused, localpathtest.Local} {
		for _, target := range targets {
			if len(target) < 100 { // long ones keep the fuzzer busy making them shorter
				f.Add(target)
			}
		}
	}
	f.Fuzz(func(t *testing.T, target string) {
		if !IsLocal(target) {
			return
		}
		if location := redirect(target); localpathtest.Leaves(location) != "" {
			t.Errorf("redirected from %q to %q: %s", target, location, localpathtest.Leaves(location))
		}
		p, _, _ := strings.Cut(target, "?")
		p, _, _ = strings.Cut(p, "#")
		link := target
		for range 8 {
			if how := localpathtest.Leaves(link); how != "" {
				t.Errorf("%q, as %q: %s", target, link, how)
			}
			if strings.Contains(p, `\`) || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("%q holds %q", target, p)
			}
			if clean := path.Clean(p); clean != p && clean+"/" != p {
				t.Errorf("%q holds %q, which a router cleans to %q", target, p, clean)
			}
			decoded, err := url.PathUnescape(p)
			if err != nil {
				t.Fatalf("%q: %v", target, err)
			}
			link, p = decoded, decoded
		}
	})
}

func TestClimbs(t *testing.T) {
	for _, path := range []string{
		"/..", "/.", "/a/..", "/a/./b", "/a/../b", "../a", "/a/..%2fb", "/a/..%2Fb", "/a/%2e%2e/b", "/a/.%2E/b", "/%2e",
		`/a/..\b`, `/a\..\b`, "/a/..%5cb", "/a%5C..%5Cb", "/a/..;/b", "/a/..;c=d/b", "/a/.;/b", "/a/..%3bc/b",
		"/a/%252e%252e/b", "/a/..%252fb", "/a/%25252e./b", "/a/100%25/..%252fb", "/a/%zz/..%2fb", "/a/%zz/%252e%252e/b",
		"/%" + strings.Repeat("25", 20) + "41",
	} {
		require.True(t, Climbs(path), path)
	}
	for _, path := range []string{
		"", "/", "/a/b", "//a//b", "/a..b", "/...", "/a/..b", "/a/b..", "/.well-known/a", "/a/%2e%2ea", "/a%2Fb", "/a%5Cb",
		"/a;..", "/100%25", "/100%", "/%zz", "/a/%25", "/a;b/c", "/;/", "/a/.%00.",
	} {
		require.False(t, Climbs(path), path)
	}
}
