package main

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/sessionguard-go/sessionguard/store"
)

func TestWhoGetsInWhere(t *testing.T) {
	s := serve(t)
	const welcome = "/"
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
		for who, location := range map[*browser]string{s.as("ada"): route.ada, s.as("grace"): route.grace, s.browse(): route.stranger} {
			status := http.StatusOK
			if location != "" {
				status = http.StatusSeeOther
			}
			a := who.get(route.path).expect(status, location)
			if route.path != "/static/style.css" {
				a.noStore()
			}
		}
	}
	// What changes something is refused before it does.
	grace := s.as("grace")
	forAdmins := []string{
		"/admin/users/grace/deactivate", "/admin/users/eve/activate",
		"/admin/users/grace/sessions/end", "/admin/users/grace/sessions/" + grace.session() + "/end",
	}
	for _, path := range append(forAdmins, "/reauth", "/account/password", "/account/sessions/end-others", "/account/sessions/"+grace.session()+"/end") {
		s.browse().post(path).expect(http.StatusSeeOther, "/login")
	}
	for _, path := range forAdmins {
		s.as("ada").post(path).expect(http.StatusSeeOther, "/")
	}
	grace.get("/home").expect(http.StatusOK, "")
	s.browse().login("eve").expect(http.StatusUnprocessableEntity, "")
}

func TestSomeoneWithoutARoleGetsTheAccountOnly(t *testing.T) {
	s := serve(t)
	hash, err := s.app.users.hasher.hash(t.Context(), "between-jobs")
	if err != nil {
		t.Fatal(err)
	}
	s.app.users.accounts["max"] = account{&User{ID: "max", Name: "Max Newman", Active: true}, hash}

	b := s.browse()
	b.post("/login", "username", "max", "password", "between-jobs", "next", "/account").expect(http.StatusSeeOther, "/account")
	b.get("/account").expect(http.StatusOK, "").lacks(`href="/home"`).lacks(`href="/admin"`)
	b.get("/").expect(http.StatusOK, "").lacks(`href="/home"`)
	for _, path := range []string{"/home", "/reports/q3.csv", "/admin"} {
		b.get(path).expect(http.StatusSeeOther, "/")
	}
}

func TestProgramsGetProblemsInsteadOfRedirects(t *testing.T) {
	s := serve(t)
	s.as("grace").get("/api/me", "Accept", "application/json").expect(http.StatusOK, "").
		header("Content-Type", "application/json").contains(`"id":"grace"`, `"name":"Grace Hopper"`, `"role":"Admin"`).noStore()
	s.browse().get("/api/me", "Accept", "application/json").expect(http.StatusUnauthorized, "").
		header("Content-Type", "application/problem+json").noStore()
	s.as("ada").get("/admin", "Accept", "application/json").expect(http.StatusForbidden, "").
		header("Content-Type", "application/problem+json")
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
	for _, a := range []answer{
		b.get("/"), b.get("/home"), b.get("/admin"), b.get("/account"), b.get("/reauth"), b.get("/live"),
		b.get("/account/sessions"), b.get("/admin/users/ada/sessions"),
		b.post("/reauth", "password", "wrong"),
		b.post("/account/password", "current", "wrong", "password", "long enough"),
	} {
		if !logoutForm.MatchString(a.body) {
			t.Errorf("%s: no way to log out in\n%s", a.Request.URL.Path, a.body)
		}
	}
	for _, a := range []answer{b.get("/home"), b.get("/admin"), b.get("/account"), b.get("/reauth"), b.get("/account/sessions"),
		b.get("/admin/users/grace/sessions"), b.get("/live"), s.browse().get("/"), s.browse().get("/login")} {
		if links := stylesheet.FindAllStringSubmatch(a.body, -1); len(links) != 1 {
			t.Errorf("%s: stylesheets %v", a.Request.URL.Path, links)
		} else {
			s.browse().get(links[0][1]).expect(http.StatusOK, "").header("Content-Type", "text/css; charset=utf-8")
		}
		// Before anything that it may have to hide.
		if tags := guardTag.FindAllStringSubmatch(a.body, -1); len(tags) != 1 {
			t.Errorf("%s: guard scripts %v", a.Request.URL.Path, tags)
		} else {
			s.browse().get(tags[0][1]).expect(http.StatusOK, "").header("Content-Type", "text/javascript; charset=utf-8")
		}
		for _, script := range ownScript.FindAllStringSubmatch(a.body, -1) {
			s.browse().get(script[1]).expect(http.StatusOK, "").header("Content-Type", "text/javascript; charset=utf-8")
		}
		if found := inline.FindString(ownScript.ReplaceAllString(guardTag.ReplaceAllString(a.body, ""), "")); found != "" {
			t.Errorf("%s: the policy forbids %q", a.Request.URL.Path, found)
		}
	}
	for _, a := range []answer{s.browse().get("/"), s.browse().get("/login")} {
		a.lacks("/logout")
	}
}

func TestSecurityHeadersAreOnEveryAnswer(t *testing.T) {
	s := serve(t)
	b := s.as("ada")
	for _, path := range []string{"/", "/home", "/admin", "/static/style.css", "/static/none", "/reports/none", "/nowhere", "/session"} {
		a := b.get(path).header("X-Content-Type-Options", "nosniff").
			header("Referrer-Policy", "same-origin").header("Cross-Origin-Opener-Policy", "same-origin")
		if policy := a.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'self'; ") {
			t.Errorf("%s: Content-Security-Policy %q", path, policy)
		}
	}
}

func TestStaticFilesAreCacheable(t *testing.T) {
	b := serve(t).as("ada")
	for _, path := range []string{"/static/style.css", "/static/icon.svg", "/static/live.js"} {
		a := b.get(path).expect(http.StatusOK, "").header("Cache-Control", "public, max-age=3600")
		if a.Header["Set-Cookie"] != nil {
			t.Error("a cacheable answer sets a cookie")
		}
	}
	b.get("/static/").expect(http.StatusNotFound, "")
	b.get("/static/none.css").expect(http.StatusNotFound, "").header("Cache-Control", "")
}

func TestReportsAreServedWholeInPartsAndNotAtAll(t *testing.T) {
	b := serve(t).as("ada")
	whole := b.get("/reports/q3.csv").expect(http.StatusOK, "").noStore().
		header("Content-Type", "text/csv; charset=utf-8")
	part := b.get("/reports/q3.csv", "Range", "bytes=0-6").expect(http.StatusPartialContent, "").noStore()
	if part.body != whole.body[:7] {
		t.Errorf("the part is %q", part.body)
	}
	b.get("/reports/q3.csv", "Range", "bytes=999999-").expect(http.StatusRequestedRangeNotSatisfiable, "").noStore()
	b.get("/reports/q9.csv").expect(http.StatusNotFound, "").noStore()

	home := b.get("/home")
	for _, link := range regexp.MustCompile(`href="(/reports/[^"]+)"`).FindAllStringSubmatch(home.body, -1) {
		b.get(link[1]).expect(http.StatusOK, "")
	}
}

func TestNoReportNameLeadsElsewhere(t *testing.T) {
	b := serve(t).as("ada")
	for _, name := range []string{
		"..%2fusers.go", "..%2Ftemplates%2Fhome.html", "%2e%2e%2fusers.go", "..%5cusers.go", "%2fetc%2fpasswd",
		"..%2f..%2f..%2f..%2fetc%2fpasswd", "../users.go", ".", "..", "%2e", "%2e%2e", "", "q3.csv%00", "q3.csv/", "q3.csv%2f..",
		"index.html", "....%2f%2fusers.go",
	} {
		if a := b.get("/reports/" + name); a.StatusCode < 300 {
			t.Errorf("%q: %d\n%s", name, a.StatusCode, a.body)
		}
	}
}

func TestADeactivatedUserIsOutWithTheNextRequest(t *testing.T) {
	s := serve(t)
	laptop, phone, grace := s.as("ada"), s.as("ada"), s.as("grace")
	grace.get("/admin").contains("Ada Lovelace", "/admin/users/ada/deactivate", "/admin/users/eve/activate")

	grace.post("/admin/users/ada/deactivate").expect(http.StatusSeeOther, "/admin")
	laptop.isOut("/home", store.Inactive)
	grace.get("/admin").contains("Ada Lovelace is deactivated and logged out everywhere.", "/admin/users/ada/activate")
	s.browse().login("ada").expect(http.StatusUnprocessableEntity, "")

	grace.post("/admin/users/ada/activate").expect(http.StatusSeeOther, "/admin")
	phone.isOut("/home", store.Inactive)
	s.as("ada")
}

func TestAnAdminCannotDeactivateHerself(t *testing.T) {
	b := serve(t).as("grace")
	b.get("/admin").lacks("/admin/users/grace/deactivate").contains("This is you")
	b.post("/admin/users/grace/deactivate").expect(http.StatusSeeOther, "/admin")
	b.get("/admin").expect(http.StatusOK, "").contains("You cannot deactivate yourself.")
	b.post("/admin/users/nobody/deactivate").expect(http.StatusNotFound, "")
}

// TestUsersAreReadWhileTheyChange is for the race detector.
func TestUsersAreReadWhileTheyChange(t *testing.T) {
	s := serve(t)
	ada, eve, grace := s.as("ada"), s.browse(), s.as("grace")
	var all sync.WaitGroup
	for _, f := range []func(){
		func() { ada.get("/account"); ada.get("/api/me") },
		func() { eve.login("eve"); eve.get("/home") },
		func() { grace.post("/admin/users/eve/activate"); grace.post("/admin/users/eve/deactivate") },
		func() { ada.post("/account/password", "current", "analytical-engine", "password", "analytical-engine") },
		func() { _ = s.app.users.All() },
	} {
		all.Go(func() {
			for range 10 {
				f()
			}
		})
	}
	all.Wait()
}
