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
	packages: []need{
		{"webkit2gtk-driver", "WebKitWebDriver"},
		{"libwebkit2gtk-4.1-0", miniBrowser},
		{"xvfb", "Xvfb"},
	},
	start: startWebKit,
}

const miniBrowser = "/usr/lib/*/webkit2gtk-4.1/MiniBrowser"

// startWebKit starts a display as well: MiniBrowser has no headless mode.
func startWebKit(b *browser) error {
	display, err := startXvfb(b)
	if err != nil {
		return err
	}
	env := []string{
		"DISPLAY=:" + display, "GDK_BACKEND=x11", "NO_AT_BRIDGE=1",
		"LIBGL_ALWAYS_SOFTWARE=1", "WEBKIT_DISABLE_DMABUF_RENDERER=1",
	}
	// The driver cannot pick a free port by itself, and somebody may take
	// the one that was free just now.
	var failed error
	for range 3 {
		port, err := freePort()
		if err != nil {
			return err
		}
		driver, err := b.run(env, nil, find("WebKitWebDriver"), "--port="+port)
		if err != nil {
			return err
		}
		w := newWebdriver(port)
		if _, err := driver.await("its port", w.ready); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		// A second tab's page is never visible, and gets no frames.
		b.driver, b.tab = w, "window"
		// A script that runs while its page is put into the back/forward
		// cache is never answered.
		b.attempt = 200 * time.Millisecond
		return b.session(object{
			"browserName":             "MiniBrowser",
			"acceptInsecureCerts":     true,
			"unhandledPromptBehavior": "dismiss",
			// After Back to a page that answered a POST, the driver waits
			// for ever, also with every command after it.
			"pageLoadStrategy": "none",
			"webkitgtk:browserOptions": object{
				"binary": find(miniBrowser), "args": []string{"--automation"},
			},
		})
	}
	return failed
}

// startXvfb returns the number of the display, which Xvfb picks.
func startXvfb(b *browser) (string, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer reader.Close()
	server, err := b.run(nil, writer, find("Xvfb"), "-displayfd", "3", "-screen", "0", "1600x1200x24", "-nolisten", "tcp")
	writer.Close()
	if err != nil {
		return "", err
	}
	said := make(chan string, 1)
	go func() {
		line := make([]byte, 16)
		n, _ := reader.Read(line)
		said <- strings.TrimSpace(string(line[:n]))
	}()
	return server.await("a display", func() string {
		select {
		case number := <-said:
			return number
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
