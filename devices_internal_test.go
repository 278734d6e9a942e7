package sessionguard

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRemoteHostIsTheAddressWithoutThePort(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1234": "192.0.2.7", "[2001:db8::7]:1234": "2001:db8::7", "@": "@", "": "",
	} {
		require.Equal(t, want, remoteHost(&http.Request{RemoteAddr: remote}))
	}
}
