package app

import (
	"errors"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
)

// authenticator is what is stored of a user's authenticator app (RFC 6238).
type authenticator struct {
	secret string // "": there is none. A real database would encrypt it
	// next is the first time step whose code is accepted: each code is good once, and none
	// before it any more (RFC 6238, section 5.2).
	next         int64
	failures     int // wrong codes since the last right one
	blockedUntil time.Time
}

var (
	errWrongCode = errors.New("wrong code")
	// errTooManyCodes is returned without a look at the code.
	errTooManyCodes = errors.New("too many wrong codes")
)

const (
	totpPeriod = 30 * time.Second
	// totpSkew is how many time steps a phone's clock may be off, before and after.
	totpSkew = 1
	// Of a million codes three are right at a time. After maxFailures wrong ones, each
	// further one doubles the wait, up to a day (RFC 4226, section 7.3).
	maxFailures = 5
	firstWait   = time.Minute
	longestWait = 24 * time.Hour
)

// check returns t after an attempt, whose result is err.
func (t authenticator) check(code string, now time.Time) (after authenticator, err error) {
	if now.Before(t.blockedUntil) {
		return t, errTooManyCodes
	}
	if step, ok := timeStep(code, t.secret, now); ok && step >= t.next {
		return authenticator{secret: t.secret, next: step + 1}, nil
	}
	t.failures++
	if n := t.failures - maxFailures; n >= 0 {
		t.blockedUntil = now.Add(min(firstWait<<min(n, 11), longestWait))
	}
	return t, errWrongCode
}

// timeStep returns the time step whose code this is, if there is one around now.
func timeStep(code, secret string, now time.Time) (int64, bool) {
	current := now.Unix() / int64(totpPeriod/time.Second)
	for step := current - totpSkew; step <= current+totpSkew; step++ {
		ok, err := hotp.ValidateCustom(code, uint64(step), secret, hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if ok && err == nil {
			return step, true
		}
	}
	return 0, false
}

// VerifyTOTP checks a code of a user's authenticator app, and takes it: it is good once.
func (d *Directory) VerifyTOTP(id, code string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.methods[id]
	if m.totp.secret == "" {
		return errWrongCode
	}
	var err error
	m.totp, err = m.totp.check(code, time.Now())
	d.methods[id] = m
	return err
}

// EnableTOTP stores the secret of an authenticator app, which has to show with a code that
// it knows it. That code is good for no login.
func (d *Directory) EnableTOTP(id, secret, code string) error {
	after, err := authenticator{secret: secret}.check(code, time.Now())
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.methods[id]
	m.totp = after
	d.methods[id] = m
	return nil
}

// RemoveTOTP removes a user's authenticator app.
func (d *Directory) RemoveTOTP(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.methods[id]
	m.totp = authenticator{}
	d.methods[id] = m
}
