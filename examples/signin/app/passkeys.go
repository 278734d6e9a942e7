package app

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/sessionguard-go/sessionguard"
)

// ceremonyTime is how long a person may take to unlock a passkey.
const ceremonyTime = 5 * time.Minute

// A passkey is registered or used in two steps: the browser fetches the options with a
// challenge, and then sends the form with the answer. In between, what the answer is checked
// against is a one-time secret, so an answer is good once, and in this browser only.
const (
	registration = "passkey-registration:" // and the challenge
	login        = "passkey-login:"        // and the challenge
)

func newWebAuthn(origin *url.URL) (*webauthn.WebAuthn, error) {
	return webauthn.New(&webauthn.Config{
		RPID:          origin.Hostname(),
		RPDisplayName: name,
		RPOrigins:     []string{origin.String()},
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			// So that a login needs no name, and that a passkey is two factors.
			ResidentKey:      protocol.ResidentKeyRequirementRequired,
			UserVerification: protocol.VerificationRequired,
		},
	})
}

// registrationOptions begins the registration of a passkey.
func (a *App) registrationOptions(w http.ResponseWriter, r *http.Request) {
	user, _ := a.guard.User(r)
	var registered []protocol.CredentialDescriptor // so that no authenticator has two
	for _, passkey := range user.Passkeys {
		registered = append(registered, passkey.Descriptor())
	}
	options, ceremony, err := a.passkeys.BeginRegistration(user, webauthn.WithExclusions(registered))
	if err != nil {
		a.internalError(w, err)
		return
	}
	a.sendOptions(w, r, registration, options, ceremony)
}

func (a *App) registerPasskey(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	user, _ := a.guard.User(r)
	answer, err := protocol.ParseCredentialCreationResponseBytes([]byte(r.PostFormValue("credential")))
	if err != nil {
		a.refusePasskey(w, r, err)
		return
	}
	ceremony, err := a.takeCeremony(w, r, registration, answer.Response.CollectedClientData.Challenge)
	if err != nil {
		a.refusePasskey(w, r, err)
		return
	}
	passkey, err := a.passkeys.CreateCredential(user, ceremony, answer)
	if err == nil {
		err = a.users.AddPasskey(user.ID, *passkey)
	}
	if err != nil {
		a.refusePasskey(w, r, err)
		return
	}
	a.Log.Info("passkey registered", "user", user.ID)
	a.methodsChanged(w, r, user.ID, "Your passkey is registered.", factorOf(passkey), factorMultiple)
}

func (a *App) removePasskey(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	user, _ := a.guard.User(r)
	id, err := base64.RawURLEncoding.DecodeString(r.PostFormValue("id"))
	if err != nil {
		http.Error(w, "no such passkey", http.StatusBadRequest)
		return
	}
	a.users.RemovePasskey(user.ID, id)
	a.methodRemoved(w, r, "Your passkey is removed.")
}

// passkeyOptions begins a login: with any passkey for a visitor, with one of their own for
// those who have logged in and prove one factor more.
func (a *App) passkeyOptions(w http.ResponseWriter, r *http.Request) {
	user, known := a.claimant(r)
	var options *protocol.CredentialAssertion
	var ceremony *webauthn.SessionData
	var err error
	switch {
	case !known:
		options, ceremony, err = a.passkeys.BeginDiscoverableLogin()
	case len(user.Passkeys) == 0:
		http.Error(w, "You have no passkey yet.", http.StatusConflict)
		return
	default:
		options, ceremony, err = a.passkeys.BeginLogin(user)
	}
	if err != nil {
		a.internalError(w, err)
		return
	}
	a.sendOptions(w, r, login, options, ceremony)
}

func (a *App) passkeyLogin(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	answer, err := protocol.ParseCredentialRequestResponseBytes([]byte(r.PostFormValue("credential")))
	if err != nil {
		a.refusePasskey(w, r, err)
		return
	}
	ceremony, err := a.takeCeremony(w, r, login, answer.Response.CollectedClientData.Challenge)
	if err != nil {
		a.refusePasskey(w, r, err)
		return
	}
	user, passkey, err := a.verifyPasskey(r, ceremony, answer)
	if err != nil {
		a.refusePasskey(w, r, err)
		return
	}
	a.users.UpdatePasskey(user.ID, *passkey)
	factor := factorOf(passkey)
	if wanted := r.PostFormValue("factor"); wanted == factorHardwareKey && factor != wanted {
		a.flash(r, "That passkey is copied between devices. This page needs one that stays on its device.")
	}
	a.logIn(w, r, user, factor, factorMultiple)
}

var errCopied = errors.New("the passkey's counter says that there are two of it")

// verifyPasskey returns whose passkey it is. It is somebody else's than the claimant's only
// where nobody had logged in yet.
func (a *App) verifyPasskey(r *http.Request, ceremony webauthn.SessionData, answer *protocol.ParsedCredentialAssertionData) (*User, *webauthn.Credential, error) {
	user, known := a.claimant(r)
	var passkey *webauthn.Credential
	var err error
	if known {
		passkey, err = a.passkeys.ValidateLogin(user, ceremony, answer)
	} else {
		passkey, err = a.passkeys.ValidateDiscoverableLogin(func(_, handle []byte) (webauthn.User, error) {
			var err error
			user, err = a.users.FindByHandle(r.Context(), handle)
			return user, err
		}, ceremony, answer)
	}
	if err == nil && passkey.Authenticator.CloneWarning {
		err = errCopied
	}
	return user, passkey, err
}

// factorOf returns the factor that a passkey is: a key that is copied between devices is not
// hardware's. Without an attestation, that is the authenticator's own word.
func factorOf(passkey *webauthn.Credential) string {
	if passkey.Flags.BackupEligible {
		return factorSoftwareKey
	}
	return factorHardwareKey
}

// sendOptions keeps what the answer is checked against, and sends the browser its options.
func (a *App) sendOptions(w http.ResponseWriter, r *http.Request, purpose string, options any, ceremony *webauthn.SessionData) {
	kept, err := json.Marshal(ceremony)
	if err == nil {
		err = a.guard.PutSecret(w, r, purpose+ceremony.Challenge, kept, ceremonyTime)
	}
	if err != nil {
		a.internalError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(options) // an error means that the client has disconnected
}

// takeCeremony takes what the answer is checked against out of this browser. The challenge
// is checked by that: it names the secret.
func (a *App) takeCeremony(w http.ResponseWriter, r *http.Request, purpose, challenge string) (webauthn.SessionData, error) {
	var ceremony webauthn.SessionData
	kept, err := a.guard.TakeSecret(w, r, purpose+challenge)
	if err == nil {
		err = json.Unmarshal(kept, &ceremony)
	}
	return ceremony, err
}

// refusePasskey shows a page that leads to another attempt.
func (a *App) refusePasskey(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, sessionguard.ErrUnavailable) || errors.Is(err, context.Canceled) {
		a.internalError(w, err)
		return
	}
	message := "That passkey was not accepted."
	switch {
	case errors.Is(err, sessionguard.ErrNoSecret):
		message = "That took too long, or was sent twice."
	case errors.Is(err, errPasskeyTaken):
		message = "That passkey is registered already."
	case errors.Is(err, errTooManyPasskeys):
		message = "You have too many passkeys. Remove one first."
	}
	a.Log.Warn("passkey refused", "error", err)
	back := "/login"
	switch _, loggedIn := a.guard.User(r); {
	case r.URL.Path == "/account/passkeys":
		back = "/account"
	case loggedIn, a.isPending(r):
		back = "/factor?factor=" + url.QueryEscape(r.PostFormValue("factor")) + "&next=" + url.QueryEscape(a.guard.Next(r, ""))
	}
	a.render(w, r, http.StatusUnprocessableEntity, "problem", page{Title: "That did not work", Error: message, Content: back})
}

func (a *App) isPending(r *http.Request) bool {
	_, _, pending := a.guard.Pending(r)
	return pending
}
