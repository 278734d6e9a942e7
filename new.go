package sessionguard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/sessionguard-go/sessionguard/internal/calls"
	"github.com/sessionguard-go/sessionguard/internal/clientaddr"
	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/dbsc"
	"github.com/sessionguard-go/sessionguard/internal/localpath"
	"github.com/sessionguard-go/sessionguard/internal/owner"
	"github.com/sessionguard-go/sessionguard/internal/retry"
	"github.com/sessionguard-go/sessionguard/internal/saver"
	"github.com/sessionguard-go/sessionguard/internal/stamp"
	"github.com/sessionguard-go/sessionguard/store"
)

// New returns a guard, or an error that says what is wrong with the configuration.
func New[U User](config Config[U]) (*Guard[U], error) {
	if config.FindUser == nil {
		return nil, errors.New("sessionguard: Config.FindUser is missing")
	}
	if err := stamp.Check(reflect.TypeFor[U]()); err != nil {
		return nil, err
	}
	config.setDefaults()
	guard := &Guard[U]{core{
		findUser:        config.findUser,
		mayActAs:        config.mayActAs,
		idleTimeout:     config.IdleTimeout,
		absoluteTimeout: config.AbsoluteTimeout,
		rememberFor:     config.RememberFor,
		rememberGrace:   config.RememberGrace,
		factorTimeout:   config.FactorTimeout,
		maxValuesBytes:  config.MaxValuesBytes,
		crossOrigin:     config.CrossOrigin,
		refusals:        config.Refusals,
		flashSession:    config.FlashSession,
		clientAddr:      config.ClientAddr,
		onEvent:         config.OnEvent,
		log:             config.Logger,
	}}
	c := &guard.core
	if config.MaxSessions != nil {
		c.maxSessions = func(user User) store.Limit { return config.MaxSessions(user.(U)) }
	}
	if config.Factors != nil {
		c.factors = func(user User) []string { return config.Factors(user.(U)) }
	}
	_, c.local = config.Backend.(*store.Memory)
	backend := calls.Of(config.Backend, c.logError, config.reportCalls(c))
	c.backend, c.cacher, c.lister = backend.Backend, backend.Cacher, backend.Lister
	c.saves = saver.New(c.backend, c.maxValuesBytes)
	c.unfinished, c.undos = c.newRetries(), c.newRetries()
	c.streams = c.newStreams(backend.Watcher)

	var err error
	if c.logoutFlash, err = checkFlash(config.LogoutFlash, "You have been logged out."); err != nil {
		return nil, fmt.Errorf("sessionguard: Config.LogoutFlash: %w", err)
	}
	if c.forbiddenFlash, err = checkFlash(config.ForbiddenFlash, "You may not see that page."); err != nil {
		return nil, fmt.Errorf("sessionguard: Config.ForbiddenFlash: %w", err)
	}
	if err := c.checkLimits(); err != nil {
		return nil, fmt.Errorf("sessionguard: Config: %w", err)
	}
	if err := config.parsePages(c); err != nil {
		return nil, err
	}
	if err := config.makeCookies(c); err != nil {
		return nil, err
	}
	return guard, nil
}

// reportCalls returns OnBackendCall as a [calls.Report].
func (config *Config[U]) reportCalls(c *core) calls.Report {
	if config.OnBackendCall == nil {
		return nil
	}
	return func(method string, took time.Duration, err error) {
		defer func() {
			if p := recover(); p != nil { // what the call has done must be completed
				c.logError("OnBackendCall panicked", "panic", p)
			}
		}()
		config.OnBackendCall(method, took, err)
	}
}

// newRetries returns a queue. A share of it is a group of owners, since a key tells its group
// even when the backend is down.
func (c *core) newRetries() *retry.Queue {
	return &retry.Queue{Max: 1024, MaxShare: 64, Lifetime: 10 * time.Minute, Timeout: detachedTimeout, GiveUp: func(err error) {
		c.logError("gave up ending a session: it lives until it times out", "error", err)
	}}
}

// setDefaults replaces zero values.
func (config *Config[U]) setDefaults() {
	if config.Backend == nil {
		config.Backend = store.NewMemory()
	}
	config.IdleTimeout = cmp.Or(config.IdleTimeout, defaultIdleTimeout)
	config.AbsoluteTimeout = cmp.Or(config.AbsoluteTimeout, max(defaultAbsoluteTimeout, config.IdleTimeout))
	config.RememberFor = cmp.Or(config.RememberFor, defaultRememberFor)
	config.RememberGrace = cmp.Or(config.RememberGrace, min(defaultRememberGrace, config.IdleTimeout))
	config.FactorTimeout = cmp.Or(config.FactorTimeout, defaultFactorTimeout)
	config.LoginPath = cmp.Or(config.LoginPath, config.BasePath+"/login")
	config.MaxValuesBytes = cmp.Or(config.MaxValuesBytes, defaultMaxValuesBytes)
	config.WelcomePath = cmp.Or(config.WelcomePath, config.BasePath+"/")
	config.ScriptPath = cmp.Or(config.ScriptPath, config.BasePath+"/sessionguard/")
	config.FlashSession = cmp.Or(config.FlashSession, "flash")
	config.Logger = cmp.Or(config.Logger, slog.Default())
	if config.CrossOrigin == nil {
		config.CrossOrigin = http.NewCrossOriginProtection()
	}
	if config.ClientAddr == nil {
		config.ClientAddr = clientaddr.OfConnection
	}
}

var errOtherUser = errors.New("FindUser returned another user")

// findUser is FindUser for a core, which does not know U.
func (config *Config[U]) findUser(ctx context.Context, id string) (User, error) {
	user, err := config.FindUser(ctx, id)
	switch {
	case errors.Is(err, ErrNoUser), err == nil && isNil(user):
		return nil, ErrNoUser
	case err != nil:
		return nil, fmt.Errorf("FindUser failed (if there is no such user, it must return ErrNoUser): %w", err)
	case user.UserID() != id:
		return nil, fmt.Errorf("%w: %q for %q", errOtherUser, user.UserID(), id)
	}
	return user, nil
}

// mayActAs is MayActAs for a core, which does not know U.
func (config *Config[U]) mayActAs(actor, target User) bool {
	return config.MayActAs != nil && config.MayActAs(actor.(U), target.(U))
}

func (c *core) checkLimits() error {
	if err := checkTimeouts(c.idleTimeout, c.absoluteTimeout); err != nil {
		return err
	}
	if c.rememberFor < time.Second {
		return fmt.Errorf("a RememberFor of %v is shorter than a second", c.rememberFor)
	}
	if c.rememberGrace < 0 || c.rememberGrace > c.idleTimeout {
		return fmt.Errorf("a RememberGrace of %v is negative or longer than the IdleTimeout of %v", c.rememberGrace, c.idleTimeout)
	}
	if c.factorTimeout < time.Second {
		return fmt.Errorf("a FactorTimeout of %v is shorter than a second", c.factorTimeout)
	}
	if c.maxValuesBytes < minMaxValuesBytes {
		return fmt.Errorf("a MaxValuesBytes of %d is less than %d", c.maxValuesBytes, minMaxValuesBytes)
	}
	return nil
}

// parsePages sets the pages that browsers are sent to.
func (config *Config[U]) parsePages(c *core) error {
	base, ok := localpath.Parse(config.BasePath)
	if config.BasePath != "" && (!ok || base.Target != base.Path || strings.HasSuffix(base.Path, "/")) {
		return fmt.Errorf("sessionguard: Config.BasePath: %q is not a path on this server without a slash at its end", config.BasePath)
	}
	c.basePath = config.BasePath
	for _, page := range []struct {
		field, path string
		to          *localpath.Page
	}{
		{"LoginPath", config.LoginPath, &c.login},
		{"ReauthPath", config.ReauthPath, &c.reauth},
		{"FactorPath", config.FactorPath, &c.factor},
		{"WelcomePath", config.WelcomePath, &c.welcome},
	} {
		if page.path == "" {
			continue // ReauthPath and FactorPath have no default
		}
		var ok bool
		if *page.to, ok = localpath.Parse(page.path); !ok {
			return fmt.Errorf("sessionguard: Config.%s: %q is not a path on this server", page.field, page.path)
		}
	}
	if config.Factors != nil && config.FactorPath == "" {
		return errors.New("sessionguard: Config.FactorPath is missing: with Config.Factors, it says where a browser that lacks a factor goes")
	}
	script, ok := localpath.Parse(config.ScriptPath)
	if !ok || script.Target != script.Path || !strings.HasSuffix(script.Path, "/") {
		return fmt.Errorf("sessionguard: Config.ScriptPath: %q is not a path on this server that ends in a slash", config.ScriptPath)
	}
	c.scriptPath = script.Target
	c.challenge = fmt.Sprintf("Cookie form-action=%q", c.login.Target)
	c.stepUp = c.challenge + `, error="insufficient_user_authentication"`
	return nil
}

// makeCookies sets the guard's cookies and the prefix of its owners, which is the cookie's
// name.
func (config *Config[U]) makeCookies(c *core) error {
	keys := config.Keys
	if len(keys) == 0 {
		if !c.local {
			return errors.New(`sessionguard: Config.Keys is missing: with this Backend, all nodes must read the same cookies, also after a restart. "openssl rand -hex 32" prints a key to keep: decode it with hex.DecodeString`)
		}
		c.log.Warn("sessionguard: Config.Keys is missing: made a random one, which is lost when this process ends: set Keys in production")
		keys = [][]byte{securecookie.GenerateRandomKey(32)}
	}
	cookies, err := cookie.New(keys, c.idleTimeout, http.Cookie{
		Name:        config.CookieName,
		Domain:      config.CookieDomain,
		SameSite:    config.SameSite,
		Secure:      !config.InsecureHTTP,
		Partitioned: config.Partitioned,
	})
	if err != nil {
		return err
	}
	c.cookies = cookies
	codec := dbsc.New(cookie.DeriveKeys(keys, "device proof"), cookie.DeriveKeys(keys, "device name"))
	c.proofs = newDevicePolicy(cmp.Or(config.DeviceProof, minDeviceProof), codec)
	if config.DeviceProof != 0 {
		if err := config.checkDeviceProof(); err != nil {
			return fmt.Errorf("sessionguard: Config.DeviceProof: %w", err)
		}
		c.devices = c.proofs
	}
	c.owners = owner.Names(cookies.Session.Name)
	return nil
}

// minDeviceProof is how long a proof lasts for which Chromium's signatures suffice.
const minDeviceProof = 5 * time.Minute

func (config *Config[U]) checkDeviceProof() error {
	switch {
	case config.DeviceProof < time.Second:
		return fmt.Errorf("%v is shorter than a second", config.DeviceProof)
	case config.InsecureHTTP:
		return errors.New("browsers bind sessions only over https: not with InsecureHTTP")
	case config.CookieDomain != "":
		return errors.New("the subdomains of a CookieDomain could not prove the device")
	case config.Partitioned:
		return errors.New("not with Partitioned: browsers (Chromium 156) would never prove the device")
	case config.DeviceProof < minDeviceProof:
		config.Logger.Warn("sessionguard: Config.DeviceProof is short: Chrome signs at most six proofs in nine minutes, and its users may have to log in again", "device_proof", config.DeviceProof)
	}
	return nil
}

// isNil reports whether user is nil or holds a nil pointer.
func isNil(user User) bool {
	v := reflect.ValueOf(user)
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan:
		return v.IsNil()
	}
	return false
}
