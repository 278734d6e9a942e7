package provider

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/crypto"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

const (
	// logoutTokenLifetime is the longest that the specification recommends (section 4 of
	// OpenID Connect Back-Channel Logout 1.0).
	logoutTokenLifetime = 2 * time.Minute
	// clientTimeout is how long a logout waits for the application.
	clientTimeout = 5 * time.Second
)

// tellClient sends the application a logout token. The logout here goes on whatever becomes
// of it: a provider that must be sure would try again later.
func (p *Provider) tellClient(ctx context.Context, subject, sid string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clientTimeout)
	defer cancel()
	token, err := p.logoutToken(subject, sid)
	if err == nil {
		err = post(ctx, p.Client.BackChannelLogoutURI, url.Values{"logout_token": {token}})
	}
	if err != nil {
		p.Log.Error("the application could not be told of a logout", "error", err)
	}
}

func (p *Provider) logoutToken(subject, sid string) (string, error) {
	claims := oidc.NewLogoutTokenClaims(p.Issuer, subject, oidc.Audience{p.Client.ID},
		time.Now().Add(logoutTokenLifetime), rand.Text(), sid, 0)
	return crypto.Sign(claims, p.signer)
}

// logoutSigner signs tokens of a type of their own, so that nobody can take one for an ID
// token (RFC 8725, section 3.11).
func logoutSigner(key signingKey) (jose.Signer, error) {
	return jose.NewSigner(jose.SigningKey{
		Algorithm: key.SignatureAlgorithm(),
		Key:       jose.JSONWebKey{Key: key.Key(), KeyID: key.ID()},
	}, (&jose.SignerOptions{}).WithType("logout+jwt"))
}

func post(ctx context.Context, uri string, form url.Values) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, uri, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode/100 != 2 {
		return &statusError{response.Status}
	}
	return nil
}

type statusError struct{ status string }

func (e *statusError) Error() string { return "the application responded with " + e.status }
