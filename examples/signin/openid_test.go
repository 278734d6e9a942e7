package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
)

func TestALoginWithTheProviderAndALogoutThere(t *testing.T) {
	s := start(t)
	first, second, grace, password := s.browse(), s.browse(), s.browse(), s.browse()
	s.logInAtProvider(first, "ada").Expect(http.StatusOK, "").Contains("Good to see you, Ada Lovelace")
	s.logInAtProvider(second, "ada").Contains("Ada Lovelace")
	s.logInAtProvider(grace, "grace").Contains("Grace Hopper")
	apptest.Login(password, "ada").Expect(http.StatusSeeOther, "/home")

	// The logout at the provider reaches the application before the provider responds.
	first.At(s.provider).Get("/").Contains("You are logged in at Example ID.")
	first.At(s.provider).PostForm("/logout").Expect(http.StatusSeeOther, "/")
	if isIn(first) || !isIn(second) || !isIn(grace) || !isIn(password) {
		t.Error("the logout did not end exactly the session from there")
	}
	first.At(s.provider).Get("/").Contains("Log in to Example ID").Lacks("would like to know")
}

func TestALogoutHereEndsTheProvidersSession(t *testing.T) {
	s := start(t)
	b, elsewhere := s.browse(), s.browse()
	s.logInAtProvider(b, "ada")
	s.logInAtProvider(elsewhere, "ada")
	s.follow(b, b.PostForm("/logout")).Expect(http.StatusOK, "").Contains("You have been logged out.", "how sure are we?")
	if isIn(b) || !isIn(elsewhere) {
		t.Error("the logout did not end exactly this session")
	}
	s.logInAtProvider(b, "ada").Contains("Ada Lovelace") // is asked for the password again
	elsewhere.At(s.provider).Get("/").Contains("You are logged in at Example ID.")
}

func TestASecondLoginAtTheProviderAsksForNothing(t *testing.T) {
	s := start(t)
	b := s.browse()
	s.logInAtProvider(b, "ada")
	b.PostForm("/logout") // without a visit to the provider
	if isIn(b) {
		t.Error("the logout ended nothing")
	}
	s.follow(b, b.PostForm("/openid/login")).Contains("Good to see you, Ada Lovelace")
}

func TestTheProviderRefusesWhatIsNotTheClients(t *testing.T) {
	s := start(t)
	b := s.browse()
	to, err := b.PostForm("/openid/login").Location()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"client_id": "other", "redirect_uri": "http://localhost.example/openid/callback"} {
		query := to.Query()
		query.Set(name, value)
		resp := b.At(s.provider).Get(to.Path + "?" + query.Encode())
		if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Location") != "" {
			t.Errorf("%s: got %d to %q", name, resp.StatusCode, resp.Header.Get("Location"))
		}
	}

	// A code without the verifier of its browser is worth nothing, and is gone afterwards.
	page := s.follow(b, b.At(s.provider).Get(to.RequestURI()))
	request := requestField.FindStringSubmatch(page.Body)
	at := b.At(s.provider)
	back, err := at.PostForm("/login", "username", "ada", "password", apptest.Passwords["ada"], "request", request[1]).Location()
	if err != nil {
		t.Fatal(err)
	}
	callback := parse(t, at.Get(back.RequestURI()).Header.Get("Location"))
	resp := at.PostForm("/oauth/token", "grant_type", "authorization_code", "client_id", "signin", "code", callback.Query().Get("code"),
		"redirect_uri", s.url+"/openid/callback", "code_verifier", strings.Repeat("a", 43))
	if resp.StatusCode/100 != 4 || strings.Contains(resp.Body, "id_token") {
		t.Errorf("got %d %s", resp.StatusCode, resp.Body)
	}
	if resp := at.PostForm("/login", "username", "ada", "password", apptest.Passwords["ada"], "request", "none"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d", resp.StatusCode)
	}
	resp = at.Get("/end_session?" + url.Values{"post_logout_redirect_uri": {"http://localhost.example/"}, "client_id": {"signin"}}.Encode())
	if to := resp.Header.Get("Location"); strings.Contains(to, "localhost.example") {
		t.Errorf("sent to %q", to)
	}
	at.Get("/").Contains("You are logged in at Example ID.")
}
