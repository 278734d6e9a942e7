package app

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/sessionguardtest"
	"github.com/sessionguard-go/sessionguard/store"
)

func TestLoginLeadsToThePageAskedFor(t *testing.T) {
	s := serve(t)
	b := s.browse()
	b.Get("/reports/q3.csv").Expect(http.StatusSeeOther, "/login?next=%2Freports%2Fq3.csv").NoStore()
	b.Get("/login?next=%2Freports%2Fq3.csv").Expect(http.StatusOK, "").
		Contains(`name="next" value="/reports/q3.csv"`, "Please log in to continue.").NoStore()
	b.PostForm("/login", "username", " ada ", "password", "analytical-engine", "next", "/reports/q3.csv").
		Expect(http.StatusSeeOther, "/reports/q3.csv")
	b.Get("/reports/q3.csv").Expect(http.StatusOK, "").Contains("Weir Bridge")

	b.Get("/login").Expect(http.StatusSeeOther, "/home")
	b.Get("/login?next=/account").Expect(http.StatusSeeOther, "/account")
}

func TestLoginLeadsToNoOtherSite(t *testing.T) {
	s := serve(t)
	for _, next := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "/%2fevil.example", "javascript:alert(1)"} {
		s.browse().PostForm("/login", "username", "ada", "password", "analytical-engine", "next", next).
			Expect(http.StatusSeeOther, "/home")
		s.browse().Get("/login?next="+strings.ReplaceAll(next, "%", "%25")).
			Expect(http.StatusOK, "").Contains(`name="next" value=""`)
		b := s.as("ada")
		b.PostForm("/reauth", "password", "analytical-engine", "next", next).Expect(http.StatusSeeOther, "/account")
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
		a := b.PostForm("/login", "username", name, "password", password, "next", "/account").
			Expect(http.StatusUnprocessableEntity, "").
			Contains("Wrong name or password.", `value="`+name+`"`, `name="next" value="/account"`).
			Lacks(`value="` + password).NoStore()
		pages = append(pages, strings.ReplaceAll(a.Body, `value="`+name+`"`, ""))
		b.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome")
	}
	if len(slices.Compact(pages)) != 1 {
		t.Error("the pages differ in more than the name")
	}
	s.browse().PostForm("/login", "username", `"><script>`, "password", "x").Lacks("<script>")
	s.browse().PostForm("/login").Expect(http.StatusUnprocessableEntity, "")
}

func TestEveryLoginHashesThePasswordOnceAsOftenAsAnyOther(t *testing.T) {
	s := serve(t)
	for _, name := range []string{"ada", "grace", "eve", "nobody", ""} {
		s.hashes.take()
		s.browse().PostForm("/login", "username", name, "password", "some password")
		want := []hashed{{"some password", s.app.Users.hasher.iterations}}
		if got := s.hashes.take(); !slices.Equal(got, want) {
			t.Errorf("%q: hashed %v, want %v", name, got, want)
		}
	}
}

func TestAPasswordInTheAddressIsNotTaken(t *testing.T) {
	s := serve(t)
	s.browse().PostForm("/login?password=analytical-engine", "username", "ada").Expect(http.StatusUnprocessableEntity, "")
	s.as("ada").PostForm("/reauth?password=analytical-engine").Expect(http.StatusUnprocessableEntity, "")
	s.as("ada").PostForm("/account/password?current=analytical-engine", "password", "long enough").Expect(http.StatusUnprocessableEntity, "")
}

func TestALargeFormIsRefused(t *testing.T) {
	s := serve(t)
	s.browse().PostForm("/login", "username", "ada", "password", strings.Repeat("x", 65<<10)).
		Expect(http.StatusRequestEntityTooLarge, "")
	if got := s.hashes.take(); len(got) != 0 {
		t.Error("a password of a form that was cut off was hashed")
	}
}

func TestACrossOriginLoginIsRefused(t *testing.T) {
	b := serve(t).browse()
	b.Do(b.Request("POST", "/login", "Sec-Fetch-Site", "cross-site")).Expect(http.StatusForbidden, "")
}

func TestAFloodOfLoginsWaitsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		h := s.app.Users.hasher
		for range cap(h.slots) {
			h.slots <- struct{}{}
		}
		begun := time.Now()
		apptest.Login(s.browse(), "ada").Expect(http.StatusServiceUnavailable, "").
			Has("Retry-After", "5").Contains("Please try again in a moment.", `value="ada"`)
		if waited := time.Since(begun); waited != maxQueue {
			t.Errorf("waited %v, want %v", waited, maxQueue)
		}

		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.app.Users.Verify(gone, "nobody", "x"); !errors.Is(err, errBusy) {
			t.Errorf("a client that has gone: %v", err)
		}

		go func() { time.Sleep(maxQueue / 2); <-h.slots }()
		s.as("ada")
	})
}

func TestLogoutIsFinalAndSaysSo(t *testing.T) {
	s := serve(t)
	b := s.as("ada")
	copied := b.Copy()
	copied.Get("/home").Expect(http.StatusOK, "") // it is a good copy

	b.Get("/logout").Expect(http.StatusMethodNotAllowed, "")
	b.PostForm("/logout").Expect(http.StatusSeeOther, "/").NoStore()
	b.Get("/").Expect(http.StatusOK, "").Contains(`<p class="flash" role="status">You have been logged out.</p>`)
	b.Get("/").Lacks("You have been logged out.")
	b.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome").NoStore()
	b.Get("/login?next=%2Fhome").Contains("Please log in to continue.")
	isOut(copied, "/home", store.ReasonExpired)
}

func TestAFlashWaitsForAPageThatIsSeen(t *testing.T) {
	b := serve(t).as("ada")
	b.PostForm("/logout")
	b.Do(b.Request("HEAD", "/")).Expect(http.StatusOK, "")
	b.Get("/login").Contains("You have been logged out.")
}

func TestInactivityLogsOut(t *testing.T) {
	idleOf := func(o Options, name string, then func(*site, *sessionguardtest.Client)) func(*testing.T) {
		return func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, o)
				then(s, s.loggedIn(name))
			})
		}
	}
	long, short, brief := testOptions(), testOptions(), testOptions()
	short.Idle = 3 * time.Second
	brief.Idle, brief.Absolute = time.Hour, time.Minute

	t.Run("an engineer after -idle", idleOf(long, "ada", func(s *site, b *sessionguardtest.Client) {
		for range 3 {
			b.Wait(29 * time.Minute)
			b.Get("/home").HasStatus(http.StatusOK)
		}
		b.Wait(30 * time.Minute)
		s.ended(b, "/home", store.ReasonIdle)
	}))
	t.Run("an admin after ten minutes", idleOf(long, "grace", func(s *site, b *sessionguardtest.Client) {
		b.Wait(10*time.Minute - time.Second)
		b.Get("/admin").HasStatus(http.StatusOK)
		b.Wait(10 * time.Minute)
		s.ended(b, "/admin", store.ReasonIdle)
	}))
	t.Run("an admin after a shorter -idle", idleOf(short, "grace", func(s *site, b *sessionguardtest.Client) {
		b.Wait(2 * time.Second)
		b.Get("/admin").HasStatus(http.StatusOK)
		b.Wait(3 * time.Second)
		s.ended(b, "/admin", store.ReasonIdle)
	}))
	t.Run("anyone after -absolute, though -idle is longer", idleOf(brief, "ada", func(s *site, b *sessionguardtest.Client) {
		b.Wait(59 * time.Second)
		b.Get("/home").HasStatus(http.StatusOK)
		b.Wait(time.Second)
		s.ended(b, "/home", store.ReasonAbsolute)
	}))
	t.Run("asking how long is no activity", idleOf(long, "ada", func(s *site, b *sessionguardtest.Client) {
		b.Wait(20 * time.Minute)
		s.noStore(b.Get("/session")).HasStatus(http.StatusOK).Contains(`"authenticated":true`, `"idle_seconds":600`)
		b.Wait(10 * time.Minute)
		b.Get("/session").HasStatus(http.StatusOK).Contains(`"authenticated":false`)
		s.ended(b, "/home", store.ReasonIdle)
	}))
}

func TestTheLoginPageSaysWhyASessionEnded(t *testing.T) {
	s := newSite(t, testOptions())
	text := func(reason store.Reason) string { return `role="status">` + endings[reason] + "</p>" }

	// Whoever has no session that ended is told what the link says, in our words.
	for reason := range endings {
		s.browse().Get("/login?reason="+string(reason)).Expect(http.StatusOK, "").Contains(text(reason))
	}
	for _, said := range []string{"", "?reason=", "?reason=logged_out", "?reason=anything", "?reason=<b>"} {
		s.browse().Get("/login"+said).Expect(http.StatusOK, "").Lacks(`role="status"`).Lacks("anything").Lacks("<b>")
	}
	s.browse().Get("/login?next=/account&reason=anything").Contains("Please log in to continue.")

	// Whoever has one is told what the server knows, whatever the link says.
	b := s.as("ada")
	s.as("grace").PostForm("/admin/users/ada/sessions/end")
	b.Get("/login?reason=theft_suspected").Contains(text(store.ReasonEnded))
	// "Expired" is all that it knows of one that left nothing behind.
	b = s.as("ada")
	before := b.Copy()
	b.PostForm("/logout")
	before.Get("/login").Contains(text(store.ReasonExpired))
	before.Get("/login?reason=anything").Contains(text(store.ReasonExpired))
	before.Get("/login?reason=idle").Contains(text(store.ReasonIdle))
}

func TestFlagsThatCannotWorkAreRefused(t *testing.T) {
	for _, broken := range []func(*Options){
		func(o *Options) { o.Idle = 0 },
		func(o *Options) { o.Idle = -time.Minute },
		func(o *Options) { o.Idle = time.Millisecond },
		func(o *Options) { o.Absolute = 0 },
		func(o *Options) { o.Fresh = -1 },
		func(o *Options) { o.Remember = -time.Hour },
		func(o *Options) { o.Sessions = -1 },
		func(o *Options) { o.Backend = struct{ store.Backend }{store.NewMemory()} }, // without Keys
	} {
		o := testOptions()
		broken(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
