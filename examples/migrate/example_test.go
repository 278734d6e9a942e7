package migrate_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/gorilla/sessions"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/examples/migrate"
	"github.com/sessionguard-go/sessionguard/store"
)

var (
	oldKey = []byte("the key of the old application") // as it was
	newKey = []byte("of openssl rand -hex 32, decoded")
	users  = &people{users: map[string]*User{"ada": {Name: "ada"}}}
	find   = users.find
)

// userOf returns whose an old session is. It may change the values, which move along.
func userOf(old *migrate.Old) string {
	session := old.Values["session"]
	user, _ := session["user"].(string)
	delete(session, "user") // it means nothing any more
	if flash, ok := session["flash"]; ok {
		session["_flash"] = []any{flash} // scs has no flashes of its own
		delete(session, "flash")
	}
	return user
}

// newApp is the application as it is now, with a backend that keeps its sessions.
func newApp(backend store.Backend, oldKey, newKey []byte) (http.Handler, error) {
	guard, err := sessionguard.New(sessionguard.Config[*User]{
		FindUser: find, Backend: backend, Keys: [][]byte{newKey}, ReauthPath: "/login",
	})
	if err != nil {
		return nil, err
	}
	migration := &migrate.Migration[*User]{
		Guard: guard, FindUser: find, Backend: backend, // the guard's own
		From:   migrate.Gorilla{Store: sessions.NewCookieStore(oldKey), Name: "session", Others: []string{"cart"}},
		UserOf: userOf,
		Until:  time.Now().Add(14 * 24 * time.Hour), // in your application a fixed date
	}
	money := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "your money") })
	home := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		fmt.Fprintf(w, "Hello, %s.", user.UserID())
	})
	mux := http.NewServeMux()
	mux.Handle("GET /home", guard.RequireLogin(home))
	mux.Handle("GET /money", migration.RequireFresh(5*time.Minute)(money))
	mux.Handle("POST /logout", migration.EndOld(guard.Logout("/")))
	return guard.Handler(migration.Handler(mux)), nil
}

// optionsOf is for Migration.Options.
func optionsOf(old *migrate.Old) []sessionguard.LoginOption {
	if old.Values["session"]["__rememberMe"] == true { // set by manager.RememberMe
		return []sessionguard.LoginOption{sessionguard.Remember()}
	}
	return nil
}

// A browser that has a cookie of the old application opens a page of the new one, and need
// not log in.
func ExampleMigration() {
	r, w := httptest.NewRequest("POST", "/login?user=ada", nil), httptest.NewRecorder()
	gorillaApp(sessions.NewCookieStore(oldKey)).ServeHTTP(w, r)
	cookies := w.Result().Cookies()

	app, err := newApp(store.NewMemory(), oldKey, newKey)
	if err != nil {
		fmt.Println(err)
		return
	}
	r, w = httptest.NewRequest("GET", "/home", nil), httptest.NewRecorder()
	r.Header.Set("Sec-Fetch-Site", "same-origin") // a link in a page that was open
	for _, cookie := range cookies {
		r.AddCookie(cookie)
	}
	app.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output: 200 Hello, ada.
}
