package app

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
)

func TestWhoGetsInWhere(t *testing.T) {
	s := serve(t)
	const welcome = "/?reason=forbidden"
	for _, route := range []struct {
		path       string
		ada, grace string // where they are sent, "" if they get in
		stranger   string
	}{
		{"/", "", "", ""},
		{"/home", "", "", "/login?next=%2Fhome"},
		{"/admin", welcome, "", "/login?next=%2Fadmin"},
		{"/account", "", "", "/login?next=%2Faccount"},
		{"/reauth", "", "", "/login?next=%2Freauth"},
		{"/account/sessions", "", "", "/login?next=%2Faccount%2Fsessions"},
		{"/admin/users/ada/sessions", welcome, "", "/login?next=%2Fadmin%2Fusers%2Fada%2Fsessions"},
		{"/live", "", "", "/login?next=%2Flive"},
		{"/reports/q2.csv", "", "", "/login?next=%2Freports%2Fq2.csv"},
		{"/api/me", "", "", "/login?next=%2Fapi%2Fme"},
		{"/session", "", "", ""},
		{"/sessionguard/status", "", "", ""},
		{"/static/style.css", "", "", ""},
	} {
		for who, location := range map[*testbrowser.Browser]string{s.as("ada"): route.ada, s.as("grace"): route.grace, s.browse(): route.stranger} {
			status := http.StatusOK
			if location != "" {
				status = http.StatusSeeOther
			}
			a := who.Get(route.path).Expect(status, location)
			if route.path != "/static/style.css" {
				a.NoStore()
			}
		}
	}
	// What changes something is refused before it does.
	grace := s.as("grace")
	forAdmins := []string{
		"/admin/users/grace/deactivate", "/admin/users/eve/activate",
		"/admin/users/grace/sessions/end", "/admin/users/grace/sessions/" + apptest.Session(grace) + "/end",
	}
	for _, path := range append(forAdmins, "/reauth", "/account/password", "/account/sessions/end-others", "/account/sessions/"+apptest.Session(grace)+"/end") {
		s.browse().PostForm(path).Expect(http.StatusSeeOther, "/login")
	}
	for _, path := range forAdmins {
		s.as("ada").PostForm(path).Expect(http.StatusSeeOther, "/?reason=forbidden")
	}
	grace.Get("/home").Expect(http.StatusOK, "")
	apptest.Login(s.browse(), "eve").Expect(http.StatusUnprocessableEntity, "")
}

func TestSomeoneWithoutARoleGetsTheAccountOnly(t *testing.T) {
	s := serve(t)
	hash, err := s.app.Users.hasher.hash(t.Context(), "between-jobs")
	if err != nil {
		t.Fatal(err)
	}
	s.app.Users.accounts["max"] = account{&User{ID: "max", Name: "Max Newman", Active: true}, hash}

	b := s.browse()
	b.PostForm("/login", "username", "max", "password", "between-jobs", "next", "/account").Expect(http.StatusSeeOther, "/account")
	b.Get("/account").Expect(http.StatusOK, "").Lacks(`href="/home"`).Lacks(`href="/admin"`)
	b.Get("/").Expect(http.StatusOK, "").Lacks(`href="/home"`)
	for _, path := range []string{"/home", "/reports/q3.csv", "/admin"} {
		b.Get(path).Expect(http.StatusSeeOther, "/?reason=forbidden")
	}
}

func TestProgramsGetProblemsInsteadOfRedirects(t *testing.T) {
	s := serve(t)
	s.as("grace").Get("/api/me", "Accept", "application/json").Expect(http.StatusOK, "").
		Has("Content-Type", "application/json").Contains(`"id":"grace"`, `"name":"Grace Hopper"`, `"role":"Admin"`).NoStore()
	s.browse().Get("/api/me", "Accept", "application/json").Expect(http.StatusUnauthorized, "").
		Has("Content-Type", "application/problem+json").NoStore()
	s.as("ada").Get("/admin", "Accept", "application/json").Expect(http.StatusForbidden, "").
		Has("Content-Type", "application/problem+json")
}

var (
	logoutForm = regexp.MustCompile(`<form[^>]* method="post" action="/logout"><button[^>]*>Log out</button></form>`)
	ownScript  = regexp.MustCompile(`<script src="(/static/[a-z]+\.js)" defer></script>`)
	stylesheet = regexp.MustCompile(`<link rel="stylesheet" href="(/static/[^"]+)">`)
	guardTag   = regexp.MustCompile(`<head>\n<meta charset="utf-8">\n<script src="(/sessionguard/guard\.[0-9a-f]+\.js)"[^>]*></script>`)
	inline     = regexp.MustCompile(`(?i)<script|<style|\sstyle=|\son[a-z]+=|https?:`)
)

func TestEveryPageOffersLogoutAndNeedsNothingFromElsewhere(t *testing.T) {
	s := serve(t)
	b := s.as("grace")
	for _, a := range []testbrowser.Response{
		b.Get("/"), b.Get("/home"), b.Get("/admin"), b.Get("/account"), b.Get("/reauth"), b.Get("/live"),
		b.Get("/account/sessions"), b.Get("/admin/users/ada/sessions"),
		b.PostForm("/reauth", "password", "wrong"),
		b.PostForm("/account/password", "current", "wrong", "password", "long enough"),
	} {
		if !logoutForm.MatchString(a.Body) {
			t.Errorf("%s: no way to log out in\n%s", a.Request.URL.Path, a.Body)
		}
	}
	for _, a := range []testbrowser.Response{b.Get("/home"), b.Get("/admin"), b.Get("/account"), b.Get("/reauth"), b.Get("/account/sessions"),
		b.Get("/admin/users/grace/sessions"), b.Get("/live"), s.browse().Get("/"), s.browse().Get("/login")} {
		if links := stylesheet.FindAllStringSubmatch(a.Body, -1); len(links) != 1 {
			t.Errorf("%s: stylesheets %v", a.Request.URL.Path, links)
		} else {
			s.browse().Get(links[0][1]).Expect(http.StatusOK, "").Has("Content-Type", "text/css; charset=utf-8")
		}
		// Before anything that it may have to hide.
		if tags := guardTag.FindAllStringSubmatch(a.Body, -1); len(tags) != 1 {
			t.Errorf("%s: guard scripts %v", a.Request.URL.Path, tags)
		} else {
			s.browse().Get(tags[0][1]).Expect(http.StatusOK, "").Has("Content-Type", "text/javascript; charset=utf-8")
		}
		for _, script := range ownScript.FindAllStringSubmatch(a.Body, -1) {
			s.browse().Get(script[1]).Expect(http.StatusOK, "").Has("Content-Type", "text/javascript; charset=utf-8")
		}
		if found := inline.FindString(ownScript.ReplaceAllString(guardTag.ReplaceAllString(a.Body, ""), "")); found != "" {
			t.Errorf("%s: the policy forbids %q", a.Request.URL.Path, found)
		}
	}
	for _, a := range []testbrowser.Response{s.browse().Get("/"), s.browse().Get("/login")} {
		a.Lacks("/logout")
	}
}

func TestSecurityHeadersAreOnEveryAnswer(t *testing.T) {
	s := serve(t)
	b := s.as("ada")
	for _, path := range []string{"/", "/home", "/admin", "/static/style.css", "/static/none", "/reports/none", "/nowhere", "/session"} {
		a := b.Get(path).Has("X-Content-Type-Options", "nosniff").
			Has("Referrer-Policy", "same-origin").Has("Cross-Origin-Opener-Policy", "same-origin")
		if policy := a.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'self'; ") {
			t.Errorf("%s: Content-Security-Policy %q", path, policy)
		}
	}
}

func TestStaticFilesAreCacheable(t *testing.T) {
	b := serve(t).as("ada")
	for _, path := range []string{"/static/style.css", "/static/icon.svg", "/static/live.js"} {
		a := b.Get(path).Expect(http.StatusOK, "").Has("Cache-Control", "public, max-age=3600")
		if a.Header["Set-Cookie"] != nil {
			t.Error("a cacheable response sets a cookie")
		}
	}
	b.Get("/static/").Expect(http.StatusNotFound, "")
	b.Get("/static/none.css").Expect(http.StatusNotFound, "").Has("Cache-Control", "")
}

func TestReportsAreServedWholeInPartsAndNotAtAll(t *testing.T) {
	b := serve(t).as("ada")
	whole := b.Get("/reports/q3.csv").Expect(http.StatusOK, "").NoStore().
		Has("Content-Type", "text/csv; charset=utf-8")
	part := b.Get("/reports/q3.csv", "Range", "bytes=0-6").Expect(http.StatusPartialContent, "").NoStore()
	if part.Body != whole.Body[:7] {
		t.Errorf("the part is %q", part.Body)
	}
	b.Get("/reports/q3.csv", "Range", "bytes=999999-").Expect(http.StatusRequestedRangeNotSatisfiable, "").NoStore()
	b.Get("/reports/q9.csv").Expect(http.StatusNotFound, "").NoStore()

	home := b.Get("/home")
	for _, link := range regexp.MustCompile(`href="(/reports/[^"]+)"`).FindAllStringSubmatch(home.Body, -1) {
		b.Get(link[1]).Expect(http.StatusOK, "")
	}
}

func TestNoReportNameLeadsElsewhere(t *testing.T) {
	b := serve(t).as("ada")
	for _, name := range []string{
		"..%2fusers.go", "..%2Ftemplates%2Fhome.html", "%2e%2e%2fusers.go", "..%5cusers.go", "%2fetc%2fpasswd",
		"..%2f..%2f..%2f..%2fetc%2fpasswd", "../users.go", ".", "..", "%2e", "%2e%2e", "", "q3.csv%00", "q3.csv/", "q3.csv%2f..",
		"index.html", "....%2f%2fusers.go",
	} {
		if a := b.Get("/reports/" + name); a.StatusCode < 300 {
			t.Errorf("%q: %d\n%s", name, a.StatusCode, a.Body)
		}
	}
}

func TestADeactivatedUserIsOutWithTheNextRequest(t *testing.T) {
	s := serve(t)
	laptop, phone, grace := s.as("ada"), s.as("ada"), s.as("grace")
	grace.Get("/admin").Contains("Ada Lovelace", "/admin/users/ada/deactivate", "/admin/users/eve/activate")

	grace.PostForm("/admin/users/ada/deactivate").Expect(http.StatusSeeOther, "/admin")
	isOut(laptop, "/home", store.ReasonDeactivated)
	grace.Get("/admin").Contains("Ada Lovelace is deactivated and logged out everywhere.", "/admin/users/ada/activate")
	apptest.Login(s.browse(), "ada").Expect(http.StatusUnprocessableEntity, "")

	grace.PostForm("/admin/users/ada/activate").Expect(http.StatusSeeOther, "/admin")
	isOut(phone, "/home", store.ReasonDeactivated)
	s.as("ada")
}

func TestAnAdminCannotDeactivateHerself(t *testing.T) {
	b := serve(t).as("grace")
	b.Get("/admin").Lacks("/admin/users/grace/deactivate").Contains("This is you")
	b.PostForm("/admin/users/grace/deactivate").Expect(http.StatusSeeOther, "/admin")
	b.Get("/admin").Expect(http.StatusOK, "").Contains("You cannot deactivate yourself.")
	b.PostForm("/admin/users/nobody/deactivate").Expect(http.StatusNotFound, "")
}

// TestUsersAreReadWhileTheyChange is for the race detector.
func TestUsersAreReadWhileTheyChange(t *testing.T) {
	s := serve(t)
	ada, eve, grace := s.as("ada"), s.browse(), s.as("grace")
	var all sync.WaitGroup
	for _, f := range []func(){
		func() { ada.Get("/account"); ada.Get("/api/me") },
		func() { apptest.Login(eve, "eve"); eve.Get("/home") },
		func() { grace.PostForm("/admin/users/eve/activate"); grace.PostForm("/admin/users/eve/deactivate") },
		func() {
			ada.PostForm("/account/password", "current", "analytical-engine", "password", "analytical-engine")
		},
		func() { _ = s.app.Users.All() },
	} {
		all.Go(func() {
			for range 10 {
				f()
			}
		})
	}
	all.Wait()
}
