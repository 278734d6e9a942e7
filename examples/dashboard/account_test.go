package main

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestAPasswordChangeEndsTheOtherSessions(t *testing.T) {
	s := serve(t)
	here, there, grace := s.as("ada"), s.as("ada"), s.as("grace")
	before := here.copy()
	before.get("/home").expect(http.StatusOK, "")

	here.post("/account/password", "current", "analytical-engine", "password", "a new analytical engine").
		expect(http.StatusSeeOther, "/account")
	here.get("/account").expect(http.StatusOK, "").contains("Your password is changed.")
	there.get("/home").expect(http.StatusSeeOther, "/login?next=%2Fhome")
	grace.get("/home").expect(http.StatusOK, "")

	before.get("/home").expect(http.StatusSeeOther, "/login?next=%2Fhome")

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

func TestALoginThatOvertakesAPasswordChangeIsOut(t *testing.T) {
	s := serve(t)
	stale, err := s.app.users.Verify(t.Context(), "ada", "analytical-engine")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.app.users.ChangePassword(t.Context(), "ada", "analytical-engine", "another password"); err != nil {
		t.Fatal(err)
	}
	now, err := s.app.users.Find(t.Context(), "ada")
	if err != nil || now.SessionStamp() == stale.SessionStamp() {
		t.Errorf("the stamp is still %q (%v)", stale.SessionStamp(), err)
	}
	if now.UserID() != stale.UserID() || stale.passwordChanges != 0 {
		t.Error("a user that was handed out has changed")
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
