package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// marionette speaks Firefox's remote protocol, version 3: WebDriver's commands
// in a JSON array that follows its length in decimal and a colon
// (https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html).
type marionette struct {
	connection net.Conn
	reader     *bufio.Reader
	last       int // the number of the last command
}

func newMarionette(port string) (*marionette, error) {
	connection, err := net.DialTimeout("tcp", "127.0.0.1:"+port, commandTimeout)
	if err != nil {
		return nil, err
	}
	m := &marionette{connection: connection, reader: bufio.NewReader(connection)}
	_ = connection.SetDeadline(time.Now().Add(commandTimeout))
	var greeting struct {
		Protocol int `json:"marionetteProtocol"`
	}
	if err := m.read(&greeting); err != nil || greeting.Protocol != 3 {
		connection.Close()
		return nil, fmt.Errorf("marionette: protocol %d, want 3: %w", greeting.Protocol, err)
	}
	return m, nil
}

func (m *marionette) call(within time.Duration, command string, parameters, result any) error {
	if !strings.Contains(command, ":") {
		command = "WebDriver:" + command
	}
	_ = m.connection.SetDeadline(time.Now().Add(within))
	if err := m.send(command, parameters, result); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

func (m *marionette) send(command string, parameters, result any) error {
	m.last++
	sent, err := json.Marshal([]any{0, m.last, command, parameters})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(m.connection, "%d:%s", len(sent), sent); err != nil {
		return err
	}
	for {
		var kind, number int
		var failed *driverError
		var value json.RawMessage
		if err := m.read(&[]any{&kind, &number, &failed, &value}); err != nil {
			return err
		}
		if kind != 1 || number != m.last {
			continue // the answer to a command that was given up on
		}
		if failed != nil {
			return failed
		}
		// A scalar comes as {"value": …}, an object as it is.
		var scalar struct{ Value json.RawMessage }
		if json.Unmarshal(value, &scalar) == nil && scalar.Value != nil {
			value = scalar.Value
		}
		return decode(value, result)
	}
}

func (m *marionette) read(into any) error {
	length, err := m.reader.ReadString(':')
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil || n < 0 || n > 64<<20 {
		return fmt.Errorf("marionette: a message of length %q", length)
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(m.reader, message); err != nil {
		return err
	}
	return json.Unmarshal(message, into)
}

func (m *marionette) close() { m.connection.Close() }
