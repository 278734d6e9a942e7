package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/sessionguard-go/sessionguard"
)

// User is a snapshot of a user. It is never modified: the directory replaces it with a
// changed copy, so handlers need no lock to read theirs.
type User struct {
	ID, Name, Role string
	Active         bool
	stamp          string
}

func (u *User) UserID() string { return u.ID }
func (u *User) IsActive() bool { return u.Active }

// HasRole reports whether the user has role. An Admin is also an Engineer.
func (u *User) HasRole(role string) bool {
	return u.Role == role || u.Role == "Admin" && role == "Engineer"
}

// SessionStamp returns a stamp that changes with the password. The change ends every earlier
// session, including that of a login whose check against the old password was under way.
// The stamp must not change with a restart, which sessions may survive: a salt created at
// startup, for example, would end them all.
func (u *User) SessionStamp() string { return u.stamp }

// A demoAccount is an account for trying the application. The login page shows its password,
// as no other application should.
type demoAccount struct {
	User     User
	Password string
}

var demoAccounts = []demoAccount{
	{User{ID: "ada", Name: "Ada Lovelace", Role: "Engineer", Active: true}, "analytical-engine"},
	{User{ID: "grace", Name: "Grace Hopper", Role: "Admin", Active: true}, "nanoseconds-matter"},
	{User{ID: "eve", Name: "Eve Adams", Role: "Engineer", Active: false}, "deactivated-demo"},
}

// Accounts returns the demo accounts and their passwords as text.
func Accounts() string {
	var text strings.Builder
	for _, a := range demoAccounts {
		note := ""
		if !a.User.Active {
			note = ", inactive: cannot log in"
		}
		fmt.Fprintf(&text, "  %-6s %-19s %s%s\n", a.User.ID, a.Password, a.User.Role, note)
	}
	return text.String()
}

// Directory is the application's user database. It is in memory, so changes are lost when
// the process ends.
type Directory struct {
	hasher   *hasher
	dummy    account // compared against if an account does not exist
	mu       sync.RWMutex
	accounts map[string]account
}

type account struct {
	user     *User
	password passwordHash
}

var (
	errWrongPassword = errors.New("wrong name or password")
	errShortPassword = errors.New("the new password is too short")
)

const minPassword = 8

// NewDirectory returns a directory of the demo accounts.
func NewDirectory() (*Directory, error) { return newDirectory(newHasher()) }

func newDirectory(h *hasher) (*Directory, error) {
	d := &Directory{
		hasher:   h,
		dummy:    account{&User{}, h.dummyHash()},
		accounts: map[string]account{},
	}
	for _, a := range demoAccounts {
		hash, err := h.hash(context.Background(), a.Password)
		if err != nil {
			return nil, err
		}
		d.accounts[a.User.ID] = account{&a.User, hash}
	}
	return d, nil
}

// Find returns the user with an ID. It is the guard's FindUser.
func (d *Directory) Find(_ context.Context, id string) (*User, error) {
	a, ok := d.account(id)
	if !ok {
		return nil, fmt.Errorf("user %q: %w", id, sessionguard.ErrNoUser)
	}
	return a.user, nil
}

func (d *Directory) account(id string) (account, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	a, ok := d.accounts[id]
	return a, ok
}

// Verify returns the user with this ID and password, or errWrongPassword. It takes the same
// time and returns the same error whether the ID, the password or the account's state is
// wrong. Otherwise anyone could learn who has an account, or that a password stolen
// elsewhere is right (OWASP Authentication Cheat Sheet). It does not limit the number of
// attempts.
func (d *Directory) Verify(ctx context.Context, id, password string) (*User, error) {
	a, err := d.verify(ctx, id, password)
	return a.user, err
}

func (d *Directory) verify(ctx context.Context, id, password string) (account, error) {
	a, ok := d.account(id)
	if !ok {
		a = d.dummy
	}
	match, err := d.hasher.matches(ctx, password, a.password)
	if err != nil {
		return account{}, err
	}
	if !match || !a.user.Active {
		return account{}, errWrongPassword
	}
	return a, nil
}

// ChangePassword sets a new password if current is the user's current one, and returns the
// changed user.
func (d *Directory) ChangePassword(ctx context.Context, id, current, password string) (*User, error) {
	if utf8.RuneCountInString(password) < minPassword {
		return nil, errShortPassword
	}
	before, err := d.verify(ctx, id, current)
	if err != nil {
		return nil, err
	}
	hash, err := d.hasher.hash(ctx, password)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.accounts[id].user != before.user {
		return nil, errWrongPassword // changed or deactivated in the meantime
	}
	user := *before.user
	user.stamp = rand.Text()
	d.accounts[id] = account{&user, hash}
	return &user, nil
}

// SetActive activates or deactivates a user, and returns the changed user.
func (d *Directory) SetActive(id string, active bool) (*User, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.accounts[id]
	if !ok {
		return nil, sessionguard.ErrNoUser
	}
	user := *a.user
	user.Active = active
	d.accounts[id] = account{&user, a.password}
	return &user, nil
}

// All returns all users, sorted by name.
func (d *Directory) All() []*User {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var all []*User
	for _, a := range d.accounts {
		all = append(all, a.user)
	}
	slices.SortFunc(all, func(a, b *User) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
