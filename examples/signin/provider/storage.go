package provider

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/sessionguard-go/sessionguard"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// storage is what zitadel/oidc asks for clients, keys and the requests under way. It
// offers the authorization code flow and nothing else.
type storage struct {
	client Client
	key    signingKey
	// endSession ends the session with this sid.
	endSession func(ctx context.Context, subject, sid string) error

	mu       sync.Mutex
	requests map[string]*authRequest // by their IDs
	codes    map[string]string       // the requests' IDs by code
}

var (
	errNoRequest   = errors.New("no such authorization request")
	errWrongClient = errors.New("no such client, or a wrong secret")
	errUnsupported = errors.New("not supported by this provider")
)

func newStorage(client Client, key *rsa.PrivateKey, endSession func(ctx context.Context, subject, sid string) error) *storage {
	return &storage{
		client:     client,
		key:        signingKey{rand.Text(), key},
		endSession: endSession,
		requests:   map[string]*authRequest{},
		codes:      map[string]string{},
	}
}

func (s *storage) CreateAuthRequest(_ context.Context, request *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for id, old := range s.requests {
		if now.Sub(old.created) > authRequestLifetime {
			s.forget(id)
		}
	}
	a := &authRequest{id: rand.Text(), created: now, AuthRequest: request}
	s.requests[a.id] = a
	return a, nil
}

// complete says who has logged in for a request, in which session. It reports whether there
// is such a request.
func (s *storage) complete(id, subject string, session sessionguard.Session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.requests[id]
	if !ok {
		return false
	}
	// Requests are never modified: the protocol may be using the old one.
	done := *a
	done.subject, done.sid, done.authenticated = subject, session.ID, session.Authenticated
	s.requests[id] = &done
	return true
}

func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.requests[id]; ok {
		return a, nil
	}
	return nil, errNoRequest
}

// AuthRequestByCode also takes the code: it is good once (RFC 6749, section 4.1.2).
func (s *storage) AuthRequestByCode(_ context.Context, code string) (op.AuthRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.requests[s.codes[code]]
	delete(s.codes, code)
	if !ok {
		return nil, errNoRequest
	}
	return a, nil
}

func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes[code] = id
	return nil
}

func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(id)
	return nil
}

// forget deletes a request and its codes. The caller holds the mutex.
func (s *storage) forget(id string) {
	delete(s.requests, id)
	for code, request := range s.codes {
		if request == id {
			delete(s.codes, code)
		}
	}
}

func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != s.client.ID {
		return nil, errWrongClient
	}
	return client{s.client}, nil
}

func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if id != s.client.ID || subtle.ConstantTimeCompare([]byte(secret), []byte(s.client.Secret)) != 1 {
		return errWrongClient
	}
	return nil
}

// SetUserinfoFromRequest adds the claim "sid" to ID tokens.
func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, request op.IDTokenRequest, _ []string) error {
	if a, ok := request.(*authRequest); ok {
		info.Subject = a.subject
		info.AppendClaims("sid", a.sid)
	}
	return nil
}

// TerminateSessionFromRequest is for RP-Initiated Logout. Without an ID token nothing says
// which session is meant: the provider's own page then has a button.
func (s *storage) TerminateSessionFromRequest(ctx context.Context, request *op.EndSessionRequest) (string, error) {
	if request.IDTokenHintClaims == nil || request.IDTokenHintClaims.SessionID == "" {
		return "/", nil
	}
	return request.RedirectURI, s.endSession(ctx, request.UserID, request.IDTokenHintClaims.SessionID)
}

func (s *storage) SigningKey(context.Context) (op.SigningKey, error) { return s.key, nil }

func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{s.key.SignatureAlgorithm()}, nil
}

func (s *storage) KeySet(context.Context) ([]op.Key, error) { return []op.Key{publicKey{s.key}}, nil }

func (s *storage) Health(context.Context) error { return nil }

// The application needs no access token, but each response has one (RFC 6749, section 5.1).
// It opens nothing here.

func (s *storage) CreateAccessToken(context.Context, op.TokenRequest) (string, time.Time, error) {
	return rand.Text(), time.Now().Add(tokenLifetime), nil
}

func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}

func (s *storage) SetUserinfoFromToken(context.Context, *oidc.UserInfo, string, string, string) error {
	return errUnsupported
}

func (s *storage) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return errUnsupported
}

func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, nil
}

func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errUnsupported
}

func (s *storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, errUnsupported
}

func (s *storage) CreateAccessAndRefreshTokens(context.Context, op.TokenRequest, string) (string, string, time.Time, error) {
	return "", "", time.Time{}, errUnsupported
}

func (s *storage) TokenRequestByRefreshToken(context.Context, string) (op.RefreshTokenRequest, error) {
	return nil, errUnsupported
}

func (s *storage) TerminateSession(context.Context, string, string) error { return errUnsupported }

func (s *storage) RevokeToken(context.Context, string, string, string) *oidc.Error {
	return oidc.ErrInvalidRequest().WithDescription("not supported by this provider")
}

func (s *storage) GetRefreshTokenInfo(context.Context, string, string) (string, string, error) {
	return "", "", op.ErrInvalidRefreshToken
}
