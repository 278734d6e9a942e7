package e2e

import (
	"database/sql"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/redisstore"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// withBackend sets where sessions are stored.
func withBackend(b store.Backend) func(*sessionguard.Config[isolationUser]) {
	return func(c *sessionguard.Config[isolationUser]) { c.Backend = b }
}

// A balancer passes each request on to the next node, or to the one that the path is for.
type balancer struct {
	nodes []http.Handler

	mu     sync.Mutex
	pinned map[string]int // by path; "" is any other
	next   int
	served map[string][]int // which nodes have served a path, one after the other
}

func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.choose(r.URL.Path).ServeHTTP(w, r)
}

func (b *balancer) choose(path string) http.Handler {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.pinned[path]
	if !ok {
		n, ok = b.pinned[""]
	}
	if !ok {
		n = b.next % len(b.nodes)
		b.next++
	}
	b.served[path] = append(b.served[path], n)
	return b.nodes[n]
}

// pin decides which nodes serve, and forgets which have.
func (b *balancer) pin(pinned map[string]int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pinned, b.served = pinned, map[string][]int{}
}

// have returns which nodes have served a path.
func (b *balancer) have(path string) []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	nodes := slices.Clone(b.served[path])
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// newBalancedSite starts a site of three nodes, which share a Redis server and nothing else.
func newBalancedSite(t *testing.T, configure func(*sessionguard.Config[isolationUser])) (*deviceSite, *balancer) {
	t.Helper()
	requireEngine(t, bindingChromium)
	server := servers.Redis(inCI{t}, servers.RedisOptions{})
	s := newDeviceSite(t)
	lb := &balancer{}
	for range 3 {
		option, err := rueidis.ParseURL(server.DSN(server.Addr))
		must(t, err)
		backend, err := redisstore.New(option, redisstore.Config{})
		must(t, err)
		t.Cleanup(backend.Close)
		guard, node := s.newNode(configure, withBackend(backend))
		lb.nodes = append(lb.nodes, node)
		s.backend = &failingBackend{Backend: backend}
		s.guard.Store(guard)
	}
	lb.pin(nil)
	s.setProxy(func(http.Handler) http.Handler { return lb })
	return s, lb
}

// inCI is a test that fails where it would be skipped, if CI is set.
type inCI struct{ *testing.T }

func (t inCI) Skip(args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(args...)
	}
	t.T.Skip(args...)
}

// A session is bound on one node, proven on another and used on the third. Then each request is
// for another node. Whoever has copied all cookies is refused by all when the proof has run out,
// and after a logout, which one of them serves.
func TestNodesThatShareRedisShareDevices(t *testing.T) {
	s, lb := newBalancedSite(t, provenFor(3*time.Second))
	lb.pin(map[string]int{"/sessionguard/bind": 0, "/sessionguard/prove": 1, "": 2})
	s.logInBound("ada")
	s.expire()
	s.forget()
	s.open("/page")
	s.held("/page")
	s.until(shows, "/page", "the secret of ada")
	for path, want := range map[string]int{"/sessionguard/bind": 0, "/sessionguard/prove": 1, "/page": 2} {
		if got := lb.have(path); !slices.Equal(got, []int{want}) {
			t.Errorf("%s was served by the nodes %v", path, got)
		}
	}

	lb.pin(nil)
	s.forget()
	s.waitFor("proofs on each node", func() bool {
		s.expire()
		s.goesOn("ada")
		return len(lb.have("/sessionguard/prove")) == 3 && len(lb.have("/echo")) == 3
	})
	s.open("/bound")
	s.until(shows, "/bound", "the secret of ada")
	onEach := func(check func(node int)) {
		for node := range lb.nodes {
			lb.pin(map[string]int{"": node})
			check(node)
		}
		lb.pin(nil)
	}
	th := s.stealAll()
	s.waitFor("the end of the thief's proof", func() bool {
		s.goesOn("ada")
		return !th.isIn()
	})
	onEach(func(int) { th.refused(); s.goesOn("ada") })
	th = s.steal(browserCookie.isBound)
	onEach(func(int) { th.refused() })

	th = s.stealAll()
	lb.pin(map[string]int{"/logout": 0, "": 1})
	s.open("/page")
	s.post("/logout")
	s.until(shows, "/", "Welcome")
	if got := lb.have("/logout"); !slices.Equal(got, []int{0}) {
		t.Errorf("the logout was served by the nodes %v", got)
	}
	onEach(func(node int) {
		if th.isIn() {
			t.Errorf("after the logout, the thief is logged in on node %d", node)
		}
	})
	if records := s.records("ada"); len(records) != 0 || len(s.boundCookies()) != 0 {
		t.Errorf("after the logout: %+v, cookies %v", records, s.cookies())
	}
	s.logInBound("grace")
	s.expire()
	s.goesOn("grace")
}

// openSQLite returns a backend over the file of a database, and what closes it.
func openSQLite(t *testing.T, file string) (b store.Backend, closeFile func()) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file)
	must(t, err)
	backend, err := sqlstore.New(db, sqlstore.SQLite, sqlstore.Config{})
	must(t, err)
	must(t, backend.EnsureSchema(t.Context()))
	return backend, sync.OnceFunc(func() { must(t, db.Close()) })
}

// When the application starts again, all that is left is a file. The bound session goes on with
// what the browser has, and whoever has copied cookies before is refused.
func TestBoundSessionsOutliveARestartOverSQLite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sessions.db")
	s := newDeviceSite(t)
	start := func() (stop func()) {
		backend, closeFile := openSQLite(t, file)
		t.Cleanup(closeFile)
		s.backend = &failingBackend{Backend: backend}
		s.start(provenFor(3 * time.Second))
		return closeFile
	}
	stop := start()
	s.logInBound("ada")
	session := s.records("ada")[0]
	all := s.stealAll()
	stop()
	if status, _ := s.fetch("/echo"); status != http.StatusServiceUnavailable {
		t.Errorf("without its file, the application responds %d", status)
	}
	s.forget()
	start()
	s.waitFor("the end of the failure", func() bool {
		status, _ := s.fetch("/echo")
		return status == http.StatusOK
	})
	s.steal(browserCookie.isBound).refused()
	s.waitFor("the end of the thief's proof", func() bool {
		s.goesOn("ada")
		return !all.isIn()
	})
	all.refused()
	s.expire()
	s.forget()
	s.open("/bound")
	s.held("/bound")
	s.until(shows, "/bound", "the secret of ada")
	if got := s.records("ada"); len(got) != 1 || got[0].ID != session.ID || got[0].Detail().Device.Registered != session.Detail().Device.Registered {
		t.Errorf("the session is %+v, and was %+v", got, session)
	}
	if n := s.count("POST", "/sessionguard/bind", 0); n != 0 {
		t.Errorf("the browser has registered another key: %+v", s.received())
	}
}
