package acceptance

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/sessionguard-go/sessionguard"
)

// user is the user type of the application under test.
type user struct {
	ID, Stamp string
	Roles     []string
	Inactive  bool
	Broken    bool // IsActive panics
}

func (u *user) UserID() string { return u.ID }
func (u *user) IsActive() bool {
	if u.Broken {
		panic("IsActive")
	}
	return !u.Inactive
}
func (u *user) SessionStamp() string { return u.Stamp }
func (u *user) HasRole(role string) bool {
	return slices.Contains(u.Roles, role)
}

// testUsers are the users of a new site. Eve is inactive.
var testUsers = map[string]user{
	"ada":   {ID: "ada", Roles: []string{"Engineer"}},
	"grace": {ID: "grace", Roles: []string{"Admin"}},
	"eve":   {ID: "eve", Roles: []string{"Engineer"}, Inactive: true},
}

// userDatabase is a user database that tests can change, and that fails with err if set.
type userDatabase struct {
	mu      sync.Mutex
	users   map[string]user
	err     error
	hear    bool // Find fails if its context has ended
	lookups int  // calls of Find
}

func (d *userDatabase) Find(ctx context.Context, id string) (*user, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lookups++
	if d.err != nil {
		return nil, d.err
	}
	if d.hear && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	u, ok := d.users[id]
	if !ok {
		return nil, fmt.Errorf("user database: %w", sessionguard.ErrNoUser)
	}
	return &u, nil
}

func (d *userDatabase) change(id string, f func(*user)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u := d.users[id]
	f(&u)
	d.users[id] = u
}
