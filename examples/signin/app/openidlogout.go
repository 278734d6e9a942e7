package app

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// takeOrigin returns where the half-done login of this request began, if that was at the
// OpenID provider. A Login follows, after which the secret could no longer be taken: it is
// bound to the session.
func (a *App) takeOrigin(w http.ResponseWriter, r *http.Request) (origin, error) {
	sid, err := a.guard.TakeSecret(w, r, "openid-session")
	if errors.Is(err, sessionguard.ErrNoSecret) {
		return origin{}, nil
	}
	return a.openID.origins.find(string(sid)), err
}

// keepOrigin notes that the session that has begun in this request came from one of the
// provider's. While factors are missing there is no such session yet: then the browser
// keeps the note.
func (a *App) keepOrigin(w http.ResponseWriter, r *http.Request, user *User, from origin) error {
	session, whole := a.guard.Session(r)
	var err error
	switch {
	case from.sid != "":
		err = a.openID.origins.add(from, user.ID, session.ID, time.Now())
	case cameFromProvider(session) && !a.openID.origins.keep(session.ID, time.Now()):
		// Somebody has deleted the note, so that no logout there would end this session.
		err = errNoOrigin
	}
	switch {
	case err != nil:
		return errors.Join(err, a.guard.End(w, r))
	case from.sid != "" && !whole:
		return a.guard.PutSecret(w, r, "openid-session", []byte(from.sid), flowTime)
	}
	return nil
}

// cameFromProvider reports whether a session began with a login at the OpenID provider.
func cameFromProvider(session sessionguard.Session) bool {
	return slices.ContainsFunc(session.Factors, func(f sessionguard.Factor) bool { return f.Name == factorProvider })
}

// logout ends the session. If it came from the provider, the browser goes on to end that
// one too (OpenID Connect RP-Initiated Logout 1.0), and comes back.
func (a *App) logout(w http.ResponseWriter, r *http.Request) {
	to := "/"
	if session, ok := a.guard.Session(r); ok {
		if idToken := a.openID.origins.idToken(session.ID); idToken != "" {
			to = a.openID.endSession + "?" + url.Values{
				"id_token_hint":            {idToken},
				"post_logout_redirect_uri": {a.openID.postLogout},
			}.Encode()
		}
	}
	a.guard.Logout(to).ServeHTTP(w, r)
}

// backChannelLogout is where the provider says that a session has ended there (OpenID
// Connect Back-Channel Logout 1.0). The request comes from the provider itself: it has no
// cookies, and the signature of its token says who it is.
func (a *App) backChannelLogout(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if !parseForm(w, r) {
		return
	}
	err := a.endFor(r.Context(), r.PostFormValue("logout_token"))
	if err == nil {
		return // 200
	}
	a.Log.Warn("logout token refused", "error", err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_request"})
}

const (
	// A logout token is used at once. The specification recommends that it expires after two
	// minutes at most (section 4); the third one is for clocks that differ.
	maxTokenAge = 3 * time.Minute
	clockSkew   = time.Minute
)

// endFor ends the sessions that a logout token names, as section 2.6 of the specification
// says: exactly those of its sid, or all of its sub if there is none.
func (a *App) endFor(ctx context.Context, raw string) error {
	// This checks the signature, iss, aud, exp and events, and that there are a sub or a
	// sid, a jti and no nonce.
	token, err := a.openID.verifier.VerifyLogout(ctx, raw)
	if err != nil {
		return err
	}
	now := time.Now()
	if age := now.Sub(token.IssuedAt); age > maxTokenAge || age < -clockSkew {
		return errors.New("the logout token is too old, or from the future")
	}
	if !a.openID.origins.useToken(token.TokenID, now) {
		return errors.New("the logout token has been used")
	}
	for _, s := range a.openID.origins.end(token.SessionID, token.Subject, now) {
		err := a.guard.EndSession(ctx, s.userID, s.sessionID)
		if err != nil && !errors.Is(err, sessionguard.ErrNoSession) { // it may have ended before
			a.openID.origins.unuseToken(token.TokenID) // the provider may try again
			return err
		}
	}
	return nil
}
