package main

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

func TestAPasswordChangeEndsTheOtherSessions(t *testing.T) {
	s := serve(t)
	here, there, grace := s.as("ada"), s.as("ada"), s.as("grace")
	before := here.copy()
	before.get("/home").expect(http.StatusOK, "")

	here.post("/account/password", "current", "analytical-engine", "password", "a new analytical engine").
		expect(http.StatusSeeOther, "/account")
	here.get("/account").expect(http.StatusOK, "").contains("Your password is changed.")
	there.isOut("/home", store.Restamped)
	grace.get("/home").expect(http.StatusOK, "")

	before.isOut("/home", "") // its token was replaced, and is nobody's

	s.browse().login("ada").expect(http.StatusUnprocessableEntity, "")
	s.browse().post("/login", "username", "ada", "password", "a new analytical engine").expect(http.StatusSeeOther, "/home")
}

func TestAPasswordChangeThatIsRefusedChangesNothing(t *testing.T) {
	s := serve(t)
	b := s.as("ada")
	b.post("/account/password", "current", "wrong", "password", "long enough").
		expect(http.StatusUnprocessableEntity, "").contains("The current password is wrong.", `role="alert"`).noStore()
	b.post("/account/password", "current", "analytical-engine", "password", "sieben7").
		expect(http.StatusUnprocessableEntity, "").contains("The new password needs at least 8 characters.")
	b.post("/account/password", "current", "analytical-engine", "password", "äöüäöü7").
		expect(http.StatusUnprocessableEntity, "") // seven characters, thirteen bytes
	b.post("/account/password").expect(http.StatusUnprocessableEntity, "")
	s.as("ada")
}

func TestAnotherSessionEndsBeforeItComesBy(t *testing.T) {
	s := serve(t)
	here, there := s.as("ada"), s.as("ada")
	id := there.session()
	here.post("/account/password", "current", "analytical-engine", "password", "a new analytical engine").
		expect(http.StatusSeeOther, "/account")
	if err := s.app.guard.EndSession(t.Context(), "ada", id); !errors.Is(err, sessionguard.ErrNoSession) {
		t.Errorf("the other session was still there: %v", err)
	}
}

func TestADeactivationThatOvertakesAPasswordChangeStays(t *testing.T) {
	s := serve(t)
	users := s.app.users
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
	before, err := s.app.users.Verify(t.Context(), "ada", "analytical-engine")
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.app.users.ChangePassword(t.Context(), "ada", "analytical-engine", "another password")
	if err != nil {
		t.Fatal(err)
	}
	for user, status := range map[*User]int{before: http.StatusSeeOther, after: http.StatusOK} {
		b := s.browse()
		b.client.Transport = direct{s.app.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := s.app.guard.Login(w, r, user); err != nil {
				t.Error(err)
			}
		}))}
		b.get("/")
		b.client.Transport = direct{s.handler}
		if a := b.get("/home"); a.StatusCode != status {
			t.Errorf("%d password changes: got %d, want %d", user.passwordChanges, a.StatusCode, status)
		}
	}
}

func TestASensitiveChangeAsksForThePasswordAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.as("ada")
		change := func() answer {
			return b.post("/account/password", "current", "analytical-engine", "password", "analytical-engine")
		}
		time.Sleep(5*time.Minute - time.Second)
		change().expect(http.StatusSeeOther, "/account") // logs in again, which starts the five minutes anew
		time.Sleep(5 * time.Minute)
		change().expect(http.StatusSeeOther, "/reauth")
		b.get("/home").expect(http.StatusOK, "") // anything else goes on

		b.get("/reauth?next=/home").expect(http.StatusOK, "").contains("Password of Ada Lovelace", `name="next" value="/home"`).noStore()
		b.post("/reauth", "password", "wrong", "next", "/home").expect(http.StatusUnprocessableEntity, "").
			contains("Wrong password.", `name="next" value="/home"`).noStore()
		change().expect(http.StatusSeeOther, "/reauth")

		before := b.copy()
		b.post("/reauth", "password", "analytical-engine", "next", "/home").expect(http.StatusSeeOther, "/home")
		b.get("/home").contains("Thank you. You can go on.")
		before.get("/home").expect(http.StatusSeeOther, "/login?next=%2Fhome")
		change().expect(http.StatusSeeOther, "/account")
	})
}
