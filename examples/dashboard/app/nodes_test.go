package app

import (
	"net/http"
	"testing"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
)

func sharedOptions() Options {
	o := testOptions()
	o.Backend, o.Keys = store.NewMemory(), [][]byte{random(32)}
	return o
}

// visitedBy makes b's next requests to this site.
func (s *site) visitedBy(b *testbrowser.Browser) *testbrowser.Browser {
	b.Client.Transport = testbrowser.HandlerTransport{Handler: s.handler}
	return b
}

func TestASessionIsTheSameOnEveryNodeAndAfterARestart(t *testing.T) {
	o := sharedOptions()
	o.Node = "node 1"
	b := newSite(t, o).as("ada")
	b.Get("/home").Expect(http.StatusOK, "").Contains(`<span class="node">node 1</span>`)

	o.Node = "node 2" // with a directory of its own, as after a restart
	newSite(t, o).visitedBy(b).Get("/home").Expect(http.StatusOK, "").
		Contains(`<span class="node">node 2</span>`, "Ada Lovelace")
	b.PostForm("/logout").Expect(http.StatusSeeOther, "/")
	b.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome")
}

func TestAPasswordIsChangedOnEveryNodeThatSharesUsers(t *testing.T) {
	o := sharedOptions()
	here := newSite(t, o)
	o.Users = here.app.Users
	there := newSite(t, o)

	b, old := here.as("ada"), here.as("ada")
	b.PostForm("/account/password", "current", "analytical-engine", "password", "a new analytical engine").
		Expect(http.StatusSeeOther, "/account")
	there.visitedBy(b).Get("/home").Expect(http.StatusOK, "")
	isOut(there.visitedBy(old), "/home", store.ReasonCredentialsChanged)
	apptest.Login(there.browse(), "ada").Expect(http.StatusUnprocessableEntity, "")
}

func TestAnAppAloneDoesNotSayWhichOneItIs(t *testing.T) {
	newSite(t, testOptions()).as("ada").Get("/home").Expect(http.StatusOK, "").Lacks("node")
}
