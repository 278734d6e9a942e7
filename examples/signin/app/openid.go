package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/sessionguard-go/sessionguard"
	"golang.org/x/oauth2"
)

// The paths that the provider has to know.
const (
	CallbackPath          = "/openid/callback"
	BackChannelLogoutPath = "/openid/logout"
	PostLogoutPath        = "/"
)

// ProviderOptions is what the application knows of its OpenID provider.
type ProviderOptions struct {
	Issuer                 string // its URL
	ClientID, ClientSecret string
	Subjects               map[string]string // what the provider calls users, by user ID
	Transport              http.RoundTripper // by which to reach it; nil: the default one
}

// providerTimeout bounds each request to the provider.
const providerTimeout = 10 * time.Second

// relyingParty is the application as the provider's client.
type relyingParty struct {
	oauth2     oauth2.Config
	client     *http.Client
	verifier   *oidc.IDTokenVerifier
	endSession string // the provider's end_session_endpoint
	postLogout string // where the provider leads after it
	origin     string // of the provider
	origins    *origins
}

func newRelyingParty(ctx context.Context, origin string, o ProviderOptions) (*relyingParty, error) {
	client := &http.Client{Timeout: providerTimeout, Transport: o.Transport}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, client), o.Issuer)
	if err != nil {
		return nil, fmt.Errorf("the OpenID provider: %w", err)
	}
	var metadata struct {
		EndSession string `json:"end_session_endpoint"`
	}
	if err := provider.Claims(&metadata); err != nil {
		return nil, err
	}
	issuer, err := url.Parse(o.Issuer)
	if err != nil {
		return nil, err
	}
	return &relyingParty{
		client: client,
		oauth2: oauth2.Config{
			ClientID:     o.ClientID,
			ClientSecret: o.ClientSecret,
			Endpoint:     provider.Endpoint(),
			RedirectURL:  origin + CallbackPath,
			Scopes:       []string{oidc.ScopeOpenID},
		},
		verifier:   provider.Verifier(&oidc.Config{ClientID: o.ClientID}),
		endSession: metadata.EndSession,
		postLogout: origin + PostLogoutPath,
		origin:     issuer.Scheme + "://" + issuer.Host,
		origins:    newOrigins(),
	}, nil
}

// flow is what the application keeps of a login, between sending the browser to the provider
// and its return. The state is in its name: "openid:" and the state.
type flow struct{ Nonce, Verifier, Next string }

const flowTime = 10 * time.Minute

// openIDLogin sends the browser to the provider. It accepts only POST, so that no other site
// begins flows, with a link or an image.
func (a *App) openIDLogin(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	state := oauth2.GenerateVerifier() // 32 random bytes, as the verifier
	f := flow{Nonce: oauth2.GenerateVerifier(), Verifier: oauth2.GenerateVerifier(), Next: a.guard.Next(r, "/home")}
	kept, err := json.Marshal(f)
	if err == nil {
		err = a.guard.PutSecret(w, r, "openid:"+state, kept, flowTime)
	}
	if err != nil {
		a.internalError(w, err)
		return
	}
	to := a.openID.oauth2.AuthCodeURL(state, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier))
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// openIDCallback is where the provider sends the browser back to. A state that this browser
// did not get, or that was used, finds no secret: somebody else's login, which would make the
// user work in a stranger's account, ends here (RFC 9700, section 4.7).
func (a *App) openIDCallback(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var f flow
	kept, err := a.guard.TakeSecret(w, r, "openid:"+query.Get("state"))
	if err == nil {
		err = json.Unmarshal(kept, &f)
	}
	if err != nil {
		a.refuseOpenID(w, r, err)
		return
	}
	if problem := query.Get("error"); problem != "" {
		a.refuseOpenID(w, r, fmt.Errorf("the provider: %s: %s", problem, query.Get("error_description")))
		return
	}
	from, factors, err := a.openID.exchange(r.Context(), query.Get("code"), f)
	if err != nil {
		a.refuseOpenID(w, r, err)
		return
	}
	// By the subject, never by a name or an e-mail address, which can change hands.
	user, err := a.users.FindBySubject(r.Context(), from.subject)
	if err == nil {
		err = a.guard.Login(w, r, user, sessionguard.Factors(factors...))
	}
	if err == nil {
		err = a.keepOrigin(w, r, user, from)
	}
	if err != nil {
		a.refuseOpenID(w, r, err)
		return
	}
	a.leadOn(w, r, f.Next)
}

// exchange gets the ID token for a code, and checks it. The provider's word counts for the
// factors too, as far as the application knows their names.
func (p *relyingParty) exchange(ctx context.Context, code string, f flow) (from origin, factors []string, err error) {
	tokens, err := p.oauth2.Exchange(oidc.ClientContext(ctx, p.client), code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return origin{}, nil, err
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return origin{}, nil, errors.New("the provider sent no ID token")
	}
	token, err := p.verifier.Verify(ctx, raw)
	if err != nil {
		return origin{}, nil, err
	}
	if token.Nonce != f.Nonce {
		return origin{}, nil, errors.New("the ID token is for another login: its nonce is wrong")
	}
	var claims struct {
		SID string   `json:"sid"`
		AMR []string `json:"amr"`
	}
	if err := token.Claims(&claims); err != nil {
		return origin{}, nil, err
	}
	if claims.SID == "" {
		return origin{}, nil, errors.New("the ID token names no session, so no logout could end it")
	}
	factors = []string{factorProvider}
	for _, factor := range claims.AMR {
		switch factor {
		case factorPassword, factorCode, factorHardwareKey, factorSoftwareKey, factorMultiple:
			factors = append(factors, factor)
		}
	}
	return origin{sid: claims.SID, subject: token.Subject, idToken: raw}, factors, nil
}

func (a *App) refuseOpenID(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, sessionguard.ErrUnavailable) {
		a.internalError(w, err)
		return
	}
	a.Log.Warn("login with the OpenID provider refused", "error", err)
	message := "Example ID could not log you in."
	switch {
	case errors.Is(err, sessionguard.ErrNoSecret):
		message = "That login was begun in another browser, took too long, or was used already."
	case errors.Is(err, sessionguard.ErrNoUser):
		message = "Nobody here belongs to that account at Example ID."
	case errors.Is(err, sessionguard.ErrInactive):
		message = "Your account is not active. Ask an admin."
	case errors.Is(err, errLoggedOut):
		message = "You have logged out at Example ID meanwhile."
	case errors.Is(err, errNoOrigin):
		message = "Please start again at Example ID."
	}
	a.render(w, r, http.StatusForbidden, "problem", page{Title: "That did not work", Error: message, Content: "/login"})
}
