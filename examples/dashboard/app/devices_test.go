package app

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
)

func TestPeopleSeeWhereTheyAreLoggedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		phone := s.on(iphone, "ada")
		laptop := s.on(firefox, "ada")
		time.Sleep(20 * time.Minute)
		phone.Get("/home").Expect(http.StatusOK, "")
		time.Sleep(2*time.Minute + 30*time.Second)
		laptop.PostForm("/reauth", "password", "analytical-engine")
		s.remembering("ada")
		s.as("grace")

		a := laptop.Get("/account/sessions").Expect(http.StatusOK, "").NoStore()
		if n := strings.Count(a.Body, "/end\">"); n != 2 {
			t.Errorf("%d sessions can be ended, not 2, in\n%s", n, a.Body)
		}
		a.Row("This device").Contains("Firefox on Linux", "192.0.2.1", ">22 minutes ago</time>", ">just now</time>").
			Lacks("Remembered").Lacks(apptest.Session(laptop) + "/end")
		now := time.Now().UTC()
		a.Row("Safari on iPhone").Contains(">22 minutes ago</time>", ">2 minutes ago</time>",
			`datetime="`+now.Add(-22*time.Minute-30*time.Second).Format(time.RFC3339)+`"`,
			`action="/account/sessions/`+apptest.Session(phone)+`/end"`, `<span class="unseen">Safari on iPhone, 192.0.2.1, logged in 22 minutes ago</span>`)
		a.Row("Unknown device").Contains("Remembered until",
			`datetime="`+now.Add(14*day).Format(time.RFC3339)+`"`, now.Add(14*day).Format("2 January 2006, 15:04 UTC"))
		a.Contains("Log out everywhere else").Lacks("Grace Hopper")
		if strings.Index(a.Body, "This device") > strings.Index(a.Body, "Safari") {
			t.Error("this device is not the first")
		}
		laptop.Get("/account").Contains(`href="/account/sessions"`)
	})
}

func TestAPersonEndsOneOfTheirSessions(t *testing.T) {
	s := serve(t)
	laptop, phone, tablet := s.as("ada"), s.on(iphone, "ada"), s.as("ada")
	path := "/account/sessions/" + apptest.Session(phone) + "/end"
	laptop.PostForm(path).Expect(http.StatusSeeOther, "/account/sessions")
	laptop.Get("/account/sessions").Contains("That session has been ended.").Lacks("Safari on iPhone")
	isOut(phone, "/home", store.ReasonLoggedOutElsewhere)
	tablet.Get("/home").Expect(http.StatusOK, "")

	laptop.PostForm(path).Expect(http.StatusSeeOther, "/account/sessions")
	laptop.Get("/account/sessions").Expect(http.StatusOK, "").Contains("That session had already ended.")
	laptop.PostForm("/account/sessions/no-such-session/end").Expect(http.StatusSeeOther, "/account/sessions")
	laptop.Get("/account/sessions").Contains("That session had already ended.")
}

func TestNobodyEndsAnothersSessionByItsID(t *testing.T) {
	s := serve(t)
	ada, grace := s.as("ada"), s.as("grace")
	ada.PostForm("/account/sessions/"+apptest.Session(grace)+"/end").Expect(http.StatusSeeOther, "/account/sessions")
	ada.Get("/account/sessions").Contains("That session had already ended.")
	grace.Get("/home").Expect(http.StatusOK, "")
	// Nor does an admin, under the wrong name.
	grace.PostForm("/admin/users/eve/sessions/"+apptest.Session(ada)+"/end").Expect(http.StatusSeeOther, "/admin/users/eve/sessions")
	grace.Get("/admin/users/eve/sessions").Contains("That session had already ended.", "Nowhere at the moment.")
	ada.Get("/home").Expect(http.StatusOK, "")
}

func TestAPersonLogsOutEverywhereElse(t *testing.T) {
	s := serve(t)
	laptop, phone, tablet, grace := s.as("ada"), s.as("ada"), s.remembering("ada"), s.as("grace")
	laptop.PostForm("/account/sessions/end-others").Expect(http.StatusSeeOther, "/account/sessions")
	laptop.Get("/account/sessions").Contains("You are logged out everywhere else.", "You are logged in nowhere else.", "This device").
		Lacks("Log out everywhere else")
	isOut(phone, "/home", store.ReasonLoggedOutElsewhere)
	isOut(tablet, "/home", store.ReasonLoggedOutElsewhere)
	grace.Get("/home").Expect(http.StatusOK, "")
}

func TestTheSessionsAskForThePasswordAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b, other, grace := s.as("ada"), s.as("ada"), s.as("grace")
		time.Sleep(5 * time.Minute)
		id := apptest.Session(other)
		b.Get("/account/sessions").Expect(http.StatusSeeOther, "/reauth?next=%2Faccount%2Fsessions")
		grace.Get("/admin/users/ada/sessions").Expect(http.StatusSeeOther, "/reauth?next=%2Fadmin%2Fusers%2Fada%2Fsessions")
		for _, path := range []string{"/account/sessions/" + id + "/end", "/account/sessions/end-others"} {
			b.PostForm(path).Expect(http.StatusSeeOther, "/reauth")
		}
		for _, path := range []string{"/admin/users/ada/sessions/" + id + "/end", "/admin/users/ada/sessions/end"} {
			grace.PostForm(path).Expect(http.StatusSeeOther, "/reauth")
		}
		other.Get("/home").Expect(http.StatusOK, "")
		b.PostForm("/reauth", "password", "analytical-engine", "next", "/account/sessions").Expect(http.StatusSeeOther, "/account/sessions")
		b.Get("/account/sessions").Expect(http.StatusOK, "")
	})
}

func TestAnAdminEndsAPersonsSessions(t *testing.T) {
	s := serve(t)
	laptop, phone, tablet, grace := s.as("ada"), s.on(iphone, "ada"), s.as("ada"), s.as("grace")
	grace.Get("/admin").Contains(`href="/admin/users/ada/sessions"`, `href="/admin/users/grace/sessions"`)
	a := grace.Get("/admin/users/ada/sessions").Expect(http.StatusOK, "").
		Contains("Where Ada Lovelace is logged in", "Log out everywhere").Lacks("This device").Lacks("everywhere else").NoStore()
	a.Row("Safari on iPhone").Contains(`action="/admin/users/ada/sessions/` + apptest.Session(phone) + `/end"`)

	grace.PostForm("/admin/users/ada/sessions/"+apptest.Session(phone)+"/end").Expect(http.StatusSeeOther, "/admin/users/ada/sessions")
	grace.Get("/admin/users/ada/sessions").Contains("That session has been ended.").Lacks("Safari on iPhone")
	isOut(phone, "/home", store.ReasonEnded)
	laptop.Get("/home").Expect(http.StatusOK, "")

	grace.PostForm("/admin/users/ada/sessions/end").Expect(http.StatusSeeOther, "/admin/users/ada/sessions")
	grace.Get("/admin/users/ada/sessions").Contains("Ada Lovelace is logged out everywhere.", "Nowhere at the moment.").
		Lacks("Log out everywhere")
	isOut(laptop, "/home", store.ReasonEnded)
	isOut(tablet, "/home", store.ReasonEnded)
	s.as("ada") // may log in again
}

func TestAnAdminLooksAtHerOwnSessions(t *testing.T) {
	s := serve(t)
	here, there := s.as("grace"), s.as("grace")
	here.Get("/admin/users/grace/sessions").Expect(http.StatusOK, "").Contains("This device", "Log out everywhere else")
	here.PostForm("/admin/users/grace/sessions/end").Expect(http.StatusSeeOther, "/admin/users/grace/sessions")
	here.Get("/admin/users/grace/sessions").Contains("You are logged out everywhere else.", "This device").Lacks("Log out everywhere")
	isOut(there, "/home", store.ReasonLoggedOutElsewhere)
}

func TestNobodysSessionsAreNotFound(t *testing.T) {
	b := serve(t).as("grace")
	b.Get("/admin/users/nobody/sessions").Expect(http.StatusNotFound, "").NoStore()
	b.PostForm("/admin/users/nobody/sessions/end").Expect(http.StatusNotFound, "")
	b.PostForm("/admin/users/nobody/sessions/x/end").Expect(http.StatusNotFound, "")
}

func TestOneSessionTooManyEndsTheLeastRecentlyActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.Sessions = 2
		s := newSite(t, o)
		first, second := s.as("ada"), s.as("ada")
		time.Sleep(time.Minute)
		first.Get("/home").Expect(http.StatusOK, "")
		s.as("grace")
		third := s.as("ada")
		isOut(second, "/home", store.ReasonTooManySessions)
		first.Get("/home").Expect(http.StatusOK, "")
		third.Get("/home").Expect(http.StatusOK, "")
	})
	o := testOptions()
	o.Sessions = 0
	s := newSite(t, o)
	var all []*testbrowser.Browser
	for range 20 {
		all = append(all, s.as("ada"))
	}
	for _, b := range all {
		b.Get("/home").Expect(http.StatusOK, "")
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

func TestAPersonNamesADevice(t *testing.T) {
	s := serve(t)
	laptop, phone, grace := s.as("ada"), s.on(iphone, "ada"), s.as("grace")
	label := "/account/sessions/" + apptest.Session(phone) + "/label"
	laptop.PostForm(label, "label", " Work <phone> ").Expect(http.StatusSeeOther, "/account/sessions")
	laptop.Get("/account/sessions").Contains("The device has a new name.").
		Row("<strong>Work &lt;phone&gt;</strong>").Contains("<small>Safari on iPhone, 127.0.0.1</small>", `value="Work &lt;phone&gt;"`)
	grace.Get("/admin/users/ada/sessions").Contains("Work &lt;phone&gt;").Lacks("/label")

	grace.PostForm(label, "label", "stolen").Expect(http.StatusSeeOther, "/account/sessions")
	grace.Get("/account/sessions").Contains("That session had already ended.")
	laptop.PostForm(label, "label", "\x00").Expect(http.StatusSeeOther, "/account/sessions")
	laptop.Get("/account/sessions").Contains("Choose another one.", "Work &lt;phone&gt;").Lacks("stolen")
	laptop.PostForm(label, "label", "").Expect(http.StatusSeeOther, "/account/sessions")
	laptop.Get("/account/sessions").Contains("<strong>Safari on iPhone</strong>").Lacks("Work &lt;")
}

// Whom an admin looks at the dashboard as sees that, and can end it.
func TestAPersonSeesWhoLooksAtTheDashboardAsThem(t *testing.T) {
	s := serve(t)
	ada, grace := s.as("ada"), s.as("grace")
	grace.PostForm("/admin/users/ada/act").Expect(http.StatusSeeOther, "/home")
	ada.Get("/account/sessions").Row("Grace Hopper looks at the dashboard from here").Lacks("/label").Contains("Log out")
	ada.PostForm("/account/sessions/"+apptest.Session(grace)+"/end").Expect(http.StatusSeeOther, "/account/sessions")
	isOut(grace, "/home", store.ReasonLoggedOutElsewhere)
}
