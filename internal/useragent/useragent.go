// Package useragent names a client in a few words.
package useragent

import "strings"

// Which word in a User-Agent means what. Browsers claim to be each other, so the
// first that is found counts.
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

// Summary makes of a User-Agent what a person can recognise. It is short whatever
// the client sends, and of letters, digits and the like.
func Summary(userAgent string) string {
	named := func(table [][2]string) string {
		for _, entry := range table {
			if strings.Contains(userAgent, entry[0]) {
				return entry[1]
			}
		}
		return ""
	}
	browser, system := named(browsers), named(systems)
	if browser == "" { // a program: curl/8.5.0, Go-http-client/1.1
		product, _, _ := strings.Cut(userAgent, "/")
		if product != "Mozilla" && len(product) <= 32 && !strings.ContainsFunc(product, unlikely) {
			browser = product
		}
	}
	switch {
	case browser == "" || system == "":
		return browser + system
	default:
		return browser + " on " + system
	}
}

// unlikely says that c is not in the name of a program.
func unlikely(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(" -_.", c)
}
