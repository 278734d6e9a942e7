package e2e

import (
	"errors"
	"strings"
	"time"
)

// Open opens url and returns once the page is loaded. If the page cannot be loaded, the
// browser shows its own error page, and some drivers report that as an error.
func (b *browser) Open(url string) error { return b.navigate("Navigate", object{"url": url}) }

// Back goes back and returns once the page is there, possibly from a cache, or the
// browser's own error page in its place. It also returns if there is no earlier page.
func (b *browser) Back() error { return ignoreErrorPage(b.navigate("Back", object{})) }

// Forward is like Back, in the other direction.
func (b *browser) Forward() error { return ignoreErrorPage(b.navigate("Forward", object{})) }

// Reload reloads the page, as the browser's reload button does.
func (b *browser) Reload() error { return ignoreErrorPage(b.navigate("Refresh", object{})) }

// ignoreErrorPage drops the error that Firefox's driver returns for an error page.
func ignoreErrorPage(err error) error {
	var driverErr *driverError
	if errors.As(err, &driverErr) && strings.Contains(driverErr.Message, "Reached error page") {
		return nil
	}
	return err
}

// historyTimeout is how long Back and Forward may take to leave a page. No driver reports
// that there is no page to go to.
const historyTimeout = 3 * time.Second

// navigate runs a command that loads a page, and waits for the page if the driver does
// not.
func (b *browser) navigate(command string, parameters object) error {
	if b.driverWaits {
		return b.call(command, parameters, nil)
	}
	// The current page is marked with a number. A page that the back/forward cache
	// restores carries the number of an earlier navigation.
	b.navigations++
	var from string
	if err := b.Eval("window.e2eVisit = arguments[0]; return location.href", &from, b.navigations); err != nil {
		return err
	}
	if err := b.call(command, parameters, nil); err != nil {
		return err
	}
	timeout := pageLoadTimeout
	if command == "Back" || command == "Forward" {
		timeout = historyTimeout
	}
	return b.Until(`const unchanged = window.e2eVisit === arguments[0] && location.href === arguments[1];
		return unchanged ? Date.now() > arguments[2] : document.readyState === "complete"`,
		b.navigations, from, time.Now().Add(timeout).UnixMilli())
}
