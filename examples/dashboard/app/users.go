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

// User is one person as of a moment. It is never modified: the directory puts a
// changed copy in its place, so handlers read theirs without a lock.
type User struct {
	ID, Name, Role string
	Active         bool
	stamp          string
}

func (u *User) UserID() string { return u.ID }
func (u *User) IsActive() bool { return u.Active }

// HasRole knows that an Admin may do what an Engineer may.
func (u *User) HasRole(role string) bool {
	return u.Role == role || u.Role == "Admin" && role == "Engineer"
}

// SessionStamp changes with the password, which ends every session from before,
// also one whose login was just being checked against the old password. It must
// not change with a restart, which sessions may outlive: a salt that is made at
// the start would end them all.
func (u *User) SessionStamp() string { return u.stamp }

// demoAccounts are the people to try the application as.
var demoAccounts = []struct {
	user     User
	password string
}{
	{User{ID: "ada", Name: "Ada Lovelace", Role: "Engineer", Active: true}, "analytical-engine"},
	{User{ID: "grace", Name: "Grace Hopper", Role: "Admin", Active: true}, "nanoseconds-matter"},
	{User{ID: "eve", Name: "Eve Adams", Role: "Engineer", Active: false}, "deactivated-demo"},
}

// Accounts is how to log in, for people to read.
func Accounts() string {
	var text strings.Builder
	for _, a := range demoAccounts {
		note := ""
		if !a.user.Active {
			note = ", inactive: may not log in"
		}
		fmt.Fprintf(&text, "  %-6s %-19s %s%s\n", a.user.ID, a.password, a.user.Role, note)
	}
	return text.String()
}

// Directory is the application's user database, in memory: what is changed in it
// is forgotten with the process.
type Directory struct {
	hasher   *hasher
	nobody   account // stands in for every account that does not exist
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

// NewDirectory has the demo accounts in it.
func NewDirectory() (*Directory, error) { return newDirectory(newHasher()) }

func newDirectory(h *hasher) (*Directory, error) {
	d := &Directory{
		hasher:   h,
		nobody:   account{&User{}, h.unmatchable()},
		accounts: map[string]account{},
	}
	for _, a := range demoAccounts {
		hash, err := h.hash(context.Background(), a.password)
		if err != nil {
			return nil, err
		}
		d.accounts[a.user.ID] = account{&a.user, hash}
	}
	return d, nil
}

// Find is the guard's FindUser.
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

// Verify finds who has this name and password, or returns errWrongPassword. It
// takes the same time and says the same whether the name, the password or the
// account's state is to blame: otherwise anyone could find out who has an
// account, or that a password stolen elsewhere is right (OWASP Authentication
// Cheat Sheet). How often someone may guess is not limited here.
func (d *Directory) Verify(ctx context.Context, id, password string) (*User, error) {
	a, err := d.verify(ctx, id, password)
	return a.user, err
}

func (d *Directory) verify(ctx context.Context, id, password string) (account, error) {
	a, ok := d.account(id)
	if !ok {
		a = d.nobody
	}
	right, err := d.hasher.matches(ctx, password, a.password)
	if err != nil {
		return account{}, err
	}
	if !right || !a.user.Active {
		return account{}, errWrongPassword
	}
	return a, nil
}

// ChangePassword sets a new password for whoever knows the current one.
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
		return nil, errWrongPassword // changed or deactivated while we were hashing
	}
	user := *before.user
	user.stamp = rand.Text()
	d.accounts[id] = account{&user, hash}
	return &user, nil
}

// SetActive returns the user as changed.
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

// All lists everyone by name.
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
