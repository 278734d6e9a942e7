// Package useragent summarises a client's User-Agent header in a few words.
package useragent

import "strings"

// browsers and systems list which part of a User-Agent stands for which name.
// Browsers claim to be each other, so the first part that is found counts.
var (
	browsers = [][2]string{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Vivaldi/", "Vivaldi"},
		{"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	}
	systems = [][2]string{
		{"Windows", "Windows"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"CrOS", "ChromeOS"},
		{"Mac OS X", "macOS"}, {"Linux", "Linux"},
	}
)

// maxProgramName is the longest name of a program that Summary returns, in bytes.
const maxProgramName = 32

// Summary returns a browser and a system that a person recognises, such as "Firefox
// on Linux", the name of another program, such as "curl", or "". Whatever the client
// sends, the result has at most 44 bytes, all of them ASCII letters, digits, spaces,
// dots, hyphens and underscores.
func Summary(userAgent string) string {
	browser, system := firstOf(browsers, userAgent), firstOf(systems, userAgent)
	if browser == "" { // a program: curl/8.5.0, Go-http-client/1.1
		product, _, _ := strings.Cut(userAgent, "/")
		if product != "Mozilla" && len(product) <= maxProgramName && !strings.ContainsFunc(product, notInName) {
			browser = product
		}
	}
	if browser == "" || system == "" {
		return browser + system
	}
	return browser + " on " + system
}

// firstOf returns the name of the first entry whose part is in userAgent, or "".
func firstOf(table [][2]string, userAgent string) string {
	for _, entry := range table {
		if part, name := entry[0], entry[1]; strings.Contains(userAgent, part) {
			return name
		}
	}
	return ""
}

// notInName reports whether c does not belong in the name of a program.
func notInName(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(" -_.", c)
}
