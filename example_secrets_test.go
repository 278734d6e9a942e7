package sessionguard_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// exampleOIDC is what an OpenID Connect login remembers while the browser is at the provider.
type exampleOIDC struct{ Nonce, Verifier, Next string }

// A login with OpenID Connect. State, nonce and PKCE verifier are good once, for ten minutes,
// in the browser that began. The state is the secret's name, so that logins in several tabs
// do not disturb each other.
func ExampleGuard_PutSecret() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oidc/begin", func(w http.ResponseWriter, r *http.Request) {
		state, login := rand.Text(), exampleOIDC{Nonce: rand.Text(), Verifier: rand.Text() + rand.Text(), Next: guard.Next(r, "/home")}
		value, _ := json.Marshal(login)
		if err := guard.PutSecret(w, r, "oidc:"+state, value, 10*time.Minute); err != nil {
			http.Error(w, "Please try again later.", http.StatusServiceUnavailable)
			return
		}
		challenge := sha256.Sum256([]byte(login.Verifier))
		http.Redirect(w, r, "https://provider.example/authorize?"+url.Values{
			"response_type": {"code"}, "client_id": {"app"}, "redirect_uri": {"https://example.com/oidc/callback"},
			"scope": {"openid"}, "state": {state}, "nonce": {login.Nonce},
			"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
		}.Encode(), http.StatusSeeOther)
	})
	mux.HandleFunc("GET /oidc/callback", func(w http.ResponseWriter, r *http.Request) {
		value, err := guard.TakeSecret(w, r, "oidc:"+r.FormValue("state"))
		if errors.Is(err, sessionguard.ErrNoSecret) {
			http.Error(w, "This login is too old. Please start again.", http.StatusBadRequest)
			return
		} else if err != nil {
			http.Error(w, "Please try again later.", http.StatusServiceUnavailable)
			return
		}
		var login exampleOIDC
		_ = json.Unmarshal(value, &login)
		// Exchange the code with login.Verifier, compare the ID token's nonce with login.Nonce.
		if err := guard.Login(w, r, exampleUsers["ada"]); err == nil {
			http.Redirect(w, r, login.Next, http.StatusSeeOther) // Next has checked it
		}
	})

	browser := exampleVisit(guard.Handler(mux))
	provider, _ := browser.Post("/oidc/begin?next=/reports").Location()
	callback := "/oidc/callback?code=c&state=" + provider.Query().Get("state")
	copied := browser.copy()
	fmt.Println(exampleVisit(guard.Handler(mux)).get(callback)) // another browser
	fmt.Println(browser.get(callback))
	fmt.Println(copied.get(callback)) // the same cookie, once more
	// Output:
	// 400 This login is too old. Please start again.
	// 303 to /reports
	// 400 This login is too old. Please start again.
}

// The challenge of WebAuthn. A user who is logged in confirms a payment with a passkey: the
// secret belongs to the session in which it was put.
func ExampleGuard_TakeSecret() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.Handle("POST /passkey/begin", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		challenge := rand.Text()
		if err := guard.PutSecret(w, r, "passkey", []byte(challenge), 5*time.Minute); err != nil {
			http.Error(w, "Please try again later.", http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"challenge": challenge})
	})))
	mux.Handle("POST /passkey/finish", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := guard.TakeSecret(w, r, "passkey"); err != nil {
			http.Error(w, "Please start again.", http.StatusBadRequest)
			return
		}
		// Verify the assertion, which is signed over the challenge.
		fmt.Fprintln(w, "Confirmed.")
	})))

	ada := exampleVisitAs("ada", guard, guard.Handler(mux))
	ada.post("/passkey/begin")
	fmt.Println(ada.post("/passkey/finish"))
	fmt.Println(ada.post("/passkey/finish"))
	// Output:
	// 200 Confirmed.
	// 400 Please start again.
}
