package e2e

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var chromium = &engine{
	name:     "Chromium",
	packages: []need{{"chromium", "chromium"}, {"chromium-driver", "chromedriver"}},
	start:    startChromium,
}

// startChromium starts the browser itself and lets chromedriver join, which
// would otherwise put it into a process group that is not ours, and add
// switches that no person has.
func startChromium(b *browser) error {
	profile := filepath.Join(b.dir, "profile")
	extension := filepath.Join(b.dir, "extension")
	if err := writeExtension(extension); err != nil {
		return err
	}
	browser, err := b.run(nil, nil, find("chromium"),
		"--headless=new", "--remote-debugging-port=0", "--user-data-dir="+profile,
		"--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
		"--no-first-run", "--no-default-browser-check", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-breakpad", "--password-store=basic",
		// --ignore-certificate-errors would turn the HTTP cache off, and
		// pages that leak from there would seem safe.
		"--ignore-certificate-errors-spki-list="+certificate().spki,
		"--load-extension="+extension,
		"about:blank")
	if err != nil {
		return err
	}
	driver, err := b.run(nil, nil, find("chromedriver"), "--port=0")
	if err != nil {
		return err
	}
	debugging, err := browser.await("DevTools", func() string {
		port, _ := os.ReadFile(filepath.Join(profile, "DevToolsActivePort"))
		line, _, _ := strings.Cut(string(port), "\n")
		return line
	})
	if err != nil {
		return err
	}
	started := regexp.MustCompile(`started successfully on port (\d+)`)
	port, err := driver.await("its port", func() string {
		said, _ := os.ReadFile(driver.log)
		if found := started.FindSubmatch(said); found != nil {
			return string(found[1])
		}
		return ""
	})
	if err != nil {
		return err
	}
	b.undoCloseTab = func() error {
		if err := b.Open("chrome-extension://" + extensionID(extension) + "/page.html"); err != nil {
			return err
		}
		return b.Eval("return chrome.sessions.restore().then(() => null)", nil)
	}
	b.driver, b.waits = newWebdriver(port), true
	return b.session(object{
		"unhandledPromptBehavior": "dismiss",
		"goog:chromeOptions":      object{"debuggerAddress": "127.0.0.1:" + debugging},
	})
}

// writeExtension writes the only way to reopen a closed tab without a window to
// press Ctrl+Shift+T in: chrome.sessions. It has no part in any other page.
func writeExtension(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"manifest.json": `{"manifest_version": 3, "name": "Reopen closed tabs", "version": "1", "permissions": ["sessions"]}`,
		"page.html":     `<!DOCTYPE html><title>Reopen closed tabs</title>`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// extensionID is what Chromium calls an extension that has no key: the first
// half of its path's SHA-256, in the letters a to p.
func extensionID(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	id := make([]byte, 0, 32)
	for _, b := range sum[:16] {
		id = append(id, 'a'+b>>4, 'a'+b&15)
	}
	return string(id)
}
