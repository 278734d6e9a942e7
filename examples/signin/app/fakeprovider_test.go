package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	testOrigin = "http://localhost:8080"
	testIssuer = "https://id.example"
	testClient = "signin"
)

// fakeProvider is an OpenID provider that signs whatever a test asks for. The real one is in
// the tests of the program.
type fakeProvider struct {
	*testing.T
	key    *ecdsa.PrivateKey
	issued map[string]issued // by code
}

// issued is what a code is exchanged for.
type issued struct {
	challenge string // of PKCE
	idToken   string
}

func newFakeProvider(t *testing.T) *fakeProvider {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeProvider{T: t, key: key, issued: map[string]issued{}}
}

func (p *fakeProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		p.json(w, map[string]any{
			"issuer": testIssuer, "authorization_endpoint": testIssuer + "/authorize", "token_endpoint": testIssuer + "/token",
			"jwks_uri": testIssuer + "/keys", "end_session_endpoint": testIssuer + "/end",
			"id_token_signing_alg_values_supported": []string{"ES256"},
		})
	case "/keys":
		p.json(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "key", Algorithm: "ES256", Use: "sig"}}})
	case "/token":
		id, secret, _ := r.BasicAuth()
		code, ok := p.issued[r.PostFormValue("code")]
		hash := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		if !ok || id != testClient || secret != "secret" || encode(hash[:]) != code.challenge {
			w.WriteHeader(http.StatusBadRequest)
			p.json(w, map[string]string{"error": "invalid_grant"})
			return
		}
		p.json(w, map[string]any{"access_token": "none", "token_type": "Bearer", "id_token": code.idToken})
	default:
		http.NotFound(w, r)
	}
}

func (p *fakeProvider) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.Error(err)
	}
}

type claims map[string]any

// with returns c with other values. A nil value removes a claim.
func (c claims) with(changes claims) claims {
	c = maps.Clone(c)
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// issue returns the callback's URL after a login at the provider, for what the application
// has sent the browser with: an authorization request.
func (p *fakeProvider) issue(request *url.URL, changes claims) string {
	p.Helper()
	query := request.Query()
	if query.Get("client_id") != testClient || query.Get("redirect_uri") != testOrigin+CallbackPath ||
		query.Get("code_challenge_method") != "S256" || query.Get("response_type") != "code" || query.Get("nonce") == query.Get("state") {
		p.Fatalf("the request is %v", request)
	}
	now := time.Now()
	token := claims{
		"iss": testIssuer, "aud": testClient, "sub": "person-ada", "sid": "sid-1", "nonce": query.Get("nonce"),
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "amr": []string{"pwd"},
	}
	code := rand.Text()
	p.issued[code] = issued{query.Get("code_challenge"), p.sign(token.with(changes))}
	return CallbackPath + "?" + url.Values{"code": {code}, "state": {query.Get("state")}}.Encode()
}

// logoutToken returns a logout token.
func (p *fakeProvider) logoutToken(changes claims) string {
	p.Helper()
	now := time.Now()
	token := claims{
		"iss": testIssuer, "aud": testClient, "sub": "person-ada", "sid": "sid-1", "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(),
		"events": claims{"http://schemas.openid.net/event/backchannel-logout": claims{}},
	}
	return p.sign(token.with(changes))
}

func (p *fakeProvider) sign(token claims) string {
	p.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "key"}}, nil)
	if err != nil {
		p.Fatal(err)
	}
	payload, err := json.Marshal(token)
	if err != nil {
		p.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		p.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		p.Fatal(err)
	}
	return compact
}
