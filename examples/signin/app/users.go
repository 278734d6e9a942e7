package app

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/sessionguard-go/sessionguard"
	dashboard "github.com/sessionguard-go/sessionguard/examples/dashboard/app"
)

// User is a snapshot of a user: one of examples/dashboard, with the ways to log in. It is
// never modified.
type User struct {
	*dashboard.User
	HasTOTP  bool
	Passkeys []webauthn.Credential
	handle   []byte // what authenticators call the user
}

// The names of factors are those of RFC 8176, but for the provider's.
const (
	factorPassword    = "pwd"
	factorCode        = "otp"
	factorHardwareKey = "hwk"
	factorSoftwareKey = "swk"
	factorMultiple    = "mfa"
	factorProvider    = "openid" // proved to the OpenID provider
)

// requiredFactors is the guard's Factors: whoever has set up a second factor needs it. "mfa"
// stands for a password with any second factor, and for a passkey alone, which is two
// factors in one: the device, and the finger or PIN that unlocks it.
func requiredFactors(u *User) []string {
	if u.HasTOTP || len(u.Passkeys) > 0 {
		return []string{factorMultiple}
	}
	return nil
}

// These are the methods of webauthn.User.

func (u *User) WebAuthnID() []byte                         { return u.handle }
func (u *User) WebAuthnName() string                       { return u.ID }
func (u *User) WebAuthnDisplayName() string                { return u.Name }
func (u *User) WebAuthnCredentials() []webauthn.Credential { return u.Passkeys }

// Accounts are users with passwords, such as those of examples/dashboard.
type Accounts interface {
	Find(ctx context.Context, id string) (*dashboard.User, error)
	Verify(ctx context.Context, id, password string) (*dashboard.User, error)
	All() []*dashboard.User
}

// Directory is the application's user database. It is in memory, so changes are lost when
// the process ends.
type Directory struct {
	accounts Accounts
	mu       sync.RWMutex
	methods  map[string]methods // by user ID
}

// methods are the ways in which a user can log in, besides a password.
type methods struct {
	totp     authenticator
	passkeys []webauthn.Credential
	handle   []byte
	subject  string // what the OpenID provider calls the user
}

// newDirectory returns a directory in which nobody has a second factor yet. subjects has
// the OpenID provider's subject of each user: here accounts are linked from the beginning.
func newDirectory(accounts Accounts, subjects map[string]string) *Directory {
	d := &Directory{accounts: accounts, methods: map[string]methods{}}
	for _, u := range accounts.All() {
		// Authenticators show the handle to whoever asks, so it says nothing about the user
		// (WebAuthn, section 14.6.1).
		d.methods[u.ID] = methods{handle: random(64), subject: subjects[u.ID]}
	}
	return d
}

// Find returns the user with an ID. It is the guard's FindUser.
func (d *Directory) Find(ctx context.Context, id string) (*User, error) {
	u, err := d.accounts.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	m := d.methods[id]
	return &User{User: u, HasTOTP: m.totp.secret != "", Passkeys: m.passkeys, handle: m.handle}, nil
}

// Verify returns the user with this ID and password. It does not limit the number of
// attempts: see docs/security.md, "What it does not protect against".
func (d *Directory) Verify(ctx context.Context, id, password string) (*User, error) {
	if _, err := d.accounts.Verify(ctx, id, password); err != nil {
		return nil, err
	}
	return d.Find(ctx, id)
}

// FindByHandle returns the user whom an authenticator names.
func (d *Directory) FindByHandle(ctx context.Context, handle []byte) (*User, error) {
	return d.findBy(ctx, func(m methods) bool { return bytes.Equal(m.handle, handle) })
}

// FindBySubject returns the user whom the OpenID provider names.
func (d *Directory) FindBySubject(ctx context.Context, subject string) (*User, error) {
	return d.findBy(ctx, func(m methods) bool { return subject != "" && m.subject == subject })
}

func (d *Directory) findBy(ctx context.Context, match func(methods) bool) (*User, error) {
	d.mu.RLock()
	var found string
	for id, m := range d.methods {
		if match(m) {
			found = id
		}
	}
	d.mu.RUnlock()
	if found == "" {
		return nil, sessionguard.ErrNoUser
	}
	return d.Find(ctx, found)
}

// maxPasskeys is how many a user may have. All of them are named in the options of a login.
const maxPasskeys = 10

var (
	errPasskeyTaken    = errors.New("the passkey is registered already")
	errTooManyPasskeys = errors.New("the user has too many passkeys")
)

// AddPasskey adds a passkey that belongs to nobody yet (WebAuthn, section 7.1, step 26).
func (d *Directory) AddPasskey(id string, passkey webauthn.Credential) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for m := range maps.Values(d.methods) {
		if slices.ContainsFunc(m.passkeys, same(passkey.ID)) {
			return errPasskeyTaken
		}
	}
	m := d.methods[id]
	if len(m.passkeys) >= maxPasskeys {
		return errTooManyPasskeys
	}
	m.passkeys = append(slices.Clip(m.passkeys), passkey)
	d.methods[id] = m
	return nil
}

// UpdatePasskey stores what a login has changed: the counter by which copies are noticed.
func (d *Directory) UpdatePasskey(id string, passkey webauthn.Credential) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.methods[id]
	if i := slices.IndexFunc(m.passkeys, same(passkey.ID)); i >= 0 {
		m.passkeys = slices.Clone(m.passkeys) // those that users have stay as they are
		m.passkeys[i] = passkey
	}
	d.methods[id] = m
}

// RemovePasskey removes a passkey of a user.
func (d *Directory) RemovePasskey(id string, passkey []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.methods[id]
	m.passkeys = slices.DeleteFunc(slices.Clone(m.passkeys), same(passkey))
	d.methods[id] = m
}

func same(id []byte) func(webauthn.Credential) bool {
	return func(c webauthn.Credential) bool { return bytes.Equal(c.ID, id) }
}
