// Package clientaddr finds out the address of a request's client, behind proxies too.
package clientaddr

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// OfConnection returns the address that the connection comes from.
func OfConnection(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// From returns a function that finds the client's address in a header, or an error that
// says what is wrong with the arguments.
//
// Each proxy adds the address that it was asked from on the right. So the address on the
// right is believed if the connection comes from a trusted proxy, the one to its left if
// that was a trusted proxy's too, and so on. What the client sent itself stays to the left
// of the address that the first trusted proxy has added, and is never reached.
func From(header string, trusted []netip.Prefix) (func(*http.Request) string, error) {
	if header == "" || strings.ContainsFunc(header, notInToken) {
		return nil, fmt.Errorf("%q is not the name of a header", header)
	}
	header = http.CanonicalHeaderKey(header)
	if header == "Forwarded" {
		return nil, errors.New("the format of Forwarded (RFC 7239) is not read: let the proxy set another header")
	}
	p := proxies{header, slices.Clone(trusted)}
	for i, prefix := range p.trusted {
		if !prefix.IsValid() {
			return nil, fmt.Errorf("trusted proxy %d is not a valid prefix", i+1)
		}
		// The addresses that it is compared with are unmapped.
		if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= 96 {
			p.trusted[i] = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
		}
	}
	return p.client, nil
}

type proxies struct {
	header  string
	trusted []netip.Prefix
}

// client returns the address of the client, that is the first one from the right that is not
// a trusted proxy's. Where the header ends before that, or has something that is no address,
// it is the last one found.
func (p proxies) client(r *http.Request) string {
	found := OfConnection(r)
	if !p.trustsConnection(r, found) {
		return found
	}
	for _, line := range slices.Backward(r.Header[p.header]) {
		for more := true; more; {
			comma := strings.LastIndexByte(line, ',')
			addr, err := parse(line[comma+1:])
			if err != nil {
				return found
			}
			if found = addr.String(); !p.trusts(addr) {
				return found
			}
			if more = comma >= 0; more {
				line = line[:comma]
			}
		}
	}
	return found
}

// trustsConnection reports whether the connection, which comes from an address, is that of a
// trusted proxy. The permissions of a Unix domain socket decide who can connect to it.
func (p proxies) trustsConnection(r *http.Request, address string) bool {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return true
	}
	addr, err := parse(address)
	return err == nil && p.trusts(addr)
}

func (p proxies) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(p.trusted, func(prefix netip.Prefix) bool { return prefix.Contains(addr) })
}

// parse reads an address, with or without a port, and an IPv6 address with or without
// brackets. A zone is dropped: it says something on the machine of the address only.
func parse(s string) (netip.Addr, error) {
	s = strings.Trim(s, " \t")
	withPort, err := netip.ParseAddrPort(s)
	addr := withPort.Addr()
	if err != nil {
		if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
			s = strings.TrimSuffix(inner, "]")
		}
		addr, err = netip.ParseAddr(s)
	}
	return addr.Unmap().WithZone(""), err
}

// notInToken reports whether c may not be in the name of a header (RFC 9110, 5.6.2).
func notInToken(c rune) bool {
	letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
}
