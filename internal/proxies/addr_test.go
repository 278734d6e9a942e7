package proxies

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// Whatever a client sends, it does not choose the address that Config.ClientAddr returns.
func TestNobodyForgesAnAddressThroughAProxy(t *testing.T) {
	of := sessionguard.ClientAddrFrom("X-Forwarded-For", netip.MustParsePrefix("127.0.0.1/32"))
	app := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, of(r)) }))
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) {
			proxy := s.serve(t, []string{app})
			for _, lines := range []string{
				"GET / HTTP/1.1",
				"GET / HTTP/1.1\nX-Forwarded-For: " + forged,
				"GET / HTTP/1.1\nX-Forwarded-For: " + forged + "\nx-forwarded-for: " + forged,
				"GET / HTTP/1.1\nX-Forwarded-For: " + forged + ", 127.0.0.1\nX-Forwarded-For: ,",
				"GET / HTTP/1.1\nX-Forwarded-For: " + forged + "\nConnection: close, X-Forwarded-For",
				"GET / HTTP/1.1\nX_Forwarded_For: " + forged + "\nX-Real-IP: " + forged + "\nForwarded: for=" + forged,
				"GET / HTTP/1.0\nX-Forwarded-For: " + forged,
				"GET / HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\nX-Forwarded-For: " + forged,
				"POST / HTTP/1.1\nTransfer-Encoding: chunked\nTrailer: X-Forwarded-For",
			} {
				conn, err := tls.DialWithDialer(dialFrom(client), "tcp", proxy.Addr, &tls.Config{RootCAs: certificate(t).roots, ServerName: "app.example.com"})
				require.NoError(t, err)
				body := ""
				if strings.HasPrefix(lines, "POST") {
					body = "1\r\na\r\n0\r\nX-Forwarded-For: " + forged + "\r\n\r\n"
				}
				_, err = fmt.Fprint(conn, strings.ReplaceAll(lines+"\nHost: app.example.com\n\n", "\n", "\r\n")+body)
				require.NoError(t, err)
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				require.NoError(t, err, lines)
				address, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				conn.Close()
				if resp.StatusCode == http.StatusOK { // Varnish refuses some of these
					require.Equal(t, client, string(address), lines)
				} else {
					require.NotContains(t, string(address), forged, lines)
				}
			}
		})
	}
}
