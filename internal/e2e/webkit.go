package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

var webkit = &engine{
	name: "WebKitGTK",
	packages: []requirement{
		{"webkit2gtk-driver", "WebKitWebDriver"},
		{"libwebkit2gtk-4.1-0", miniBrowser},
		{"xvfb", "Xvfb"},
	},
	start: startWebKit,
}

const miniBrowser = "/usr/lib/*/webkit2gtk-4.1/MiniBrowser"

// startWebKit also starts a display, because MiniBrowser has no headless mode.
func startWebKit(b *browser) error {
	display, err := startXvfb(b)
	if err != nil {
		return err
	}
	env := []string{
		"DISPLAY=:" + display, "GDK_BACKEND=x11", "NO_AT_BRIDGE=1",
		"LIBGL_ALWAYS_SOFTWARE=1", "WEBKIT_DISABLE_DMABUF_RENDERER=1",
	}
	// The driver cannot pick a free port itself, and another process may take the port
	// before the driver does, so a failure is retried.
	var errs error
	for range 3 {
		port, err := freePort()
		if err != nil {
			return err
		}
		driver, err := b.startProcess(env, nil, findProgram("WebKitWebDriver"), "--port="+port)
		if err != nil {
			return err
		}
		w := newWebdriver(port)
		if _, err := driver.await("its port", w.ready); err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		// The page of a second tab is never visible and gets no animation frames.
		b.driver, b.tabType = w, "window"
		// The driver never responds to a script that runs while its page enters the
		// back/forward cache.
		b.attemptTimeout = 200 * time.Millisecond
		return b.beginSession(object{
			"browserName":             "MiniBrowser",
			"acceptInsecureCerts":     true,
			"unhandledPromptBehavior": "dismiss",
			// With another strategy, Back to the result of a POST blocks the driver
			// for ever, and so does every command after it.
			"pageLoadStrategy": "none",
			"webkitgtk:browserOptions": object{
				"binary": findProgram(miniBrowser), "args": []string{"--automation"},
			},
		})
	}
	return errs
}

// startXvfb starts a display and returns its number, which Xvfb picks.
func startXvfb(b *browser) (string, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer reader.Close()
	server, err := b.startProcess(nil, writer, findProgram("Xvfb"), "-displayfd", "3", "-screen", "0", "1600x1200x24", "-nolisten", "tcp")
	writer.Close()
	if err != nil {
		return "", err
	}
	number := make(chan string, 1)
	go func() {
		line := make([]byte, 16)
		n, _ := reader.Read(line)
		number <- strings.TrimSpace(string(line[:n]))
	}()
	return server.await("a display", func() string {
		select {
		case n := <-number:
			return n
		default:
			return ""
		}
	})
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port), nil
}
