package migrate_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/examples/migrate"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { servers.Main(m) }

// people are the application's users.
type people struct {
	mu    sync.Mutex
	users map[string]*User
	err   error
}

func (p *people) find(_ context.Context, id string) (*User, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	user, ok := p.users[id]
	switch {
	case p.err != nil:
		return nil, p.err
	case !ok:
		return nil, sessionguard.ErrNoUser
	}
	return user, nil
}

func (p *people) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// A site is a server that runs the application as it was, until it is updated.
type site struct {
	*testing.T
	url       string
	transport http.RoundTripper
	running   atomic.Pointer[http.Handler]

	users     *people
	migration *migrate.Migration[*User]
	config    sessionguard.Config[*User]
	source    *faultySource
	backend   *faultyBackend
}

// newSite starts the application as it was, on a TLS server.
func newSite(t *testing.T, old oldApp) *site {
	t.Helper()
	s := prepare(t, old)
	server := httptest.NewTLSServer(http.HandlerFunc(s.ServeHTTP))
	t.Cleanup(server.Close)
	s.url, s.transport = server.URL, server.Client().Transport
	return s
}

// prepare is newSite without a network, for testing/synctest.
func prepare(t *testing.T, old oldApp) *site {
	t.Helper()
	s := &site{T: t, url: "https://localhost", users: &people{users: map[string]*User{
		"ada": {Name: "ada"}, "bob": {Name: "bob"}, "eve": {Name: "eve", Deactivated: true},
	}}}
	s.transport = testbrowser.HandlerTransport{Handler: http.HandlerFunc(s.ServeHTTP)}
	s.source = &faultySource{Source: old.from}
	s.backend = &faultyBackend{Backend: store.NewMemory()}
	s.config = sessionguard.Config[*User]{
		FindUser: s.users.find, Backend: s.backend, Keys: [][]byte{bytes.Repeat([]byte("g"), 32)}, ReauthPath: "/again",
		OnEvent: func(context.Context, sessionguard.Event) {},
	}
	s.migration = &migrate.Migration[*User]{
		FindUser: s.users.find, Backend: s.backend, From: s.source, UserOf: userOf,
		Until: time.Now().Add(14 * 24 * time.Hour),
	}
	s.running.Store(&old.handler)
	return s
}

// update installs the new version.
func (s *site) update() {
	s.Helper()
	guard, err := sessionguard.New(s.config)
	require.NoError(s, err)
	s.migration.Guard = guard
	app := guardApp(guard, s.migration, s.users)
	s.running.Store(&app)
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*s.running.Load()).ServeHTTP(w, r) }

func (s *site) browse() *testbrowser.Browser {
	s.Helper()
	b := testbrowser.New(s.T, s.url, s.transport)
	b.Header.Set("Sec-Fetch-Site", "same-origin")
	b.Header.Set("Sec-Fetch-Mode", "navigate")
	b.Header.Set("Sec-Fetch-Dest", "document")
	return b
}

// logIn returns a browser in which a user is logged in.
func (s *site) logIn(user string) *testbrowser.Browser {
	s.Helper()
	b := s.browse()
	b.PostForm("/login", "user", user).Expect(http.StatusOK, "")
	return b
}

// sessions returns how many sessions of the guard a user has.
func (s *site) sessions(user string) int {
	s.Helper()
	all, err := s.migration.Guard.Sessions(context.Background(), user)
	require.NoError(s, err)
	return len(all)
}

var errDown = errors.New("the server is down")

// A faultySource is a source whose server can fail, when it reads or when it ends a session.
type faultySource struct {
	migrate.Source
	read, end error
}

func (f *faultySource) Read(r *http.Request) (*migrate.Old, error) {
	old, err := f.Source.Read(r)
	if old == nil || err != nil {
		return old, err
	}
	if f.read != nil {
		return nil, f.read
	}
	if f.end != nil {
		old.End = func(http.ResponseWriter) error { return f.end }
	}
	return old, nil
}

// A faultyBackend is a backend that can fail to begin sessions of users, or any, or to tell that
// it has begun one.
type faultyBackend struct {
	store.Backend
	logins, all, answers error
}

func (f *faultyBackend) Create(ctx context.Context, r store.Record, limit store.Limit) ([]store.Record, error) {
	if f.all != nil {
		return nil, f.all
	}
	if f.logins != nil && limit.Max == 0 {
		return nil, f.logins
	}
	ended, err := f.Backend.Create(ctx, r, limit)
	if f.answers != nil {
		return nil, f.answers
	}
	return ended, err
}
