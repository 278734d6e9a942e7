package app

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
)

// A page that does not exist looks like all others. What exists keeps its 405.
func TestPagesThatDoNotExist(t *testing.T) {
	s := serve(t)
	visitor, ada, grace := s.browse(), s.as("ada"), s.as("grace")
	const title, brand = "<title>Not found · Difference &amp; Co.</title>", `class="brand" href="/"`
	for _, path := range []string{"/nowhere", "/home/", "/session/", "/act/none", "/a/b/c"} {
		visitor.Get(path).Expect(http.StatusNotFound, "").Has("Content-Type", "text/html; charset=utf-8").
			Contains(title, brand, `href="/login"`).NoStore()
		ada.Get(path).Expect(http.StatusNotFound, "").Contains(title, brand, `action="/logout"`).NoStore()
		ada.PostForm(path).Expect(http.StatusNotFound, "").Contains(title)
	}
	ada.Get("/reports/none").Expect(http.StatusNotFound, "").Contains(title, brand)
	grace.Get("/admin/users/nobody/sessions").Expect(http.StatusNotFound, "").Contains(title, brand)
	for _, action := range []string{"activate", "deactivate", "act", "sessions/end", "sessions/none/end"} {
		grace.PostForm("/admin/users/nobody/"+action).Expect(http.StatusNotFound, "").Contains(title, brand)
	}
	ada.Get("/logout").Expect(http.StatusMethodNotAllowed, "").Has("Allow", "POST")
	ada.PostForm("/account").Expect(http.StatusMethodNotAllowed, "").Has("Allow", "GET, HEAD")
	ada.Get("//home").Expect(http.StatusTemporaryRedirect, "/home")
}

// Browsers request icons that a page does not name.
func TestAMissingIconTakesNoMessage(t *testing.T) {
	b := serve(t).as("ada")
	b.PostForm("/logout")
	b.Get("/apple-touch-icon.png").Expect(http.StatusNotFound, "").Lacks("You have been logged out.")
	b.Get("/").Contains("You have been logged out.")
}

func TestThePagesSayWhatToTry(t *testing.T) {
	s := serve(t)
	for _, page := range []string{s.browse().Get("/").Body, s.as("ada").Get("/").Body, s.as("ada").Get("/home").Body} {
		for _, text := range []string{"Back after logout.", "Two tabs.", "<code>-idle 30s</code>", "Another browser.", "Remember me.", `href="/account/sessions"`} {
			if !strings.Contains(page, text) {
				t.Errorf("%q is not in\n%s", text, page)
			}
		}
	}
	forgetful := testOptions()
	forgetful.Remember = 0
	newSite(t, forgetful).browse().Get("/").Contains("What to try").Lacks("Remember me")
}

func TestTheLoginPageShowsTheDemoAccounts(t *testing.T) {
	login := serve(t).browse().Get("/login").Contains("This is a demo. A real login page never shows a password.")
	for name, password := range apptest.Passwords {
		login.Contains("<code>"+name+"</code>", "<code>"+password+"</code>")
	}
}
