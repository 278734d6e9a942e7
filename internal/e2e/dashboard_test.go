package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// onScreens runs a test on a small phone, a phone and a laptop.
func onScreens(t *testing.T, args []string, test func(v *visit)) {
	b := sharedBrowser(t, chromium)
	for name, s := range map[string]screen{
		"320":  {width: 320, height: 640, scheme: "light"},
		"375":  {width: 375, height: 700, scheme: "dark"},
		"1280": {width: 1280, height: 800, scheme: "light"},
	} {
		t.Run(name, func(t *testing.T) {
			v := &visit{T: t, browser: b, proxy: startApplication(t, whole, false, args...), protection: whole}
			t.Cleanup(func() { must(t, b.EndEmulation()) })
			must(t, b.Emulate(s))
			v.complete(test)
		})
	}
}

// The main button is beside "Log out", also on a small phone. A longer text in another
// language has a row of its own.
func TestWarningButtonsAreSideBySide(t *testing.T) {
	const buttons = `const buttons = document.querySelector("sessionguard-dialog").shadowRoot.querySelectorAll("button"),
			[main, out] = Array.from(buttons, (button) => button.getBoundingClientRect()),
			dialog = buttons[0].closest("dialog").getBoundingClientRect(); `
	const inside = `const within = (box) => dialog.left >= 0 && dialog.right <= innerWidth && dialog.left < box.left && box.right < dialog.right; `
	onScreens(t, warningArgs, func(v *visit) {
		v.login()
		v.must(v.Until(dialogContains, "Stay signed in"))
		v.must(v.Until(buttons + inside + `return main.top === out.top && main.height === out.height && main.right < out.left && within(main) && within(out)`))
		v.must(v.Eval(`document.querySelector("sessionguard-dialog").shadowRoot.querySelector("button").textContent = arguments[0]`, nil,
			strings.Repeat("Angemeldet bleiben ", 3)))
		v.must(v.Until(buttons + inside + `return main.bottom < out.top && within(main) && within(out)`))
	})
}

// message is a condition: the page has this message, and it is inside a card.
const message = `const found = Array.from(document.querySelectorAll(".flash, .note")).find((p) => p.innerText.includes(arguments[0]))
	const box = found?.getBoundingClientRect(), card = found?.closest(".card, .hero")?.getBoundingClientRect()
	return Boolean(card && card.left < box.left && box.right < card.right && card.top < box.top && box.bottom < card.bottom)`

func TestMessagesAreInsideACard(t *testing.T) {
	onScreens(t, []string{"-fresh", "1h"}, func(v *visit) {
		v.must(v.Open(v.proxy.URL + "/home"))
		v.waitForPage("/login")
		v.must(v.Until(message, "Please log in to continue."))

		v.loginAs("grace")
		posts := []struct{ path, at, message string }{
			{"/reauth", "/account", "Thank you. You can go on."},
			{"/account/sessions/end-others", "/account/sessions", "You are logged out everywhere else."},
			{"/admin/users/eve/activate", "/admin", "Eve Adams may log in again."},
			{"/admin/users/ada/sessions/end", "/admin/users/ada/sessions", "Ada Lovelace is logged out everywhere."},
			{"/admin/users/grace/sessions/end", "/admin/users/grace/sessions", "You are logged out everywhere else."},
			{"/logout", "/", "You have been logged out."},
		}
		for _, post := range posts {
			v.submitForm(post.path, "password", passwords["grace"])
			v.waitForPage(post.at)
			v.must(v.Until(message, post.message))
		}
	})
}

// No page is wider than its screen. On a phone the buttons of a list have a row of their own.
func TestPagesFitTheScreen(t *testing.T) {
	onScreens(t, nil, func(v *visit) {
		fits := func(path string) {
			v.open(path)
			v.must(v.Until(`return document.documentElement.scrollWidth <= innerWidth && document.querySelector(".brand") !== null`))
			v.must(v.Until(`return innerWidth > 640 || Array.from(document.querySelectorAll(".rows form:not(.rename form) button")).every((button) => {
				const row = button.closest("li"), top = button.getBoundingClientRect().top
				return Array.from(row.querySelectorAll("a, small, dl, .badge")).every((other) => other.getBoundingClientRect().bottom <= top)
			})`))
		}
		for _, path := range []string{"/", "/login", "/nowhere"} {
			fits(path)
		}
		for _, name := range []string{"ada", "grace"} { // in other browsers
			response, err := http.PostForm(v.proxy.URL+"/login", url.Values{"username": {name}, "password": {passwords[name]}})
			v.must(err)
			v.must(response.Body.Close())
		}
		v.loginAs("grace")
		for _, path := range []string{"/", "/home", "/account", "/account/sessions", "/reauth", "/live",
			"/admin", "/admin/everyone", "/admin/users/ada/sessions", "/admin/users/grace/sessions", "/nowhere"} {
			fits(path)
		}
		v.submitForm("/admin/users/ada/act", "banner", "yes")
		v.waitForPage("/home")
		fits("/account")
	})
}
