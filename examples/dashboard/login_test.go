package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

func TestLoginLeadsToThePageAskedFor(t *testing.T) {
	s := serve(t)
	b := s.browse()
	b.get("/reports/q3.csv").expect(http.StatusSeeOther, "/login?next=%2Freports%2Fq3.csv").noStore()
	b.get("/login?next=%2Freports%2Fq3.csv").expect(http.StatusOK, "").
		contains(`name="next" value="/reports/q3.csv"`, "Please log in to continue.").noStore()
	b.post("/login", "username", " ada ", "password", "analytical-engine", "next", "/reports/q3.csv").
		expect(http.StatusSeeOther, "/reports/q3.csv")
	b.get("/reports/q3.csv").expect(http.StatusOK, "").contains("Weir Bridge")

	b.get("/login").expect(http.StatusSeeOther, "/home")
	b.get("/login?next=/account").expect(http.StatusSeeOther, "/account")
}

func TestLoginLeadsToNoOtherSite(t *testing.T) {
	s := serve(t)
	for _, next := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "/%2fevil.example", "javascript:alert(1)"} {
		s.browse().post("/login", "username", "ada", "password", "analytical-engine", "next", next).
			expect(http.StatusSeeOther, "/home")
		s.browse().get("/login?next="+strings.ReplaceAll(next, "%", "%25")).
			expect(http.StatusOK, "").contains(`name="next" value=""`)
		b := s.as("ada")
		b.post("/reauth", "password", "analytical-engine", "next", next).expect(http.StatusSeeOther, "/account")
	}
}

func TestAWrongLoginKeepsTheNameAndSaysNoMore(t *testing.T) {
	s := serve(t)
	var pages []string
	for _, wrong := range [][2]string{
		{"ada", "difference-engine"}, {"nobody", "difference-engine"},
		{"eve", "difference-engine"}, {"eve", "deactivated-demo"},
	} {
		name, password := wrong[0], wrong[1]
		b := s.browse()
		a := b.post("/login", "username", name, "password", password, "next", "/account").
			expect(http.StatusUnprocessableEntity, "").
			contains("Wrong name or password.", `value="`+name+`"`, `name="next" value="/account"`).
			lacks(password).noStore()
		pages = append(pages, strings.ReplaceAll(a.body, `value="`+name+`"`, ""))
		b.get("/home").expect(http.StatusSeeOther, "/login?next=%2Fhome")
	}
	if len(slices.Compact(pages)) != 1 {
		t.Error("the pages differ in more than the name")
	}
	s.browse().post("/login", "username", `"><script>`, "password", "x").lacks("<script>")
	s.browse().post("/login").expect(http.StatusUnprocessableEntity, "")
}

func TestEveryLoginHashesThePasswordOnceAsOftenAsAnyOther(t *testing.T) {
	s := serve(t)
	for _, name := range []string{"ada", "grace", "eve", "nobody", ""} {
		s.hashes.take()
		s.browse().post("/login", "username", name, "password", "some password")
		want := []hashed{{"some password", s.app.users.hasher.iterations}}
		if got := s.hashes.take(); !slices.Equal(got, want) {
			t.Errorf("%q: hashed %v, want %v", name, got, want)
		}
	}
}

func TestAPasswordInTheAddressIsNotTaken(t *testing.T) {
	s := serve(t)
	s.browse().post("/login?password=analytical-engine", "username", "ada").expect(http.StatusUnprocessableEntity, "")
	s.as("ada").post("/reauth?password=analytical-engine").expect(http.StatusUnprocessableEntity, "")
	s.as("ada").post("/account/password?current=analytical-engine", "password", "long enough").expect(http.StatusUnprocessableEntity, "")
}

func TestALargeFormIsRefused(t *testing.T) {
	s := serve(t)
	s.browse().post("/login", "username", "ada", "password", strings.Repeat("x", 65<<10)).
		expect(http.StatusRequestEntityTooLarge, "")
	if got := s.hashes.take(); len(got) != 0 {
		t.Error("a password of a form that was cut off was hashed")
	}
}

func TestACrossOriginLoginIsRefused(t *testing.T) {
	b := serve(t).browse()
	b.do("POST", "/login", nil, "Sec-Fetch-Site", "cross-site").expect(http.StatusForbidden, "")
}

func TestAFloodOfLoginsWaitsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		h := s.app.users.hasher
		for range cap(h.slots) {
			h.slots <- struct{}{}
		}
		begun := time.Now()
		s.browse().login("ada").expect(http.StatusServiceUnavailable, "").
			header("Retry-After", "5").contains("Please try again in a moment.", `value="ada"`)
		if waited := time.Since(begun); waited != maxQueue {
			t.Errorf("waited %v, want %v", waited, maxQueue)
		}

		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.app.users.Verify(gone, "nobody", "x"); !errors.Is(err, errBusy) {
			t.Errorf("a client that has gone: %v", err)
		}

		go func() { time.Sleep(maxQueue / 2); <-h.slots }()
		s.as("ada")
	})
}

func TestLogoutIsFinalAndSaysSo(t *testing.T) {
	s := serve(t)
	b := s.as("ada")
	copied := b.copy()
	copied.get("/home").expect(http.StatusOK, "") // it is a good copy

	b.get("/logout").expect(http.StatusMethodNotAllowed, "")
	b.post("/logout").expect(http.StatusSeeOther, "/").noStore()
	b.get("/").expect(http.StatusOK, "").contains(`<p class="flash" role="status">You have been logged out.</p>`)
	b.get("/").lacks("You have been logged out.")
	b.get("/home").expect(http.StatusSeeOther, "/login?next=%2Fhome").noStore()
	b.get("/login?next=%2Fhome").contains("Please log in to continue.")
	copied.isOut("/home", store.Expired)
}

func TestAFlashWaitsForAPageThatIsSeen(t *testing.T) {
	b := serve(t).as("ada")
	b.post("/logout")
	b.do("HEAD", "/", nil).expect(http.StatusOK, "")
	b.get("/login").contains("You have been logged out.")
}

func TestInactivityLogsOut(t *testing.T) {
	idleOf := func(o options, name string, then func(*site, *browser)) func(*testing.T) {
		return func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, o)
				then(s, s.as(name))
			})
		}
	}
	long, short, brief := testOptions(), testOptions(), testOptions()
	short.idle = 3 * time.Second
	brief.idle, brief.absolute = time.Hour, time.Minute

	t.Run("an engineer after -idle", idleOf(long, "ada", func(_ *site, b *browser) {
		for range 3 {
			time.Sleep(29 * time.Minute)
			b.get("/home").expect(http.StatusOK, "")
		}
		time.Sleep(30 * time.Minute)
		b.isOut("/home", store.Idle)
	}))
	t.Run("an admin after ten minutes", idleOf(long, "grace", func(_ *site, b *browser) {
		time.Sleep(10*time.Minute - time.Second)
		b.get("/admin").expect(http.StatusOK, "")
		time.Sleep(10 * time.Minute)
		b.isOut("/admin", store.Idle)
	}))
	t.Run("an admin after a shorter -idle", idleOf(short, "grace", func(_ *site, b *browser) {
		time.Sleep(2 * time.Second)
		b.get("/admin").expect(http.StatusOK, "")
		time.Sleep(3 * time.Second)
		b.isOut("/admin", store.Idle)
	}))
	t.Run("anyone after -absolute, though -idle is longer", idleOf(brief, "ada", func(_ *site, b *browser) {
		time.Sleep(59 * time.Second)
		b.get("/home").expect(http.StatusOK, "")
		time.Sleep(time.Second)
		b.isOut("/home", store.Absolute)
	}))
	t.Run("asking how long is no activity", idleOf(long, "ada", func(_ *site, b *browser) {
		time.Sleep(20 * time.Minute)
		b.get("/session").expect(http.StatusOK, "").contains(`"authenticated":true`, `"idle_seconds":600`).noStore()
		time.Sleep(10 * time.Minute)
		b.get("/session").expect(http.StatusOK, "").contains(`"authenticated":false`)
		b.isOut("/home", store.Idle)
	}))
}

func TestTheLoginPageSaysWhyASessionEnded(t *testing.T) {
	s := newSite(t, testOptions())
	text := func(reason store.Reason) string { return `role="status">` + endings[reason] + "</p>" }

	// Whoever has no session that ended is told what the link says, in our words.
	for reason := range endings {
		s.browse().get("/login?reason="+string(reason)).expect(http.StatusOK, "").contains(text(reason))
	}
	for _, said := range []string{"", "?reason=", "?reason=logged_out", "?reason=anything", "?reason=<b>"} {
		s.browse().get("/login"+said).expect(http.StatusOK, "").lacks(`role="status"`).lacks("anything").lacks("<b>")
	}
	s.browse().get("/login?next=/account&reason=anything").contains("Please log in to continue.")

	// Whoever has one is told what the server knows, whatever the link says.
	b := s.as("ada")
	s.as("grace").post("/admin/users/ada/sessions/end")
	b.get("/login?reason=theft_suspected").contains(text(store.Ended))
	// "Expired" is all that it knows of one that left nothing behind.
	b = s.as("ada")
	before := b.copy()
	b.post("/logout")
	before.get("/login").contains(text(store.Expired))
	before.get("/login?reason=anything").contains(text(store.Expired))
	before.get("/login?reason=idle").contains(text(store.Idle))
}

func TestFlagsThatCannotWorkAreRefused(t *testing.T) {
	for _, broken := range []func(*options){
		func(o *options) { o.idle = 0 },
		func(o *options) { o.idle = -time.Minute },
		func(o *options) { o.idle = time.Millisecond },
		func(o *options) { o.absolute = 0 },
		func(o *options) { o.fresh = -1 },
		func(o *options) { o.remember = -time.Hour },
		func(o *options) { o.sessions = -1 },
	} {
		o := testOptions()
		broken(&o)
		hasher, _ := quickHasher()
		if _, err := newApp(o, hasher); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
