package nodes

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
)

// devices are promises about sessions that are bound to a device.
var devices = []promise{
	{"a session that is bound on one node needs its device on both, through values, logins and revivals", func(t T, a, b store.Backend) {
		idle := &atomic.Bool{}
		bothWays(t, later(a, idle), later(b, idle), func(here, there *node) {
			name, ada := newUser(), browse(t, here)
			ada.bind(here, there, name)
			ada.requireIn(name, here, there)
			ada.requireDevice(here, there)
			ada.at(there).Post("/value?k=cart&v=17")
			require.Equal(t, "17", ada.at(here).Get("/value?k=cart").Body)
			before := ada.copied()
			ada.login(there, name) // again, which replaces the token
			ada.requireIn(name, here, there)
			ada.requireDevice(here, there)
			before.requireOut(here, there)

			// A remembered session, which is idle for now.
			require.Equal(t, http.StatusSeeOther, ada.at(here).Post("/login?remember=1&user="+name).StatusCode)
			idle.Store(true)
			ada.requireDevice(here, there)
			require.True(t, idle.Load(), "it was revived without its device")
			require.True(t, letIn(ada.at(there).Get("/home")))
			require.False(t, idle.Load(), "it was not revived")
			ada.requireIn(name, here, there)
			ada.requireDevice(here, there)
			require.Equal(t, []string{"registered", "proven"}, ada.Device.History()[:2])

			ada.at(here).Post("/logout")
			require.Empty(t, ownedBy(t, there, name))
			ada.requireOut(here, there)
		}, withDevices)
	}},
	{"of 20 registrations on both nodes at once for one login, one succeeds", func(t T, a, b store.Backend) {
		one, two := newNode(t, a, withDevices), newNode(t, b, withDevices)
		ada := browse(t, one)
		resp := ada.at(one).Post("/login?user=" + newUser())
		offer := offered.FindStringSubmatch(resp.Header.Get("Secure-Session-Registration"))
		require.NotNil(t, offer, "the login offers nothing")
		var registering sync.WaitGroup
		var registered, proven atomic.Int32
		for i := range 20 {
			registering.Go(func() {
				at, key := ada.at([]*node{one, two}[i%2]), testbrowser.NewKey()
				a, err := at.Send(at.Request("POST", "/sessionguard/bind", "Secure-Session-Response", key.Registration(offer[1])))
				if err != nil || a.StatusCode != http.StatusOK {
					return
				}
				registered.Add(1)
				id := identified.FindStringSubmatch(a.Body)[1]
				a, err = at.Send(at.Request("POST", "/sessionguard/prove", "Sec-Secure-Session-Id", id))
				if err != nil {
					return
				}
				challenge, _, _ := strings.Cut(strings.TrimPrefix(a.Header.Get("Secure-Session-Challenge"), `"`), `"`)
				a, err = at.Send(at.Request("POST", "/sessionguard/prove", "Sec-Secure-Session-Id", id, "Secure-Session-Response", key.Proof(challenge)))
				if err == nil && a.StatusCode == http.StatusOK && slices.ContainsFunc(a.Cookies(), func(c *http.Cookie) bool { return c.MaxAge > 0 }) {
					proven.Add(1)
				}
			})
		}
		registering.Wait()
		require.Equal(t, int32(1), registered.Load(), "registrations")
		require.Equal(t, int32(1), proven.Load(), "proofs")
	}},
	{"values that both nodes save while a session is bound are all kept, and so is the device", func(t T, a, b store.Backend) {
		one, two := newNode(t, later(a, nil), withDevices), newNode(t, later(b, nil), withDevices)
		ada, name := browse(t, one), newUser()
		ada.Device = testbrowser.NewDevice()
		ada.Device.Manual = true
		ada.login(one, name)
		tab := ada.copied()
		var saving sync.WaitGroup
		for i := range 20 {
			saving.Go(func() {
				at := tab.at([]*node{one, two}[i%2])
				_, _ = at.Send(at.Request("POST", fmt.Sprintf("/value?k=%d&v=v", i)))
			})
		}
		ada.Device.Register(ada.at(two))
		saving.Wait()
		require.Equal(t, "v", ada.at(one).Get("/value?k=0").Body) // and proves its device then
		require.Equal(t, []string{"registered", "proven"}, ada.Device.History())
		for i := range 20 {
			require.Equal(t, "v", ada.at(two).Get(fmt.Sprintf("/value?k=%d", i)).Body)
		}
		ada.requireDevice(one, two)
	}},
}

var (
	offered    = regexp.MustCompile(`challenge="([^"]+)"`)
	identified = regexp.MustCompile(`"session_identifier":"([^"]+)"`)
)

func withDevices(c *config) { c.DeviceProof = 10 * time.Minute }

// bind logs in on one node, with a device that is proven on the other.
func (b *browser) bind(here, there *node, user string) {
	b.T.Helper()
	b.Device = testbrowser.NewDevice()
	b.login(here, user)
	b.at(there).Get("/status") // after which it proves
}

// requireDevice checks that the session cookie alone is of no use on any of these nodes, but
// that the browser's logins go on.
func (b *browser) requireDevice(all ...*node) {
	b.T.Helper()
	thief := b.copied()
	thief.SetCookies(map[string]string{sessionCookie: b.token()})
	thief.requireEnded(store.ReasonDeviceUnproven, all...)
}

// later returns a backend whose bound sessions look as if they had been proven a minute ago, so
// that a test need not wait that long. While idle is set, they also look inactive, until one is
// revived. idle may be nil.
func later(b store.Backend, idle *atomic.Bool) store.Backend {
	l := laterBackend{b, idle}
	if w, ok := b.(store.Watcher); ok {
		return struct {
			laterBackend
			store.Watcher
		}{l, w}
	}
	return l
}

type laterBackend struct {
	store.Backend
	idle *atomic.Bool
}

func (b laterBackend) change(r store.Record, err error) (store.Record, error) {
	if err != nil || r.Session == nil || r.Detail().Device == nil {
		return r, err
	}
	if b.idle != nil && b.idle.Load() {
		r.LastSeen = r.LastSeen.Add(-31 * time.Minute)
	}
	if r.Detail().Device.Proven != 0 {
		session, details, device := *r.Session, r.Detail(), *r.Detail().Device
		device.Proven = device.Registered.Add(-time.Minute)
		details.Device, session.Details = &device, &details
		r.Session = &session
	}
	return r, nil
}

func (b laterBackend) Load(ctx context.Context, key store.Key) (store.Record, error) {
	return b.change(b.Backend.Load(ctx, key))
}

func (b laterBackend) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	return b.change(b.Backend.LoadByID(ctx, owner, id))
}

func (b laterBackend) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	err := b.Backend.Replace(ctx, old, version, r)
	if err == nil && b.idle != nil {
		b.idle.Store(false)
	}
	return err
}

// noteDevice notes whether the session needs its device, by what the device has done.
func (s *session) noteDevice() {
	if s.Device == nil {
		return
	}
	for _, what := range s.Device.History() {
		switch what {
		case "proven":
			s.bound = true
		case "registered", "refused", "ended":
			s.bound = false // or the registration of a session that is none yet
		}
	}
}

// expireProofs makes the browser prove its device before the next request.
func (b *browser) expireProofs() {
	if b.Device != nil {
		b.Device.Expire()
	}
}

// requests returns how many requests a browser may send for one: a device proves by several.
func (b *browser) requests() time.Duration {
	if b.Device == nil {
		return 1
	}
	return 4
}

// unproven reports whether the response refuses a session without its device.
func unproven(a response) bool {
	return strings.HasSuffix(a.Header.Get("Location"), "reason="+string(store.ReasonDeviceUnproven))
}

// checkUnproven checks that a bound session's cookie is of no use without its device.
func (l *load) checkUnproven(s *session) {
	if !s.bound {
		return
	}
	thief := s.copied()
	thief.SetCookies(map[string]string{sessionCookie: s.token()})
	if a, _ := l.send(thief, l.anyNode(), "GET", "/home"); letIn(a) {
		l.problem("a bound session was accepted without its device")
	}
}
