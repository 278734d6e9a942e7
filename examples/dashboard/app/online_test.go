package app

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
)

func TestAnAdminSeesWhoIsOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		ada, grace := s.on(iphone, "ada"), s.as("grace")
		s.browse().Get("/")
		ada.PostForm("/account/sessions/"+apptest.Session(ada)+"/label", "label", "<b>my phone").Expect(http.StatusSeeOther, "/account/sessions")
		time.Sleep(3 * time.Minute)
		page := grace.Get("/admin").Expect(http.StatusOK, "").NoStore()
		page.Contains("Online: 2 logins", `href="/admin/everyone"`).Lacks("These are").Lacks("cannot be seen")
		page.Row("Safari on iPhone").Contains("Ada Lovelace", "&lt;b&gt;my phone", ">3 minutes ago</time>").Lacks("This device")
		page.Row("Firefox on Linux").Contains("Grace Hopper", "This device", ">just now</time>")
		if strings.Index(page.Body, "Safari on iPhone") < strings.Index(page.Body, "Firefox on Linux") {
			t.Error("the last active is not the first")
		}

		grace.PostForm("/admin/users/ada/act").Expect(http.StatusSeeOther, "/home")
		other := s.as("grace")
		other.Get("/admin").Contains("Online: 3 logins", "Grace Hopper looks at the dashboard from here")
		ada.PostForm("/logout")
		grace.PostForm("/act/stop")
		grace.Get("/admin").Contains("Online: 2 logins").Lacks("Safari on iPhone").Lacks("looks at the dashboard")
	})
}

func TestTheListOfThoseOnlineIsBounded(t *testing.T) {
	o := testOptions()
	o.Sessions = 0
	o.Backend, o.Keys = store.NewMemory(), [][]byte{random(32)}
	s := newSite(t, o)
	grace := s.as("grace")
	for range maxOnline - 1 {
		s.as("ada")
	}
	count := func() int { return strings.Count(grace.Get("/admin").Body, "<small>Active <time") }
	if n := count(); n != maxOnline {
		t.Errorf("%d are listed", n)
	}
	grace.Get("/admin").Contains("Online: 200 logins").Lacks("These are")
	s.as("ada")
	if n := count(); n != maxOnline {
		t.Errorf("%d are listed", n)
	}
	grace.Get("/admin").Contains("Online: 201 logins", "These are 200 of them")
}

func TestAnAdminLogsEveryoneOut(t *testing.T) {
	s := serve(t)
	ada, phone, other, grace := s.as("ada"), s.remembering("ada"), s.as("grace"), s.as("grace")
	grace.Get("/admin/everyone").Expect(http.StatusOK, "").NoStore().Contains("There are 4 logins", `<form class="card" method="post" action="/admin/everyone">`)
	for _, b := range []*testbrowser.Browser{ada, phone, other, grace} {
		b.Get("/home").Expect(http.StatusOK, "") // asking ends nothing
	}
	before := grace.Copy()
	grace.PostForm("/admin/everyone").Expect(http.StatusSeeOther, "/login").NoStore()
	grace.Get("/login").Expect(http.StatusOK, "").Contains("Everyone is logged out.").Lacks("Your session has ended")
	isOut(grace, "/home", "")
	for _, b := range []*testbrowser.Browser{ada, phone, other, before} {
		isOut(b, "/home", store.ReasonEnded)
	}
	apptest.Login(grace, "grace").Expect(http.StatusSeeOther, "/home")
	grace.Get("/admin").Contains("Online: 1 login<")
	grace.Get("/admin/everyone").Contains("There is 1 login ")
}

func TestOnlyAnAdminWhoHasJustLoggedInLogsEveryoneOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		ada, grace := s.as("ada"), s.as("grace")
		for _, b := range []*testbrowser.Browser{ada, grace} {
			b.Header.Set("Sec-Fetch-Mode", "navigate")
		}
		ada.PostForm("/admin/everyone").Expect(http.StatusSeeOther, "/?reason=forbidden")
		ada.Get("/admin/everyone").Expect(http.StatusSeeOther, "/?reason=forbidden")
		s.browse().PostForm("/admin/everyone").Expect(http.StatusSeeOther, "/login")
		time.Sleep(6 * time.Minute)
		grace.Get("/admin/everyone").Expect(http.StatusSeeOther, "/reauth?next=%2Fadmin%2Feveryone")
		grace.PostForm("/admin/everyone").Expect(http.StatusSeeOther, "/reauth")
		grace.PostForm("/reauth", "password", apptest.Passwords["grace"], "next", "/admin/everyone").Expect(http.StatusSeeOther, "/admin/everyone")
		ada.Get("/home").Expect(http.StatusOK, "")
		grace.PostForm("/admin/everyone").Expect(http.StatusSeeOther, "/login")
		ada.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome&reason=ended")
	})
}

// The rest of the page is needed all the more if the list fails, and what has not ended is not
// said to have.
func TestTheAdminPageWithoutTheList(t *testing.T) {
	o := testOptions()
	backend := &failingLister{Memory: store.NewMemory()}
	o.Backend, o.Keys, o.Log = backend, [][]byte{random(32)}, slog.New(slog.DiscardHandler)
	s := newSite(t, o)
	ada, grace := s.as("ada"), s.as("grace")
	backend.failing = true
	grace.Get("/admin").Expect(http.StatusOK, "").Contains("Who is online cannot be seen at the moment.", "/admin/users/ada/deactivate")
	grace.Get("/admin/everyone").Expect(http.StatusOK, "").Contains("cannot be seen at the moment", `<button class="danger">`)
	grace.PostForm("/admin/everyone").Expect(http.StatusInternalServerError, "").Lacks("logged out")
	ada.Get("/home").Expect(http.StatusOK, "")
}

type failingLister struct {
	*store.Memory
	failing bool
}

func (f *failingLister) All(ctx context.Context, realm string) iter.Seq2[store.Record, error] {
	if !f.failing {
		return f.Memory.All(ctx, realm)
	}
	return func(yield func(store.Record, error) bool) { yield(store.Record{}, errors.New("down")) }
}

func (f *failingLister) Count(ctx context.Context, realm string) (int, error) {
	if f.failing {
		return 0, errors.New("down")
	}
	return f.Memory.Count(ctx, realm)
}
