package cookie

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"regexp"
	"strings"
	"sync"
)

// maxHandshake bounds the header of a handshake, as net/http does that of a request.
const maxHandshake = 1 << 20

// statusLine has the forms that no browser reads in another way.
var statusLine = regexp.MustCompile(`^HTTP/1\.[01] [1-9][0-9][0-9]( [^[:cntrl:]]*)?$`)

var errHandshake = errors.New("what was written to a hijacked connection does not begin with an HTTP header")

// Hijack hands over the connection. Browsers obey the Set-Cookie of a handshake's response,
// which is written to the connection.
func (h *hidingWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := h.Writer.Hijack()
	if err != nil {
		return conn, rw, err
	}
	filtered := &handshake{Conn: conn, remove: h.hiding.remove}
	return filtered, bufio.NewReadWriter(rw.Reader, bufio.NewWriter(filtered)), nil
}

// handshake is a connection whose first response loses what remove removes from its header.
type handshake struct {
	net.Conn
	remove func(http.Header)

	mu      sync.Mutex // guards all that follows
	written []byte     // before the end of the header
	over    bool
}

// Write implements [net.Conn].
func (c *handshake) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return c.Conn.Write(b)
	}
	c.written = append(c.written, b...)
	send, err := c.filter()
	if err == nil {
		_, err = c.Conn.Write(send)
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// filter returns what can be sent of what was written. The header is parsed and written anew:
// browsers read much as one that a search for lines would miss.
func (c *handshake) filter() (send []byte, err error) {
	var out bytes.Buffer
	for !c.over && (bytes.Contains(c.written, []byte("\n\r\n")) || bytes.Contains(c.written, []byte("\n\n"))) {
		in := bufio.NewReader(bytes.NewReader(c.written))
		text := textproto.NewReader(in)
		status, err := text.ReadLine()
		header, headerErr := text.ReadMIMEHeader()
		if err != nil || headerErr != nil || !statusLine.MatchString(status) {
			return nil, errHandshake
		}
		c.remove(http.Header(header))
		out.WriteString(status + "\r\n")
		_ = http.Header(header).Write(&out)
		out.WriteString("\r\n")
		code := status[len("HTTP/1.1 "):]
		c.over = !strings.HasPrefix(code, "1") || strings.HasPrefix(code, "101") // the final response
		c.written, _ = io.ReadAll(in)
	}
	if c.over {
		out.Write(c.written)
		c.written = nil
	} else if len(c.written) > maxHandshake {
		return nil, errHandshake
	}
	return out.Bytes(), nil
}
