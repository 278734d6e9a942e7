package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// row is the part of a page of sessions that is about one of them.
func (a answer) row(about string) answer {
	a.t.Helper()
	for part := range strings.SplitSeq(a.body, "<li>") {
		if row, _, ok := strings.Cut(part, "</li>"); ok && strings.Contains(row, about) {
			return answer{a.Response, a.t, row}
		}
	}
	a.t.Fatalf("no row about %q in\n%s", about, a.body)
	return a
}

func TestPeopleSeeWhereTheyAreLoggedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		phone := s.on(iphone, "ada")
		laptop := s.on(firefox, "ada")
		time.Sleep(20 * time.Minute)
		phone.get("/home").expect(http.StatusOK, "")
		time.Sleep(2*time.Minute + 30*time.Second)
		laptop.post("/reauth", "password", "analytical-engine")
		s.remembering("ada")
		s.as("grace")

		a := laptop.get("/account/sessions").expect(http.StatusOK, "").noStore()
		if n := strings.Count(a.body, "/end\">"); n != 2 {
			t.Errorf("%d sessions can be ended, not 2, in\n%s", n, a.body)
		}
		a.row("This device").contains("Firefox on Linux", "192.0.2.1", ">22 minutes ago</time>", ">just now</time>").
			lacks("Remembered").lacks(laptop.session())
		now := time.Now().UTC()
		a.row("Safari on iPhone").contains(">22 minutes ago</time>", ">2 minutes ago</time>",
			`datetime="`+now.Add(-22*time.Minute-30*time.Second).Format(time.RFC3339)+`"`,
			`action="/account/sessions/`+phone.session()+`/end"`, `<span class="unseen">Safari on iPhone, 192.0.2.1, logged in 22 minutes ago</span>`)
		a.row("Unknown device").contains("Remembered until",
			`datetime="`+now.Add(14*day).Format(time.RFC3339)+`"`, now.Add(14*day).Format("2 January 2006, 15:04 UTC"))
		a.contains("Log out everywhere else").lacks("Grace Hopper")
		if strings.Index(a.body, "This device") > strings.Index(a.body, "Safari") {
			t.Error("this device is not the first")
		}
		laptop.get("/account").contains(`href="/account/sessions"`)
	})
}

func TestAPersonEndsOneOfTheirSessions(t *testing.T) {
	s := serve(t)
	laptop, phone, tablet := s.as("ada"), s.on(iphone, "ada"), s.as("ada")
	path := "/account/sessions/" + phone.session() + "/end"
	laptop.post(path).expect(http.StatusSeeOther, "/account/sessions")
	laptop.get("/account/sessions").contains("That session has been ended.").lacks("Safari on iPhone")
	phone.isOut("/home", store.Elsewhere)
	tablet.get("/home").expect(http.StatusOK, "")

	laptop.post(path).expect(http.StatusSeeOther, "/account/sessions")
	laptop.get("/account/sessions").expect(http.StatusOK, "").contains("That session had already ended.")
	laptop.post("/account/sessions/no-such-session/end").expect(http.StatusSeeOther, "/account/sessions")
	laptop.get("/account/sessions").contains("That session had already ended.")
}

func TestNobodyEndsAnothersSessionByItsID(t *testing.T) {
	s := serve(t)
	ada, grace := s.as("ada"), s.as("grace")
	ada.post("/account/sessions/"+grace.session()+"/end").expect(http.StatusSeeOther, "/account/sessions")
	ada.get("/account/sessions").contains("That session had already ended.")
	grace.get("/home").expect(http.StatusOK, "")
	// Nor does an admin, under the wrong name.
	grace.post("/admin/users/eve/sessions/"+ada.session()+"/end").expect(http.StatusSeeOther, "/admin/users/eve/sessions")
	grace.get("/admin/users/eve/sessions").contains("That session had already ended.", "Nowhere at the moment.")
	ada.get("/home").expect(http.StatusOK, "")
}

func TestAPersonLogsOutEverywhereElse(t *testing.T) {
	s := serve(t)
	laptop, phone, tablet, grace := s.as("ada"), s.as("ada"), s.remembering("ada"), s.as("grace")
	laptop.post("/account/sessions/end-others").expect(http.StatusSeeOther, "/account/sessions")
	laptop.get("/account/sessions").contains("You are logged out everywhere else.", "You are logged in nowhere else.", "This device").
		lacks("Log out everywhere else")
	phone.isOut("/home", store.Elsewhere)
	tablet.isOut("/home", store.Elsewhere)
	grace.get("/home").expect(http.StatusOK, "")
}

func TestTheSessionsAskForThePasswordAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b, other, grace := s.as("ada"), s.as("ada"), s.as("grace")
		time.Sleep(5 * time.Minute)
		id := other.session()
		b.get("/account/sessions").expect(http.StatusSeeOther, "/reauth?next=%2Faccount%2Fsessions")
		grace.get("/admin/users/ada/sessions").expect(http.StatusSeeOther, "/reauth?next=%2Fadmin%2Fusers%2Fada%2Fsessions")
		for _, path := range []string{"/account/sessions/" + id + "/end", "/account/sessions/end-others"} {
			b.post(path).expect(http.StatusSeeOther, "/reauth")
		}
		for _, path := range []string{"/admin/users/ada/sessions/" + id + "/end", "/admin/users/ada/sessions/end"} {
			grace.post(path).expect(http.StatusSeeOther, "/reauth")
		}
		other.get("/home").expect(http.StatusOK, "")
		b.post("/reauth", "password", "analytical-engine", "next", "/account/sessions").expect(http.StatusSeeOther, "/account/sessions")
		b.get("/account/sessions").expect(http.StatusOK, "")
	})
}

func TestAnAdminEndsAPersonsSessions(t *testing.T) {
	s := serve(t)
	laptop, phone, tablet, grace := s.as("ada"), s.on(iphone, "ada"), s.as("ada"), s.as("grace")
	grace.get("/admin").contains(`href="/admin/users/ada/sessions"`, `href="/admin/users/grace/sessions"`)
	a := grace.get("/admin/users/ada/sessions").expect(http.StatusOK, "").
		contains("Where Ada Lovelace is logged in", "Log out everywhere").lacks("This device").lacks("everywhere else").noStore()
	a.row("Safari on iPhone").contains(`action="/admin/users/ada/sessions/` + phone.session() + `/end"`)

	grace.post("/admin/users/ada/sessions/"+phone.session()+"/end").expect(http.StatusSeeOther, "/admin/users/ada/sessions")
	grace.get("/admin/users/ada/sessions").contains("That session has been ended.").lacks("Safari on iPhone")
	phone.isOut("/home", store.Ended)
	laptop.get("/home").expect(http.StatusOK, "")

	grace.post("/admin/users/ada/sessions/end").expect(http.StatusSeeOther, "/admin/users/ada/sessions")
	grace.get("/admin/users/ada/sessions").contains("Ada Lovelace is logged out everywhere.", "Nowhere at the moment.").
		lacks("Log out everywhere")
	laptop.isOut("/home", store.Ended)
	tablet.isOut("/home", store.Ended)
	s.as("ada") // may log in again
}

func TestAnAdminLooksAtHerOwnSessions(t *testing.T) {
	s := serve(t)
	here, there := s.as("grace"), s.as("grace")
	here.get("/admin/users/grace/sessions").expect(http.StatusOK, "").contains("This device", "Log out everywhere else")
	here.post("/admin/users/grace/sessions/end").expect(http.StatusSeeOther, "/admin/users/grace/sessions")
	here.get("/admin/users/grace/sessions").contains("You are logged out everywhere else.", "This device").lacks("Log out everywhere")
	there.isOut("/home", store.Elsewhere)
}

func TestNobodysSessionsAreNotFound(t *testing.T) {
	b := serve(t).as("grace")
	b.get("/admin/users/nobody/sessions").expect(http.StatusNotFound, "").noStore()
	b.post("/admin/users/nobody/sessions/end").expect(http.StatusNotFound, "")
	b.post("/admin/users/nobody/sessions/x/end").expect(http.StatusNotFound, "")
}

func TestOneSessionTooManyEndsTheLeastRecentlyActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.sessions = 2
		s := newSite(t, o)
		first, second := s.as("ada"), s.as("ada")
		time.Sleep(time.Minute)
		first.get("/home").expect(http.StatusOK, "")
		s.as("grace")
		third := s.as("ada")
		second.isOut("/home", store.TooMany)
		first.get("/home").expect(http.StatusOK, "")
		third.get("/home").expect(http.StatusOK, "")
	})
	o := testOptions()
	o.sessions = 0
	s := newSite(t, o)
	var all []*browser
	for range 20 {
		all = append(all, s.as("ada"))
	}
	for _, b := range all {
		b.get("/home").expect(http.StatusOK, "")
	}
}

func TestTimesAreInWords(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.FixedZone("", 3600))
	for since, want := range map[time.Duration]string{
		-time.Second: "just now", 0: "just now", 59 * time.Second: "just now",
		time.Minute: "1 minute ago", 119 * time.Second: "1 minute ago", 59 * time.Minute: "59 minutes ago",
		time.Hour: "1 hour ago", 3*time.Hour + 59*time.Minute: "3 hours ago",
		day: "1 day ago", 47 * time.Hour: "1 day ago", 13 * day: "13 days ago", 14*day + time.Hour: "2 weeks ago",
	} {
		got := ago(now.Add(-since), now)
		if got.Words != want || got.Machine != now.Add(-since).UTC().Format(time.RFC3339) {
			t.Errorf("%v: %+v, want %q", since, got, want)
		}
	}
	if got, want := date(now), (moment{"25 November 2026, 11:00 UTC", "25 November 2026, 11:00 UTC", "2026-11-25T11:00:00Z"}); got != want {
		t.Errorf("got %+v", got)
	}
	var lengths []string
	for _, d := range []time.Duration{14 * day, 7 * day, 36 * time.Hour, 90 * time.Minute, 30 * time.Second, 1500 * time.Millisecond} {
		lengths = append(lengths, words(d))
	}
	if want := []string{"2 weeks", "1 week", "36 hours", "90 minutes", "30 seconds", "1.5s"}; !slices.Equal(lengths, want) {
		t.Errorf("got %q", lengths)
	}
}
