package app

import (
	"errors"
	"image/png"
	"net/http"
	"strings"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
	"github.com/sessionguard-go/sessionguard"
)

// imageSize is the width of the QR code in pixels: a multiple of its modules is sharp.
const imageSize = 264

// totpPage shows the secret of a new authenticator app, as an image and as text. It is in
// the session's values, which are on the server, until a code has shown that the app knows
// it.
func (a *App) totpPage(w http.ResponseWriter, r *http.Request) {
	key, err := a.newKey(r)
	if err != nil {
		a.internalError(w, err)
		return
	}
	a.showTOTPPage(w, r, http.StatusOK, key, "")
}

func (a *App) showTOTPPage(w http.ResponseWriter, r *http.Request, status int, key *otp.Key, message string) {
	a.render(w, r, status, "totp", page{Title: "Authenticator app", Error: message, Content: inFours(key.Secret())})
}

// totpImage is the QR code of totpPage. Behind the gate it is in no cache.
func (a *App) totpImage(w http.ResponseWriter, r *http.Request) {
	key, err := a.enrolment(r)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	image, err := key.Image(imageSize, imageSize)
	if err != nil {
		a.internalError(w, err)
		return
	}
	w.Header().Set("Content-Type", "image/png")
	_ = png.Encode(w, image) // an error means that the client has disconnected
}

// enableTOTP ends the enrolment with a code. The user's login needs a code from now on, so
// this session would no longer be whole without the Login that says that it has given one.
// The user's other sessions have to prove it too.
func (a *App) enableTOTP(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	key, err := a.enrolment(r)
	if err != nil {
		http.Redirect(w, r, "/account/totp", http.StatusSeeOther)
		return
	}
	user, _ := a.guard.User(r)
	err = a.users.EnableTOTP(user.ID, key.Secret(), strings.ReplaceAll(r.PostFormValue("code"), " ", ""))
	if err != nil {
		a.showTOTPPage(w, r, http.StatusUnprocessableEntity, key, "That code is wrong. Is the clock of your phone right?")
		return
	}
	a.forgetEnrolment(r)
	a.methodsChanged(w, r, user.ID, "Your authenticator app is set up.", factorCode, factorMultiple)
}

func (a *App) removeTOTP(w http.ResponseWriter, r *http.Request) {
	user, _ := a.guard.User(r)
	a.users.RemoveTOTP(user.ID)
	a.methodRemoved(w, r, "Your authenticator app is removed.")
}

// methodRemoved ends the user's other sessions, since whoever had the app or the passkey may
// have begun them (OWASP ASVS 7.4.3).
func (a *App) methodRemoved(w http.ResponseWriter, r *http.Request, message string) {
	if err := a.guard.EndOthers(r); err != nil {
		a.internalError(w, err)
		return
	}
	a.flash(r, message+" You are logged out everywhere else.")
	http.Redirect(w, r, "/account", http.StatusSeeOther)
}

// methodsChanged logs a user in again who has set up a factor, and by that has proved it.
func (a *App) methodsChanged(w http.ResponseWriter, r *http.Request, userID, message string, factors ...string) {
	user, err := a.users.Find(r.Context(), userID)
	if err == nil {
		err = a.guard.Login(w, r, user, sessionguard.Factors(factors...))
	}
	if err == nil {
		err = a.keepOrigin(w, r, user, origin{})
	}
	if err != nil {
		a.internalError(w, err)
		return
	}
	a.flash(r, message)
	http.Redirect(w, r, "/account", http.StatusSeeOther)
}

// newKey makes the secret of an enrolment, or returns the one that the session has: the
// page may be reloaded after the code was scanned.
func (a *App) newKey(r *http.Request) (*otp.Key, error) {
	if key, err := a.enrolment(r); err == nil {
		return key, nil
	}
	user, _ := a.guard.User(r)
	key, err := totp.Generate(totp.GenerateOpts{Issuer: name, AccountName: user.ID})
	if err != nil {
		return nil, err
	}
	session, err := a.guard.Get(r, "totp")
	if err != nil {
		return nil, err
	}
	session.Values["key"] = key.URL()
	return key, nil
}

var errNoEnrolment = errors.New("no authenticator app is being set up")

func (a *App) enrolment(r *http.Request) (*otp.Key, error) {
	session, err := a.guard.Get(r, "totp")
	if err != nil {
		return nil, err
	}
	if address, ok := session.Values["key"].(string); ok {
		return otp.NewKeyFromURL(address)
	}
	return nil, errNoEnrolment
}

func (a *App) forgetEnrolment(r *http.Request) {
	if session, err := a.guard.Get(r, "totp"); err == nil {
		delete(session.Values, "key")
	}
}

// inFours writes a secret as people read it.
func inFours(secret string) string {
	var groups []string
	for len(secret) > 4 {
		groups, secret = append(groups, secret[:4]), secret[4:]
	}
	return strings.Join(append(groups, secret), " ")
}
