//go:build prelude

package docs

import (
	"context"
	"database/sql"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/sessionguardtest"
	"github.com/sessionguard-go/sessionguard/store"
)

// What code on a page may use without declaring it. A page that declares one of these names
// means its own.

// User is the application's own type.
type User struct {
	ID, Name, Email, Password, Stamp string
	PasswordHash                     []byte
	Roles, Factors                   []string
	Admin, Deactivated               bool
}

func (u *User) UserID() string           { return u.ID }
func (u *User) IsActive() bool           { return !u.Deactivated }
func (u *User) HasRole(role string) bool { return slices.Contains(u.Roles, role) }

// find is Config.FindUser, and verify a login with a password.
func find(ctx context.Context, id string) (*User, error) { return nil, nil }
func verify(name, password string) (*User, bool)         { return nil, false }

// checkPassword verifies the login that a form asks for.
func checkPassword(r *http.Request) (*User, error) { return nil, nil }

// subscribe returns what a stream sends until ctx ends.
func subscribe(ctx context.Context) <-chan string { return nil }

var (
	guard     *sessionguard.Guard[*User]
	config    sessionguard.Config[*User]
	backend   store.Backend
	key       []byte
	newKey    []byte
	oldKey    []byte
	user, ada *User
	userID    string
	id        string // of a session, as Session.ID

	mux      *http.ServeMux
	server   *http.Server
	app      http.Handler // the whole application
	proxy    http.Handler
	next     http.Handler
	home     http.Handler
	payments http.Handler // pages for which more is needed than a login
	api      http.Handler // of a front end
	site     fs.FS        // the files of a front end
	socket   http.Handler // of a WebSocket
	h        struct{ login, home, users, events http.HandlerFunc }
	page     *template.Template
	db       *sql.DB
	logins   *atomic.Int64
	audit    *slog.Logger

	w   http.ResponseWriter
	r   *http.Request
	ctx context.Context
	err error

	t      *testing.T
	client *sessionguardtest.Client
)
