package app

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/sessionguardtest"
	"github.com/sessionguard-go/sessionguard/store"
)

func TestAPasswordChangeEndsTheOtherSessions(t *testing.T) {
	s := serve(t)
	here, there, grace := s.as("ada"), s.as("ada"), s.as("grace")
	before := here.Copy()
	before.Get("/home").Expect(http.StatusOK, "")

	here.PostForm("/account/password", "current", "analytical-engine", "password", "a new analytical engine").
		Expect(http.StatusSeeOther, "/account")
	here.Get("/account").Expect(http.StatusOK, "").Contains("Your password is changed.")
	isOut(there, "/home", store.ReasonCredentialsChanged)
	grace.Get("/home").Expect(http.StatusOK, "")

	isOut(before, "/home", "") // its token was replaced, and is nobody's

	apptest.Login(s.browse(), "ada").Expect(http.StatusUnprocessableEntity, "")
	s.browse().PostForm("/login", "username", "ada", "password", "a new analytical engine").Expect(http.StatusSeeOther, "/home")
}

func TestAPasswordChangeThatIsRefusedChangesNothing(t *testing.T) {
	s := serve(t)
	b := s.as("ada")
	b.PostForm("/account/password", "current", "wrong", "password", "long enough").
		Expect(http.StatusUnprocessableEntity, "").Contains("The current password is wrong.", `role="alert"`).NoStore()
	b.PostForm("/account/password", "current", "analytical-engine", "password", "sieben7").
		Expect(http.StatusUnprocessableEntity, "").Contains("The new password needs at least 8 characters.")
	b.PostForm("/account/password", "current", "analytical-engine", "password", "äöüäöü7").
		Expect(http.StatusUnprocessableEntity, "") // seven characters, thirteen bytes
	b.PostForm("/account/password").Expect(http.StatusUnprocessableEntity, "")
	s.as("ada")
}

func TestAnotherSessionEndsBeforeItComesBy(t *testing.T) {
	s := serve(t)
	here, there := s.as("ada"), s.as("ada")
	id := apptest.Session(there)
	here.PostForm("/account/password", "current", "analytical-engine", "password", "a new analytical engine").
		Expect(http.StatusSeeOther, "/account")
	if err := s.app.guard.EndSession(t.Context(), "ada", id); !errors.Is(err, sessionguard.ErrNoSession) {
		t.Errorf("the other session was still there: %v", err)
	}
}

func TestADeactivationThatOvertakesAPasswordChangeStays(t *testing.T) {
	s := serve(t)
	users := s.app.Users
	hashed, derive := 0, users.hasher.derive
	users.hasher.derive = func(password string, salt []byte, iterations int) ([]byte, error) {
		if hashed++; hashed == 2 { // the current password was right, now it is the new one's turn
			if _, err := users.SetActive("ada", false); err != nil {
				t.Error(err)
			}
		}
		return derive(password, salt, iterations)
	}
	if _, err := users.ChangePassword(t.Context(), "ada", "analytical-engine", "another password"); !errors.Is(err, errWrongPassword) {
		t.Errorf("the change went through: %v", err)
	}
	if ada, err := users.Find(t.Context(), "ada"); err != nil || ada.Active || hashed != 2 {
		t.Errorf("%+v %v, after %d hashes", ada, err, hashed)
	}
}

func TestALoginWithAPasswordJustChangedIsOut(t *testing.T) {
	s := newSite(t, testOptions())
	before, err := s.app.Users.Verify(t.Context(), "ada", "analytical-engine")
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.app.Users.ChangePassword(t.Context(), "ada", "analytical-engine", "another password")
	if err != nil {
		t.Fatal(err)
	}
	for user, status := range map[*User]int{before: http.StatusSeeOther, after: http.StatusOK} {
		sessionguardtest.Login(t, s.app.guard, s.client(), user).Get("/home").HasStatus(status)
	}
}

func TestASensitiveChangeAsksForThePasswordAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.as("ada")
		change := func() testbrowser.Response {
			return b.PostForm("/account/password", "current", "analytical-engine", "password", "analytical-engine")
		}
		time.Sleep(5*time.Minute - time.Second)
		change().Expect(http.StatusSeeOther, "/account") // logs in again, which starts the five minutes anew
		time.Sleep(5 * time.Minute)
		change().Expect(http.StatusSeeOther, "/reauth")
		b.Get("/home").Expect(http.StatusOK, "") // anything else goes on

		b.Get("/reauth?next=/home").Expect(http.StatusOK, "").Contains("Password of Ada Lovelace", `name="next" value="/home"`).NoStore()
		b.PostForm("/reauth", "password", "wrong", "next", "/home").Expect(http.StatusUnprocessableEntity, "").
			Contains("Wrong password.", `name="next" value="/home"`).NoStore()
		change().Expect(http.StatusSeeOther, "/reauth")

		before := b.Copy()
		b.PostForm("/reauth", "password", "analytical-engine", "next", "/home").Expect(http.StatusSeeOther, "/home")
		b.Get("/home").Contains("Thank you. You can go on.")
		before.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome")
		change().Expect(http.StatusSeeOther, "/account")
	})
}
