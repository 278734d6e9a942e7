package cookie

import (
	"bytes"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type recordingConn struct {
	net.Conn
	sent bytes.Buffer
}

func (c *recordingConn) Write(b []byte) (int, error) { return c.sent.Write(b) }

func TestHandshakeIsSentWithoutWhatIsRemoved(t *testing.T) {
	const start = "HTTP/1.1 101 Switching Protocols\r\n"
	for _, test := range []struct{ name, written, sent string }{
		{"as it should be", start + "Upgrade: x\r\n\r\n", start + "Upgrade: x\r\n\r\n"},
		{"with a cookie", start + "Set-Cookie: s=1\r\nSet-Cookie: t=1\r\n\r\n", start + "Set-Cookie: t=1\r\n\r\n"},
		{"in lower case", start + "set-cookie:s=1\r\n\r\n", start + "\r\n"},
		{"in a folded line", start + "Set-Cookie:\r\n\ts=1\r\n\r\n", start + "\r\n"},
		{"with bare line feeds", "HTTP/1.1 101\nSet-Cookie: s=1\n\n", "HTTP/1.1 101\r\n\r\n"},
		{"before and after", "HTTP/1.1 103 Early Hints\r\nSet-Cookie: s=1\r\n\r\n" + start + "Set-Cookie: s=1\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n" + start + "\r\n"},
		{"with what follows", start + "\r\nSet-Cookie: s=1\r\n\r\n", start + "\r\nSet-Cookie: s=1\r\n\r\n"},
		{"another response", "HTTP/1.0 400 Bad Request\r\nSet-Cookie: s=1\r\n\r\nno", "HTTP/1.0 400 Bad Request\r\n\r\nno"},
		{"a long one", start + "A: " + strings.Repeat("a", 9000) + "\r\n\r\n" + strings.Repeat("b", 9000), start + "A: " + strings.Repeat("a", 9000) + "\r\n\r\n" + strings.Repeat("b", 9000)},
		{"half a header", start + "Set-Cookie: s=1\r\n", ""},
		{"a bare carriage return", start + "A: b\rSet-Cookie: s=1\r\n\r\n", "error"},
		{"one in the first line", "HTTP/1.1 101 a\rSet-Cookie: s=1\r\n\r\n", "error"},
		{"a space in the name", start + "Set-Cookie : s=1\r\n\r\n", start + "\r\n"},
		{"a number that may be 103", "HTTP/1.1 0103 Early Hints\r\n\r\n" + start + "Set-Cookie: s=1\r\n\r\n", "error"},
		{"an empty line before it", "\r\n" + start + "Set-Cookie: s=1\r\n\r\n", "error"},
		{"no HTTP", "ICY 200 OK\r\nSet-Cookie: s=1\r\n\r\n", "error"},
		{"without an end", start + strings.Repeat("a", maxHandshake), "error"},
	} {
		for name, pieces := range map[string][]string{"at once": {test.written}, "by byte": strings.Split(test.written, "")} {
			if len(pieces) > maxHandshake {
				continue
			}
			t.Run(test.name+", "+name, func(t *testing.T) {
				raw := new(recordingConn)
				c := &handshake{Conn: raw, remove: func(h http.Header) { Remove(h, "s") }}
				for _, piece := range pieces {
					n, err := c.Write([]byte(piece))
					if err != nil {
						require.Equal(t, "error", test.sent)
						require.Zero(t, n)
						require.Empty(t, raw.sent.String())
						return
					}
					require.Equal(t, len(piece), n)
				}
				require.Equal(t, test.sent, raw.sent.String())
			})
		}
	}
}
