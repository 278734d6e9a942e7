package sessionguard_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// exampleMember is a user whose sessions end when the password changes.
type exampleMember struct {
	Name, Password string // a real program stores a slow hash: docs/sign-in.md
	Passwords      int    // how many there have been
	Verified       bool   // the e-mail address
}

func (m *exampleMember) UserID() string       { return m.Name }
func (m *exampleMember) IsActive() bool       { return true }
func (m *exampleMember) HasRole(string) bool  { return false }
func (m *exampleMember) SessionStamp() string { return strconv.Itoa(m.Passwords) }

// exampleMembers is a database of members, and of the tokens that were sent to them by e-mail.
type exampleMembers struct {
	members map[string]exampleMember
	tokens  map[[32]byte]string // names, by the hashes of the tokens; a real one has a time too
}

func (db *exampleMembers) find(_ context.Context, name string) (*exampleMember, error) {
	if m, ok := db.members[name]; ok {
		return &m, nil
	}
	return nil, sessionguard.ErrNoUser
}

// setPassword returns the member with the new password, and with a new SessionStamp.
func (db *exampleMembers) setPassword(name, password string) *exampleMember {
	m := db.members[name]
	m.Name, m.Password, m.Passwords = name, password, m.Passwords+1
	db.members[name] = m
	return &m
}

// mail sends the member a link with a new token, and returns that for the example.
func (db *exampleMembers) mail(name string) (token string) {
	token = rand.Text()
	db.tokens[sha256.Sum256([]byte(token))] = name
	return token
}

// take returns to whom a token was sent, once. In SQL, this is one DELETE … RETURNING.
func (db *exampleMembers) take(token string) (name string, ok bool) {
	hash := sha256.Sum256([]byte(token))
	name, ok = db.tokens[hash]
	delete(db.tokens, hash)
	return name, ok
}

func exampleMembersGuard() (*exampleMembers, *sessionguard.Guard[*exampleMember]) {
	db := &exampleMembers{map[string]exampleMember{}, map[[32]byte]string{}}
	db.setPassword("ada", "analytical-engine")
	guard, err := sessionguard.New(sessionguard.Config[*exampleMember]{
		FindUser:   db.find,
		ReauthPath: "/reauth",
		Logger:     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	return db, guard
}

// exampleLoginForm logs members in by their passwords.
func exampleLoginForm(db *exampleMembers, guard *sessionguard.Guard[*exampleMember]) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m, err := db.find(r.Context(), r.FormValue("name"))
		if err != nil || m.Password != r.FormValue("password") {
			http.Error(w, "Wrong name or password.", http.StatusUnauthorized)
		} else if err := guard.Login(w, r, m); err != nil {
			http.Error(w, "Try again in a moment.", http.StatusServiceUnavailable)
		}
	}
}

// The new user is logged in at once, and keeps what they did as a visitor. Orders need an e-mail
// address that is verified, by a link that works only for whoever is logged in as that user.
func ExampleGuard_Login_registration() {
	db, guard := exampleMembersGuard()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /cart", func(w http.ResponseWriter, r *http.Request) {
		cart, _ := guard.Get(r, "cart")
		cart.Values["item"] = r.FormValue("item")
	})
	mux.HandleFunc("POST /register", func(w http.ResponseWriter, r *http.Request) {
		if _, taken := db.members[r.FormValue("name")]; taken { // in SQL, a unique index decides
			http.Error(w, "Please choose another name.", http.StatusConflict)
			return
		}
		user := db.setPassword(r.FormValue("name"), r.FormValue("password")) // and commit the transaction
		if err := guard.Login(w, r, user); err != nil {
			http.Error(w, "You are registered. Please log in.", http.StatusServiceUnavailable)
		}
	})
	mux.Handle("POST /verify", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		if name, ok := db.take(r.FormValue("token")); !ok || name != user.Name {
			http.Error(w, "This link is too old, or for another account.", http.StatusBadRequest)
			return
		}
		db.members[user.Name] = exampleMember{user.Name, user.Password, user.Passwords, true}
	})))
	verified := guard.RequireFunc(func(user *exampleMember, _ *http.Request) bool { return user.Verified })
	mux.Handle("GET /order", verified(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cart, _ := guard.Get(r, "cart")
		fmt.Fprint(w, "You order: ", cart.Values["item"])
	})))

	app := guard.Handler(mux)
	grace, eve := exampleVisit(app), exampleVisit(app)
	grace.post("/cart?item=compiler")
	fmt.Println(grace.post("/register?name=grace&password=nanoseconds-matter"))
	fmt.Println(grace.get("/order"))
	eve.post("/register?name=eve&password=unattended-terminal")
	fmt.Println(eve.post("/verify?token=" + db.mail("grace")))
	fmt.Println(grace.post("/verify?token=" + db.mail("grace")))
	fmt.Println(grace.get("/order"))
	// Output:
	// 200
	// 303 to /?reason=forbidden
	// 400 This link is too old, or for another account.
	// 200
	// 200 You order: compiler
}

// The user changes the password, and stays logged in here alone. The gate lets nobody in who
// has found the browser unattended.
func ExampleGuard_EndOthers_passwordChange() {
	db, guard := exampleMembersGuard()
	mux := http.NewServeMux()
	mux.Handle("POST /login", exampleLoginForm(db, guard))
	mux.Handle("GET /home", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "Home") })))
	mux.Handle("POST /password", guard.RequireFresh(5*time.Minute)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		changed := db.setPassword(user.Name, r.FormValue("new")) // every session has ended now, this one too
		if err := errors.Join(guard.Login(w, r, changed), guard.EndOthers(r)); err != nil {
			http.Error(w, "Your password is changed. Please log in again.", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "Changed.")
	})))

	app := guard.Handler(mux)
	here, there := exampleVisit(app), exampleVisit(app)
	here.post("/login?name=ada&password=analytical-engine")
	there.post("/login?name=ada&password=analytical-engine")
	fmt.Println(here.post("/password?new=difference-engine"))
	fmt.Println(here.get("/home"))
	fmt.Println(there.get("/home"))
	fmt.Println(there.post("/login?name=ada&password=analytical-engine"))
	// Output:
	// 200 Changed.
	// 200 Home
	// 303 to /login?next=%2Fhome&reason=credentials_changed
	// 401 Wrong name or password.
}

// The user has forgotten the password, and gets a link by e-mail. Whoever has taken over a
// session is logged out by the new password, and the link works once.
func ExampleGuard_EndUser_passwordReset() {
	db, guard := exampleMembersGuard()
	mux := http.NewServeMux()
	mux.Handle("POST /login", exampleLoginForm(db, guard))
	mux.Handle("GET /home", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "Home") })))
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, r *http.Request) {
		name, ok := db.take(r.FormValue("token"))
		if !ok {
			http.Error(w, "This link is too old or was used. Ask for another.", http.StatusBadRequest)
			return
		}
		db.setPassword(name, r.FormValue("new")) // first: EndUser calls FindUser, for the reason
		if err := errors.Join(guard.EndUser(r.Context(), name), guard.End(w, r)); err != nil {
			http.Error(w, "Your password is changed. Please log in.", http.StatusServiceUnavailable)
			return
		}
		http.Redirect(w, r, "/login", http.StatusSeeOther) // for the new password, and the second factor if there is one
	})

	app := guard.Handler(mux)
	thief, ada := exampleVisit(app), exampleVisit(app)
	thief.post("/login?name=ada&password=analytical-engine")
	link := "/reset?token=" + db.mail("ada")
	fmt.Println(ada.post(link + "&new=difference-engine"))
	fmt.Println(thief.get("/home"))
	fmt.Println(thief.post(link + "&new=mine"))
	fmt.Println(ada.post("/login?name=ada&password=difference-engine"))
	fmt.Println(ada.get("/home"))
	// Output:
	// 303 to /login
	// 303 to /login?next=%2Fhome&reason=credentials_changed
	// 400 This link is too old or was used. Ask for another.
	// 200
	// 200 Home
}
