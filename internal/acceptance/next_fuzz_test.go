package acceptance

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
)

const nextHost = "app.example"

// nextLeaves says how a link on a page of this server leaves it, by Go's
// parser or by a browser's; or "" if it does not.
func nextLeaves(link string) string {
	base := &url.URL{Scheme: "https", Host: nextHost, Path: "/deep/login"}
	if u, err := base.Parse(link); err != nil {
		return "net/url: " + err.Error()
	} else if u.Scheme != "https" || u.Host != nextHost || u.User != nil {
		return "net/url: " + u.String()
	}
	if scheme, authority := browserReads(link); scheme != "https" || authority != nextHost {
		return "browser: " + scheme + " " + authority
	}
	return ""
}

// browserReads is a small model of the WHATWG URL parser, up to the authority,
// with a page of nextHost for a base.
func browserReads(link string) (scheme, authority string) {
	link = strings.TrimFunc(link, func(r rune) bool { return r <= ' ' })
	link = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(link)

	scheme = "https"
	if before, after, ok := strings.Cut(link, ":"); ok && isScheme(before) {
		switch before = strings.ToLower(before); before {
		case "http", "https", "ws", "wss", "ftp":
			link = strings.ReplaceAll(after, `\`, "/")
			if before == scheme && !strings.HasPrefix(link, "//") {
				return scheme, nextHost // "https:home" is relative to a https page
			}
			return before, browserAuthority(strings.TrimLeft(link, "/"))
		}
		return before, after
	}
	// Special schemes, of which https is one, read a backslash as a slash.
	link = strings.ReplaceAll(link, `\`, "/")
	if strings.HasPrefix(link, "//") {
		return scheme, browserAuthority(strings.TrimLeft(link, "/"))
	}
	return scheme, nextHost
}

func browserAuthority(s string) string {
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		s = s[:i]
	}
	return s
}

func isScheme(s string) bool {
	for i, c := range []byte(strings.ToLower(s)) {
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}

// R2: whatever Next returns that is not the fallback stays on this server for
// Go's parser and for a browser's, as it is, as a redirect, and decoded once
// more than anybody should.
func FuzzNext(f *testing.F) {
	for _, next := range slices.Concat(nextHostile, nextGood) {
		if len(next) < 100 { // long ones keep the fuzzer busy making them shorter
			f.Add(next)
		}
	}
	guard, err := sessionguard.New(sessionguard.Config[*user]{FindUser: (&userDatabase{}).Find, Keys: testKeys})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, next string) {
		const fallback = "/fallback"
		r := httptest.NewRequest("GET", "https://app.example/deep/login?next="+url.QueryEscape(next), nil)
		got := guard.Next(r, fallback)
		if got == fallback {
			return
		}
		if got != next {
			t.Fatalf("Next made %q of %q", got, next)
		}
		w := httptest.NewRecorder()
		http.Redirect(w, r, got, http.StatusSeeOther)
		if location := w.Header().Get("Location"); nextLeaves(location) != "" {
			t.Errorf("redirected from %q to %q: %s", next, location, nextLeaves(location))
		}
		path, _, _ := strings.Cut(got, "?")
		path, _, _ = strings.Cut(path, "#")
		for range 5 {
			if how := nextLeaves(got); how != "" {
				t.Errorf("%q, as %q: %s", next, got, how)
			}
			if strings.Contains(path, "//") || strings.Contains(path, `\`) || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("%q holds %q", next, path)
			}
			decoded, err := url.PathUnescape(path)
			if err != nil {
				t.Fatalf("%q: %v", next, err)
			}
			got, path = decoded, decoded
		}
	})
}
