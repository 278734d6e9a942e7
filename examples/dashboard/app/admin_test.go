package app

import (
	"net/http"
	"testing"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
)

const banner = `<aside class="acting"`

func TestAnAdminLooksAtTheDashboardAsSomebodyAndGoesBack(t *testing.T) {
	s := serve(t)
	ada, grace := s.as("ada"), s.as("grace")
	grace.Get("/admin").Contains("/admin/users/ada/act").Lacks(banner).Lacks(`/admin/users/grace/act"`).Lacks(`/admin/users/eve/act"`)
	grace.PostForm("/admin/users/ada/act").Expect(http.StatusSeeOther, "/home")
	for _, path := range []string{"/", "/home", "/account", "/reauth", "/live"} {
		grace.Get(path).Expect(http.StatusOK, "").NoStore().
			Contains(banner, "Grace Hopper, you are looking at this as <strong>Ada Lovelace</strong>", `action="/act/stop"`)
		ada.Get(path).Expect(http.StatusOK, "").Lacks(banner)
	}
	// What is worth the password is not for her.
	for _, path := range []string{"/account/sessions/end-others", "/account/password"} {
		grace.PostForm(path).Expect(http.StatusSeeOther, "/?reason=forbidden")
	}
	grace.Get("/account/sessions").Expect(http.StatusSeeOther, "/?reason=forbidden")
	grace.Get("/admin").Expect(http.StatusSeeOther, "/?reason=forbidden")

	grace.PostForm("/act/stop").Expect(http.StatusSeeOther, "/admin")
	grace.Get("/admin").Expect(http.StatusOK, "").Contains("This is you").Lacks(banner)
	ada.Get("/home").Expect(http.StatusOK, "")
}

func TestWhomAnAdminCannotLookAs(t *testing.T) {
	s := serve(t)
	grace := s.as("grace")
	for _, id := range []string{"grace", "eve"} {
		grace.PostForm("/admin/users/"+id+"/act").Expect(http.StatusSeeOther, "/admin")
		grace.Get("/admin").Contains("You cannot look at the dashboard as").Lacks(banner)
	}
	grace.PostForm("/admin/users/nobody/act").Expect(http.StatusNotFound, "")
	ada := s.as("ada")
	ada.PostForm("/admin/users/eve/act").Expect(http.StatusSeeOther, "/?reason=forbidden")
}

func TestLookingAsSomebodyEndsWithTheAdmin(t *testing.T) {
	for name, end := range map[string]func(s *site, grace *testbrowser.Browser){
		"deactivated": func(s *site, _ *testbrowser.Browser) {
			if _, err := s.app.Users.SetActive("grace", false); err != nil {
				t.Error(err)
			}
		},
		"logged out": func(s *site, _ *testbrowser.Browser) {
			if err := s.app.guard.EndUser(t.Context(), "grace"); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			grace := s.as("grace")
			grace.PostForm("/admin/users/ada/act").Expect(http.StatusSeeOther, "/home")
			end(s, grace)
			isOut(grace, "/home", store.ReasonActorEnded)
			grace.Get("/login").Contains(endings[store.ReasonActorEnded])
			grace.PostForm("/act/stop").Expect(http.StatusSeeOther, "/login?reason=actor_ended")
		})
	}
	s := serve(t)
	grace := s.as("grace")
	before := grace.Copy()
	grace.PostForm("/admin/users/ada/act").Expect(http.StatusSeeOther, "/home")
	grace.PostForm("/logout").Expect(http.StatusSeeOther, "/")
	before.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome&reason=expired")
	apptest.Login(grace, "grace")
	grace.Get("/home").Expect(http.StatusOK, "").Lacks(banner)
}
