package dbsc

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheHeadersAreStructured(t *testing.T) {
	require.Equal(t, `(ES256 RS256);path="/sessionguard/bind";challenge="a-_9"`, Registration("/sessionguard/bind", "a-_9"))
	require.Equal(t, `(ES256 RS256);path="/a\"b\\/bind";challenge="c"`, Registration(`/a"b\/bind`, "c"))
	require.Equal(t, `"challenge";id="identifier"`, ChallengeFor("identifier", "challenge"))
}

func TestTheIdentifierIsQuotedOrNot(t *testing.T) {
	for value, want := range map[string]string{"": "", "abc": "abc", `"abc"`: "abc", `""`: "", `"`: `"`, `"abc`: `"abc`, `""abc""`: `"abc"`} {
		require.Equal(t, want, Identifier(http.Header{HeaderIdentifier: {value}}), value)
	}
	require.Empty(t, Identifier(http.Header{}))
}

func TestHeadersHaveTheirCanonicalNames(t *testing.T) {
	for _, name := range []string{HeaderRegistration, HeaderChallenge, HeaderResponse, HeaderIdentifier, HeaderSkipped} {
		require.Equal(t, name, http.CanonicalHeaderKey(name))
	}
}

// The attributes are those of the cookie that is set.
func TestInstructionsNameTheCookieAsItIsSet(t *testing.T) {
	cookie := http.Cookie{Name: "__Host-session-bound-ABCDEFGH", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	want := `{"session_identifier":"identifier","refresh_url":"/sessionguard/prove","scope":{"include_site":false},` +
		`"credentials":[{"type":"cookie","name":"__Host-session-bound-ABCDEFGH","attributes":"Path=/; HttpOnly; Secure; SameSite=Lax"}],` +
		`"allowed_refresh_initiators":["*"]}`
	require.Equal(t, want, string(Instructions("identifier", "/sessionguard/prove", cookie)))
	cookie.Value, cookie.MaxAge, cookie.Expires = "token", 60, time.Unix(1e9, 0)
	require.Equal(t, want, string(Instructions("identifier", "/sessionguard/prove", cookie)))

	cookie.SameSite, cookie.Partitioned = http.SameSiteNoneMode, true
	require.Contains(t, string(Instructions("", "", cookie)), `"Path=/; HttpOnly; Secure; SameSite=None; Partitioned"`)
	require.True(t, json.Valid(Instructions("a\"b\\", "/\"\\\n", cookie)))
	require.True(t, json.Valid(Forget))
}
