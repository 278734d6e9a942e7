package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

var firefox = &engine{
	name:     "Firefox",
	packages: []requirement{{"firefox-esr", "firefox-esr"}},
	start:    startFirefox,
}

// preferences stop the browser from contacting other servers and from asking questions.
// None affects pages or caches.
const preferences = `
user_pref("marionette.port", 0);
user_pref("app.normandy.enabled", false);
user_pref("app.update.disabledForTesting", true);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.region.network.url", "");
user_pref("browser.safebrowsing.downloads.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.page", 0);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("extensions.getAddons.cache.enabled", false);
user_pref("extensions.systemAddon.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.proxy.type", 0);
user_pref("services.settings.server", "data:,#remote-settings-dummy/v1");
user_pref("signon.rememberSignons", false);
user_pref("toolkit.telemetry.server", "data:,");
`

func startFirefox(b *browser) error {
	profile := filepath.Join(b.dir, "profile")
	if err := os.Mkdir(profile, 0o700); err != nil {
		return err
	}
	user := preferences + map[string]string{
		"allowed": `user_pref("network.cookie.cookieBehavior", 0);`,
		// By default Firefox keeps all cookies apart for each site at the top. With this, it
		// refuses those that do not ask for it.
		"blocked": `user_pref("network.cookie.cookieBehavior.optInPartitioning", true);`,
	}[b.thirdParty]
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(user), 0o600); err != nil {
		return err
	}
	browser, err := b.startProcess(nil, nil, findProgram("firefox-esr"), "--headless", "--marionette", "--no-remote",
		"-remote-allow-system-access", // for undoCloseTab
		"--profile", profile)
	if err != nil {
		return err
	}
	port, err := browser.await("Marionette", func() string {
		port, _ := os.ReadFile(filepath.Join(profile, "MarionetteActivePort"))
		return strings.TrimSpace(string(port))
	})
	if err != nil {
		return err
	}
	m, err := newMarionette(port)
	if err != nil {
		return err
	}
	b.driver, b.driverWaits = m, true
	b.undoCloseTab = func() error {
		if err := b.call("Marionette:SetContext", object{"value": "chrome"}, nil); err != nil {
			return err
		}
		err := b.Eval(`const { SessionStore } = ChromeUtils.importESModule("resource:///modules/sessionstore/SessionStore.sys.mjs");
			SessionStore.undoCloseTab(window, 0)`, nil)
		return errors.Join(err, b.call("Marionette:SetContext", object{"value": "content"}, nil))
	}
	// Reloading the result of a form prompts whether to send the form again.
	return b.beginSession(object{"acceptInsecureCerts": true, "unhandledPromptBehavior": "dismiss"})
}
