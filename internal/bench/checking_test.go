package bench

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	"github.com/sessionguard-go/sessionguard/internal/useragent"
	codec "github.com/sessionguard-go/sessionguard/internal/values"
	"github.com/sessionguard-go/sessionguard/store"
)

const (
	checkingName         = "the least with the checks of a protected request"
	checkingOnMemoryName = checkingName + ", sessions in `store.Memory`"
)

// A checkingGuard does in addition what sessionguard promises of every protected request, written
// in one piece for this site: it looks for the headers of a prefetch, of another origin and of an
// upgrade; gives the handler a request and a ResponseWriter of its own, of which the wrapper and
// the gate find one state; counts the cookies of its name; compares the deadlines; asks for the
// user, and whether it is active and has the role; notes the time of the request when the response
// begins, and again when the handler has returned; goes over all headers of the response both
// times; and does none of that without a lock.
//
// Its login asks for the user too, looks for sessions that have expired, indexes the new one by the
// user, stores what sessionguard lists of it, writes a record of the audit trail, and stores the
// values before the response begins.
//
// If memory is not nil, logins store their sessions there, which are in as little memory as those
// of sessionguard, and can be limited. Only logins work then.
//
// It has no logins with a cookie, no options, no streams, no limits, and no errors of a backend.
// All refusals are recorded, and nobody is told of them.
type checkingGuard struct {
	*leastGuard
	origin *http.CrossOriginProtection
	byUser map[string][]*leastSession
	all    []*leastSession
	looked int // the index in all of the session that was looked at last
	memory *store.Memory
	log    *slog.Logger
}

// checkingState is what a checkingGuard knows of a request. It is the handler's context and
// ResponseWriter.
type checkingState struct {
	parent context.Context
	w      http.ResponseWriter
	http   http.Request
	guard  *checkingGuard

	mu        sync.Mutex
	cookie    string
	key       [sha256.Size]byte
	session   *leastSession
	user      *user
	now       int64
	committed bool
	noStore   [4]string
}

// newCheckingSubject returns a site behind a checkingGuard, whose refusals are those of s.
func newCheckingSubject(t testing.TB, s subject) subject {
	t.Helper()
	return checkingSubject(checkingName, newCheckingGuard(t, s, nil))
}

// newCheckingSubjectOnMemory returns the same with sessions in a store.Memory.
func newCheckingSubjectOnMemory(t testing.TB, s subject) subject {
	t.Helper()
	return checkingSubject(checkingOnMemoryName, newCheckingGuard(t, s, store.NewMemory()))
}

func newCheckingGuard(t testing.TB, s subject, memory *store.Memory) *checkingGuard {
	t.Helper()
	return &checkingGuard{
		leastGuard: newLeastGuard(t, s),
		origin:     http.NewCrossOriginProtection(),
		byUser:     map[string][]*leastSession{},
		log:        slog.New(slog.NewTextHandler(io.Discard, nil)),
		memory:     memory,
	}
}

func checkingSubject(name string, g *checkingGuard) subject {
	return subject{
		name:   name,
		page:   g.handler(g.requireEngineer(http.HandlerFunc(page))),
		login:  g.handler(http.HandlerFunc(g.login)),
		logout: http.HandlerFunc(g.logout),
	}
}

func (g *checkingGuard) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(next, w, r) })
}

func (g *checkingGuard) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	own := &checkingState{parent: r.Context(), w: w, guard: g}
	own.http = *r.WithContext(own)
	returned := false
	defer func() {
		if !returned { // the page of whoever recovers the panic is not cached either
			own.forbidCaching()
		}
	}()
	check(g.allowed(r))
	next.ServeHTTP(own, &own.http)
	own.end()
	returned = true
}

// allowed reports whether r counts as a request of a person, and comes from this site.
func (g *checkingGuard) allowed(r *http.Request) bool {
	for _, name := range [...]string{"Sec-Purpose", "Hx-Preloaded", "Purpose", "X-Purpose", "X-Moz", "X-Sec-Purpose"} {
		if len(r.Header[name]) > 0 {
			return false
		}
	}
	if site := r.Header["Sec-Fetch-Site"]; len(site) > 0 {
		return site[0] == "same-origin"
	}
	return len(r.Header["Upgrade"]) == 0 && len(r.Header["Sec-Websocket-Version"]) == 0 && g.origin.Check(r) == nil
}

// requireEngineer is the gate.
func (g *checkingGuard) requireEngineer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own := r.Context().Value(g).(*checkingState)
		switch {
		case own.authenticate(r):
			check(own.user.HasRole("Engineer"))
			next.ServeHTTP(w, r)
		case g.made(own.cookie):
			g.ended.send(w)
		default:
			g.forged.send(w)
		}
	})
}

func (own *checkingState) authenticate(r *http.Request) bool {
	own.mu.Lock()
	defer own.mu.Unlock()
	own.now = time.Now().UnixNano()
	n := 0
	for pair := range strings.SplitSeq(r.Header["Cookie"][0], "; ") {
		if name, value, _ := strings.Cut(pair, "="); name == "session" {
			own.cookie = value
			n++
		}
	}
	check(n == 1)
	var buf [64]byte
	own.key = sha256.Sum256(append(buf[:0], own.cookie...))
	own.guard.mu.Lock()
	own.session = own.guard.sessions[own.key]
	alive := own.session != nil && own.now < own.session.expires && own.now < own.session.seen+int64(idle)
	own.guard.mu.Unlock()
	if !alive {
		return false
	}
	var err error
	own.user, err = find(r.Context(), own.session.user)
	return err == nil && own.user.IsActive()
}

// login logs in the user of the request, and stores the site's values.
func (g *checkingGuard) login(w http.ResponseWriter, r *http.Request) {
	own := r.Context().Value(g).(*checkingState)
	own.logIn(userLoggingIn(r))
	session := sessions.NewSession(nil, "session")
	for k, v := range values {
		session.Values[k] = v
	}
	own.store(session.Values)
	page(w, r)
}

func (own *checkingState) logIn(u *user) {
	own.mu.Lock()
	defer own.mu.Unlock()
	g, now := own.guard, time.Now()
	var err error
	own.user, err = find(own, u.id)
	check(err == nil && own.user.IsActive())
	var key [sha256.Size]byte
	own.cookie, key = g.newToken()
	own.session = &leastSession{user: u.id, seen: now.UnixNano(), expires: now.Add(absolute).UnixNano(), details: store.Session{
		Key:         key,
		ID:          rand.Text(),
		Owner:       "user:" + u.id,
		Created:     store.TimeOf(now),
		IdleTimeout: idle,
		Client:      useragent.Summary(own.http.UserAgent()),
		Address:     own.http.RemoteAddr,
	}}
	g.add(own.session)
	hash := sha256.Sum256([]byte(own.session.details.ID))
	g.log.LogAttrs(own, slog.LevelInfo, "sessionguard: logged in",
		slog.Group("event", "name", "sessionguard.logged_in"),
		slog.Group("user", "id", u.id),
		slog.Group("session", "id", hex.EncodeToString(hash[:8])),
		slog.Group("client", "address", own.session.details.Address),
		slog.Group("http", slog.Group("request", "method", own.http.Method)),
		slog.Group("url", "path", own.http.URL.Path))
}

// add stores a new session, and removes others that have expired.
func (g *checkingGuard) add(s *leastSession) {
	if g.memory != nil {
		s.details.Expires = store.Time(s.expires / int64(time.Millisecond))
		_, err := g.memory.Create(context.Background(), store.Record{Session: &s.details, LastSeen: s.details.Created}, store.Limit{})
		check(err == nil)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgetExpired(s.seen)
	g.sessions[s.details.Key] = s
	g.byUser[s.details.Owner] = append(g.byUser[s.details.Owner], s)
	g.all = append(g.all, s)
}

// save stores the values of a session, whose login is the only one to have it so far.
func (g *checkingGuard) save(s *leastSession, values []byte) {
	if g.memory != nil {
		saved := s.details
		saved.Values = values
		saved.Version++
		check(g.memory.Save(context.Background(), store.Record{Session: &saved}) == nil)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s.details.Values = values
}

// forgetExpired looks at the next few sessions, as many as [store.Memory] does, and removes those
// that have expired. The caller has locked g.mu.
func (g *checkingGuard) forgetExpired(now int64) {
	for n := 0; n < 8 && len(g.all) > 0; n++ {
		g.looked = (g.looked + 1) % len(g.all)
		s := g.all[g.looked]
		if now < min(s.expires, s.seen+int64(idle)) {
			continue
		}
		last := len(g.all) - 1
		g.all[g.looked], g.all = g.all[last], g.all[:last]
		delete(g.sessions, s.details.Key)
		owner := s.details.Owner
		g.byUser[owner] = slices.DeleteFunc(g.byUser[owner], func(other *leastSession) bool { return other == s })
	}
}

// store stores values in the session, and sets the cookie.
func (own *checkingState) store(m map[any]any) {
	own.mu.Lock()
	defer own.mu.Unlock()
	encoded, err := codec.Encode(m, nil)
	check(err == nil)
	own.guard.save(own.session, codec.Bag{"session": encoded}.Marshal())
	http.SetCookie(own.w, &http.Cookie{Name: "session", Value: own.cookie, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// end ends a request whose handler has returned.
func (own *checkingState) end() {
	own.mu.Lock()
	defer own.mu.Unlock()
	own.now = time.Now().UnixNano()
	own.touch()
	own.forbidCaching()
}

// commit is called before the response begins.
func (own *checkingState) commit() {
	if own.committed {
		return
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	own.committed = true
	own.touch()
	own.forbidCaching()
}

func (own *checkingState) touch() {
	if own.session != nil {
		own.guard.mu.Lock()
		defer own.guard.mu.Unlock()
		own.session.seen = max(own.session.seen, own.now)
	}
}

var noStoreNames = [...]string{"Cache-Control", "Pragma", "Expires", "X-Accel-Expires", "Vary"}

// forbidCaching deletes every header that governs caching and that it has not set itself.
func (own *checkingState) forbidCaching() {
	h := own.w.Header()
	kept := 0
	for name, values := range h {
		i := slices.Index(noStoreNames[:], name)
		switch {
		case i >= 0:
			if values[0] == own.noStore[min(i, 3)] {
				kept++
			}
		case strings.EqualFold(name, "Vary"), strings.HasSuffix(http.CanonicalHeaderKey(name), "-Control"):
			delete(h, name)
		}
	}
	if kept == len(noStoreNames) {
		return
	}
	own.noStore = [...]string{"no-store, no-cache, must-revalidate, private", "no-cache", "0", "Cookie"}
	h["Cache-Control"] = own.noStore[0:1:1]
	h["Pragma"] = own.noStore[1:2:2]
	h["Expires"] = own.noStore[2:3:3]
	h["X-Accel-Expires"] = own.noStore[2:3:3]
	h["Vary"] = own.noStore[3:4:4]
}

func (own *checkingState) Header() http.Header { return own.w.Header() }

func (own *checkingState) WriteHeader(status int) {
	own.commit()
	own.w.WriteHeader(status)
}

func (own *checkingState) Write(b []byte) (int, error) {
	own.commit()
	return own.w.Write(b)
}

func (own *checkingState) Deadline() (time.Time, bool) { return own.parent.Deadline() }
func (own *checkingState) Done() <-chan struct{}       { return own.parent.Done() }
func (own *checkingState) Err() error                  { return own.parent.Err() }

func (own *checkingState) Value(key any) any {
	if key == any(own.guard) {
		return own
	}
	return own.parent.Value(key)
}
