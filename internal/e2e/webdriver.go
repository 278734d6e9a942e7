package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// webdriver is a client of a browser's driver program, by W3C WebDriver
// (https://www.w3.org/TR/webdriver2/).
type webdriver struct {
	server  string // its URL
	session string // the path of the session, "" before NewSession
	client  http.Client
}

func newWebdriver(port string) *webdriver {
	return &webdriver{
		server: "http://127.0.0.1:" + port,
		// No proxy from the environment: the driver is on this machine.
		client: http.Client{Transport: &http.Transport{}},
	}
}

// endpoints maps commands to their endpoints (W3C WebDriver, section 6).
var endpoints = map[string]string{
	"SetTimeouts":      "POST /timeouts",
	"Navigate":         "POST /url",
	"GetCurrentURL":    "GET /url",
	"Back":             "POST /back",
	"Forward":          "POST /forward",
	"Refresh":          "POST /refresh",
	"GetWindowHandle":  "GET /window",
	"GetWindowHandles": "GET /window/handles",
	"SwitchToWindow":   "POST /window",
	"SwitchToFrame":    "POST /frame",
	"CloseWindow":      "DELETE /window",
	"NewWindow":        "POST /window/new",
	"SetWindowRect":    "POST /window/rect",
	"ExecuteScript":    "POST /execute/sync",
	"PerformActions":   "POST /actions",
	"TakeScreenshot":   "GET /screenshot",
	"DeleteSession":    "DELETE ",
	// Of WebAuthn (section 12.3).
	"AddVirtualAuthenticator": "POST /webauthn/authenticator",
	// Chromium's extension for its DevTools protocol.
	"DevTools": "POST /goog/cdp/execute",
}

func (w *webdriver) call(timeout time.Duration, command string, parameters, result any) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if command == "NewSession" {
		var begun struct {
			SessionID string `json:"sessionId"`
		}
		var value json.RawMessage
		if err := w.send(ctx, "POST", "/session", object{"capabilities": object{"alwaysMatch": parameters}}, &value); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		if err := json.Unmarshal(value, &begun); err != nil {
			return err
		}
		w.session = "/session/" + begun.SessionID
		return decodeResult(value, result)
	}
	method, path, ok := strings.Cut(endpoints[command], " ")
	if !ok || w.session == "" {
		return fmt.Errorf("%s: no such command, or no session yet", command)
	}
	if err := w.send(ctx, method, w.session+path, parameters, result); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

func (w *webdriver) send(ctx context.Context, method, path string, parameters, result any) error {
	var body io.Reader
	if method == "POST" {
		encoded, err := json.Marshal(parameters)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, w.server+path, body)
	if err != nil {
		return err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var reply struct{ Value json.RawMessage }
	if err := json.NewDecoder(response.Body).Decode(&reply); err != nil {
		return fmt.Errorf("%s %s: %w", response.Status, path, err)
	}
	if response.StatusCode != http.StatusOK {
		driverErr := &driverError{}
		if err := json.Unmarshal(reply.Value, driverErr); err != nil {
			return fmt.Errorf("%s: %s", response.Status, reply.Value)
		}
		return driverErr
	}
	return decodeResult(reply.Value, result)
}

// ready returns a value that is not empty once the driver is ready, as [process.await]
// expects.
func (w *webdriver) ready() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var status struct{ Ready bool }
	if w.send(ctx, "GET", "/status", nil, &status) != nil || !status.Ready {
		return ""
	}
	return "ready"
}

// close ends the session, and with it the browser if the driver started it.
func (w *webdriver) close() {
	if w.session != "" {
		_ = w.call(commandTimeout, "DeleteSession", nil, nil)
	}
	w.client.CloseIdleConnections()
}
