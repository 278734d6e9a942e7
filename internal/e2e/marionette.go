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

// marionette is a client of Firefox's remote protocol, version 3. A message is its length
// in decimal, a colon and a JSON array that holds a WebDriver command or its result
// (https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html).
type marionette struct {
	connection net.Conn
	reader     *bufio.Reader
	lastID     int // the ID of the last command
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

func (m *marionette) call(timeout time.Duration, command string, parameters, result any) error {
	if !strings.Contains(command, ":") {
		command = "WebDriver:" + command
	}
	_ = m.connection.SetDeadline(time.Now().Add(timeout))
	if err := m.send(command, parameters, result); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

func (m *marionette) send(command string, parameters, result any) error {
	m.lastID++
	message, err := json.Marshal([]any{0, m.lastID, command, parameters})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(m.connection, "%d:%s", len(message), message); err != nil {
		return err
	}
	for {
		var kind, id int
		var commandErr *driverError
		var value json.RawMessage
		if err := m.read(&[]any{&kind, &id, &commandErr, &value}); err != nil {
			return err
		}
		if kind != 1 || id != m.lastID {
			continue // the response to an earlier command, which timed out
		}
		if commandErr != nil {
			return commandErr
		}
		// Scalars are wrapped as {"value": …}, objects are not.
		var scalar struct{ Value json.RawMessage }
		if json.Unmarshal(value, &scalar) == nil && scalar.Value != nil {
			value = scalar.Value
		}
		return decodeResult(value, result)
	}
}

func (m *marionette) read(into any) error {
	length, err := m.reader.ReadString(':')
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil || n < 0 || n > 64<<20 {
		return fmt.Errorf("marionette: invalid message length %q", length)
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(m.reader, message); err != nil {
		return err
	}
	return json.Unmarshal(message, into)
}

func (m *marionette) close() { m.connection.Close() }
