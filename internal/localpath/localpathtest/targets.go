// Package localpathtest holds addresses that must or must not pass for a path on
// this server, and an oracle that reads addresses as browsers do.
package localpathtest

import "strings"

// Refused are targets that some parser reads as another server, or as another
// place on this one than they say.
var Refused = []string{
	// schemes
	"http://evil.example", "https://evil.example/", "HTTPS://evil.example", "https:evil.example", "https:/evil.example",
	"https:///evil.example", `https:\\evil.example`, "ftp://evil.example/", "ws://evil.example",
	"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "\x01javascript:alert(1)", "javascript://app.example/%0aalert(1)",
	"data:text/html,<script>alert(1)</script>", "vbscript:x", "mailto:x@evil.example", "file:///etc/passwd", "about:blank", "blob:https://app.example/1",
	// another authority
	"//evil.example", "///evil.example", "////evil.example", "//evil.example/home", "//app.example@evil.example", "//app.example:443@evil.example/", "//evil.example?/home",
	"//evil.example#/home", "//[::1]/", "//1.2.3.4", "//0x7f000001", "//evil.example:443/", "//", "///",
	// what browsers read as a slash
	`/\evil.example`, `\/evil.example`, `\\evil.example`, `/\/evil.example`, `//\evil.example`, `\evil.example`, `/home\..\..\evil`, `/home?x=\evil`,
	// what browsers remove
	"/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "/\r\n/evil.example", "\t//evil.example", "\n/\n/evil.example", "/\t\\evil.example",
	" //evil.example", " /home", "\x00//evil.example", "\x1f//evil.example", "ht\ntps://evil.example",
	// control characters that end a header or a string
	"/home\r\nSet-Cookie: x=y", "/home\nLocation: //evil.example", "/home\x00", "/home\x7f", "/\x0b/evil.example", "/home?a=\r\nb", "/home#\n", "/home?a=\x7f", `/home#\evil`,
	"/%00", "/home%00.html", "/%0d%0aSet-Cookie:x=y", "/%0a/evil.example", "/%09/evil.example", "/%1f", "/%7f",
	// encoded once, twice, thrice, half
	"/%2f/evil.example", "/%2Fevil.example", "%2f%2fevil.example", "/%5cevil.example", "/%5Cevil.example", "/%5c%2fevil.example", "%5c%5cevil.example", "%68ttps://evil.example",
	"/%252fevil.example", "/%252Fevil.example", "/%255cevil.example", "/%25%32%66evil.example", "/%25252fevil.example", "/%25255cevil.example", "/%2525255cevil.example",
	"/%250d%250aSet-Cookie:x=y", "/%25250a", "/%2500", "/%252e%252e%252fevil", "/home%2f%2fevil.example", "/home/%2f/x",
	// dot segments
	"/..", "/.", "/../", "/./home", "/home/..", "/../../etc/passwd", "/..//evil.example", "/.//evil.example", "/home/..//evil.example", "/home/../../evil.example",
	"/%2e%2e/home", "/%2E./home", "/.%2e/home", "/home/%2e", "/%252e%252e/home", "/..%2f..%2f", "/.%09./x",
	// empty segments: a router that removes what is before them redirects to another server
	"/home//evil.example", "/home//", "//home", "/home/%2F",
	// userinfo, and relative references
	"user@evil.example", "@evil.example", "evil.example", "home", "./home", "../home", "?next=/home", "#/home", ":80/home", ".evil.example", "", "*", "%", "-",
	// what cannot be parsed
	"/%", "/%zz", "/home%2", "/%25zz", "/%c0%ae%", "/home%", "/home#%zz", "/100%25",
	// look-alikes of a slash, a dot or a colon
	"／／evil.example", "⁄⁄evil.example", "∕evil.example", "https：//evil.example", "〳evil.example", "\u2028//evil.example", "\ufeff//evil.example", "\u00a0//evil.example", "\u202e//evil.example",
	// too long for a header
	"/" + strings.Repeat("a", 2000), "/home?" + strings.Repeat("a", 4000), "/" + strings.Repeat("../", 500), "/" + strings.Repeat("%25", 600) + "5cevil.example",
}

// Local are targets that every parser reads as the same place on this server.
var Local = []string{
	"/", "/home", "/home/", "/home/account", "/a.b/c..d/...", "/reports/q3.csv", "/home?tab=1&sort=name", "/home?", "/home#top", "/?q=a%20b", "/a%20b",
	"/search?q=https://other.example/", "/search?q=//x", "/search?back=%2Fhome%3Fa%3Db", "/search?q=%5c%0a", "/caf%C3%A9", "/café", "/日本?q=語", "/a:b", "/a@b", "/user@host/x", "/~ada", "/a;b=c", "/a+b", "/a=b&c",
	"/!$'()*,", "/evil.example", "/https:/x", "/login?next=%2Fhome", "/home#/a//b", "/" + strings.Repeat("a", 1999),
}
