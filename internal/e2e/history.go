package e2e

import (
	"errors"
	"strings"
	"time"
)

// Open returns once the page is loaded. A page that cannot be had is an error
// here where the driver says so, although the browser shows its own page about
// that.
func (b *browser) Open(url string) error { return b.travel("Navigate", object{"url": url}) }

// Back returns once the page is there, from whichever cache, or the browser's
// own page about what is wrong with it. If there is nothing to go back to, it
// returns as well.
func (b *browser) Back() error { return atErrorPage(b.travel("Back", object{})) }

// Forward is the other way.
func (b *browser) Forward() error { return atErrorPage(b.travel("Forward", object{})) }

// Reload reloads the page as its button does.
func (b *browser) Reload() error { return atErrorPage(b.travel("Refresh", object{})) }

// atErrorPage is for Firefox, whose driver reports the error page as an error.
func atErrorPage(err error) error {
	var failed *driverError
	if errors.As(err, &failed) && strings.Contains(failed.Message, "Reached error page") {
		return nil
	}
	return err
}

// nowhere is how long Back and Forward may take to leave a page: no driver says
// that there is nothing to go back to.
const nowhere = 3 * time.Second

// travel goes to another page, and waits for it if the driver does not.
func (b *browser) travel(command string, parameters object) error {
	if b.waits {
		return b.call(command, parameters, nil)
	}
	// The page that is left is known by its number. One that comes back from
	// the back/forward cache still has that of an earlier journey.
	b.visits++
	var left string
	if err := b.Eval("window.e2eVisit = arguments[0]; return location.href", &left, b.visits); err != nil {
		return err
	}
	if err := b.call(command, parameters, nil); err != nil {
		return err
	}
	giveUp := pageLoadTimeout
	if command == "Back" || command == "Forward" {
		giveUp = nowhere
	}
	return b.Until(`const left = window.e2eVisit === arguments[0] && location.href === arguments[1];
		return left ? Date.now() > arguments[2] : document.readyState === "complete"`,
		b.visits, left, time.Now().Add(giveUp).UnixMilli())
}
