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
	packages: []requirement{{"chromium", "chromium"}, {"chromium-driver", "chromedriver"}},
	start:    startChromium,
}

// startChromium starts the browser itself, and chromedriver attaches to it. Started by
// chromedriver, the browser would be in a process group that is not ours and would have
// switches that no user sets.
func startChromium(b *browser) error {
	profile := filepath.Join(b.dir, "profile")
	extension := filepath.Join(b.dir, "extension")
	if err := writeExtension(extension); err != nil {
		return err
	}
	if err := choose(profile, b.thirdParty); err != nil {
		return err
	}
	port := filepath.Join(profile, "DevToolsActivePort")
	_ = os.Remove(port) // of the browser that had the profile before
	args := []string{
		"--headless=new", "--remote-debugging-port=0", "--user-data-dir=" + profile,
		"--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
		"--no-first-run", "--no-default-browser-check", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-breakpad", "--password-store=basic",
		// --ignore-certificate-errors would turn the HTTP cache off, and hide
		// leaks from it.
		"--ignore-certificate-errors-spki-list=" + certificate().spki,
		"--load-extension=" + extension,
	}
	if b.features != "" {
		args = append(args, "--enable-features="+b.features)
	}
	browser, err := b.startProcess(nil, nil, findProgram("chromium"), append(args, "about:blank")...)
	if err != nil {
		return err
	}
	debugging, err := browser.await("DevTools", func() string {
		content, _ := os.ReadFile(port)
		line, _, _ := strings.Cut(string(content), "\n")
		return line
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
	return attach(b, debugging)
}

// attach starts chromedriver for a browser whose DevTools protocol is on that port.
func attach(b *browser, debugging string) error {
	driver, err := b.startProcess(nil, nil, findProgram("chromedriver"), "--port=0")
	if err != nil {
		return err
	}
	started := regexp.MustCompile(`started successfully on port (\d+)`)
	port, err := driver.await("its port", func() string {
		log, _ := os.ReadFile(driver.log)
		if match := started.FindSubmatch(log); match != nil {
			return string(match[1])
		}
		return ""
	})
	if err != nil {
		return err
	}
	b.driver, b.driverWaits = newWebdriver(port), true
	return b.beginSession(object{
		"unhandledPromptBehavior": "dismiss",
		"goog:chromeOptions":      object{"debuggerAddress": "127.0.0.1:" + debugging},
	})
}

// choose makes the choice about third-party cookies in the settings of a new profile.
func choose(profile, thirdParty string) error {
	mode, ok := map[string]string{"allowed": "0", "blocked": "1"}[thirdParty]
	if !ok {
		return nil
	}
	settings := filepath.Join(profile, "Default")
	if err := os.MkdirAll(settings, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(settings, "Preferences"), []byte(`{"profile": {"cookie_controls_mode": `+mode+`}}`), 0o600)
}

// writeExtension writes an extension that may call chrome.sessions: without a window to
// press Ctrl+Shift+T in, nothing else reopens a closed tab. The extension does not touch
// other pages.
func writeExtension(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
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

// extensionID returns the ID that Chromium gives an extension without a key: the first
// half of the SHA-256 of its path, in the letters a to p.
func extensionID(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	id := make([]byte, 0, 32)
	for _, b := range sum[:16] {
		id = append(id, 'a'+b>>4, 'a'+b&15)
	}
	return string(id)
}
