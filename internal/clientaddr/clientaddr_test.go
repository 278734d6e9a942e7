package clientaddr

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func prefixes(t *testing.T, texts ...string) (all []netip.Prefix) {
	t.Helper()
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		require.NoError(t, err)
		all = append(all, prefix)
	}
	return all
}

func TestOfConnectionIsTheAddressWithoutThePort(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1234": "192.0.2.7", "[2001:db8::7]:1234": "2001:db8::7", "@": "@", "": "",
	} {
		require.Equal(t, want, OfConnection(&http.Request{RemoteAddr: remote}))
	}
}

func TestFromFindsTheFirstAddressFromTheRightThatIsNoProxys(t *testing.T) {
	trusted := prefixes(t, "10.0.0.0/8", "::1/128", "fd00::/8", "fe80::/10", "::ffff:127.0.0.0/104")
	for _, test := range []struct {
		name, remote string
		header       []string
		want         string
	}{
		{"one value", "10.0.0.1:80", []string{"192.0.2.7"}, "192.0.2.7"},
		{"nobody's header", "10.0.0.1:80", nil, "10.0.0.1"},
		{"an empty header", "10.0.0.1:80", []string{""}, "10.0.0.1"},
		{"what the client claims is to the left", "10.0.0.1:80", []string{"203.0.113.9, 192.0.2.7"}, "192.0.2.7"},
		{"a chain of proxies", "10.0.0.1:80", []string{"203.0.113.9, 192.0.2.7, 10.0.0.3,10.0.0.2"}, "192.0.2.7"},
		{"in several lines", "10.0.0.1:80", []string{"203.0.113.9", "192.0.2.7, 10.0.0.3", "10.0.0.2"}, "192.0.2.7"},
		{"the client claims to be a proxy", "10.0.0.1:80", []string{"203.0.113.9, 10.0.0.9, 192.0.2.7"}, "192.0.2.7"},
		{"a client among the proxies", "10.0.0.1:80", []string{"10.0.0.4, 10.0.0.3"}, "10.0.0.4"},

		{"not through a proxy", "192.0.2.1:80", []string{"203.0.113.9"}, "192.0.2.1"},
		{"not through a proxy, and claims to be one", "192.0.2.1:80", []string{"203.0.113.9, 10.0.0.2"}, "192.0.2.1"},
		{"a connection without an address", "@", []string{"203.0.113.9"}, "@"},
		{"nor with anything", "", []string{"203.0.113.9"}, ""},
		{"a connection without a port", "10.0.0.1", []string{"192.0.2.7"}, "192.0.2.7"},

		{"IPv6", "[::1]:80", []string{"2001:db8::7"}, "2001:db8::7"},
		{"IPv6, spelled otherwise", "[::1]:80", []string{"2001:0DB8:0:0::7"}, "2001:db8::7"},
		{"IPv6 in brackets", "[::1]:80", []string{"203.0.113.9, [2001:db8::7], [fd00::2]"}, "2001:db8::7"},
		{"with ports", "[::1]:80", []string{"203.0.113.9:1, [2001:db8::7]:2, 10.0.0.2:3"}, "2001:db8::7"},
		{"IPv4 in IPv6, of the connection", "[::ffff:10.0.0.1]:80", []string{"192.0.2.7"}, "192.0.2.7"},
		{"IPv4 in IPv6, of a proxy", "10.0.0.1:80", []string{"192.0.2.7, ::ffff:10.0.0.2"}, "192.0.2.7"},
		{"IPv4 in IPv6, of the client", "10.0.0.1:80", []string{"::ffff:192.0.2.7"}, "192.0.2.7"},
		{"IPv4 in IPv6, of the configuration", "127.0.0.1:80", []string{"192.0.2.7"}, "192.0.2.7"},
		{"a zone of the connection", "[fe80::1%eth0]:80", []string{"192.0.2.7"}, "192.0.2.7"},
		{"a zone that a client can choose", "10.0.0.1:80", []string{"2001:db8::7%<script>"}, "2001:db8::7"},

		{"white space", "10.0.0.1:80", []string{"203.0.113.9,\t 192.0.2.7 \t,10.0.0.2"}, "192.0.2.7"},
		{"no address", "10.0.0.1:80", []string{"203.0.113.9, unknown"}, "10.0.0.1"},
		{"no address, from another proxy", "10.0.0.1:80", []string{"203.0.113.9, unix:, 10.0.0.2"}, "10.0.0.2"},
		{"nothing on the right", "10.0.0.1:80", []string{"203.0.113.9, "}, "10.0.0.1"},
		{"nothing in the last line", "10.0.0.1:80", []string{"203.0.113.9", ""}, "10.0.0.1"},
		{"half a bracket", "10.0.0.1:80", []string{"[2001:db8::7"}, "10.0.0.1"},
		{"two brackets", "10.0.0.1:80", []string{"[[2001:db8::7]]"}, "10.0.0.1"},
		{"a port too many", "10.0.0.1:80", []string{"192.0.2.7:1:2"}, "10.0.0.1"},
		{"a host name", "10.0.0.1:80", []string{"client.example"}, "10.0.0.1"},
		{"a number", "10.0.0.1:80", []string{"3221225991"}, "10.0.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, err := From("x-forwarded-FOR", trusted)
			require.NoError(t, err)
			r := &http.Request{RemoteAddr: test.remote, Header: http.Header{"X-Forwarded-For": test.header, "X-Real-Ip": {"203.0.113.1"}}}
			require.Equal(t, test.want, client(r))
		})
	}
}

func TestFromTrustsWhatWasTrustedAtItsCall(t *testing.T) {
	trusted := prefixes(t, "10.0.0.0/8")
	client, err := From("X-Real-IP", trusted)
	require.NoError(t, err)
	trusted[0] = netip.MustParsePrefix("192.0.2.0/24")
	r := &http.Request{RemoteAddr: "192.0.2.1:80", Header: http.Header{"X-Real-Ip": {"203.0.113.9"}}}
	require.Equal(t, "192.0.2.1", client(r))
}

func TestFromTrustsAUnixDomainSocket(t *testing.T) {
	client, err := From("X-Real-IP", nil)
	require.NoError(t, err)
	for network, want := range map[string]string{"unix": "192.0.2.7", "tcp": "127.0.0.1"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "socket")
			}
			listener, err := net.Listen(network, address)
			require.NoError(t, err)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, client(r))
			}))
			server.Listener.Close()
			server.Listener = listener
			server.Start()
			defer server.Close()
			transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, listener.Addr().String())
			}}
			defer transport.CloseIdleConnections()
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://app.example/", nil)
			require.NoError(t, err)
			r.Header.Set("X-Real-IP", "192.0.2.7")
			resp, err := transport.RoundTrip(r)
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, want, string(body))
		})
	}
}

func TestFromRefusesWhatCannotWork(t *testing.T) {
	for _, test := range []struct {
		header  string
		trusted []netip.Prefix
		message string
	}{
		{"", nil, "not the name of a header"},
		{"X-Real-IP:", nil, "not the name of a header"},
		{"X-Real-IP, X-Forwarded-For", nil, "not the name of a header"},
		{"X-Réal-IP", nil, "not the name of a header"},
		{"forwarded", nil, "RFC 7239"},
		{"X-Real-IP", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), {}}, "trusted proxy 2 "},
	} {
		_, err := From(test.header, test.trusted)
		require.ErrorContains(t, err, test.message)
	}
}
