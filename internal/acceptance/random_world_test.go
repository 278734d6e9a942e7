package acceptance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// A lab runs programs one after the other, behind the same two guards.
type lab struct {
	*world
	memories       [2]*store.Memory
	guards         [2]*sessionguard.Guard[*user] // one with a *store.Memory, one with a remote backend
	programs, naps int
	turns          atomic.Int64
}

func newLab() *lab {
	l := &lab{}
	for i := range l.guards {
		l.memories[i] = store.NewMemory()
		config := sessionguard.Config[*user]{
			FindUser: l.findUser, Keys: testKeys, Backend: l.memories[i], CookieName: sessionCookie, RememberFor: rememberFor,
			MaxSessions: func(*user) store.Limit { return l.p.limit },
			OnEvent:     l.onEvent,
			Logger:      slog.New(labLog{slog.DiscardHandler, l}),
		}
		if i == 1 {
			config.Backend = &faultyBackend{l.memories[i], l}
		}
		var err error
		if l.guards[i], err = sessionguard.New(config); err != nil {
			panic(err)
		}
	}
	return l
}

const (
	clients     = 3
	rememberFor = 14 * 24 * time.Hour
	freshFor    = 40 * time.Minute // longer than it takes to revive a session
)

// A world is what a program has done so far: the browsers, and all that is known of
// sessions from the calls of the guard and the contents of the backend.
type world struct {
	p        *program
	requests int
	guard    *sessionguard.Guard[*user]
	memory   *store.Memory
	clients  [clients]*client

	mu         sync.Mutex
	users      [2]user // as they are now
	running    []*exchange
	sessions   map[string]*modelSession    // by public ID
	byKey      map[store.Key]*modelSession // every key that a session has had
	replaced   map[store.Key]bool          // keys that a login in the same session has replaced
	tokens     map[string]bool             // every session cookie that a response has set
	ordinals   map[store.Key]int
	kept       []keptRequest
	unfinished []*modelSession // that should have ended, but for a fault
	wrong      string          // the first promise that was broken
	faultAt    store.Time      // when a call last failed
	reportedAt time.Time       // when a failure was last in the log or the events
}

// A modelSession is a session as the test knows it.
type modelSession struct {
	store.Record            // as it was when it was last seen in the backend
	user         int        // index of its user
	stamp        string     // the user's at the login
	login, seen  store.Time // its last login and activity
	remembered   store.Time // until when it may be revived
	ends         store.Time // its absolute timeout
	by           *exchange  // whose login it is of
	dead         string     // why nobody may use it any more
	gone         bool       // it is no longer in the backend
	unreachable  *exchange  // in which a fault kept the guard from finding it
	excused      bool       // that it lives although no browser has its cookie
}

// run runs a program and returns the promise that was broken, if any.
func (l *lab) run(p *program) string {
	// What the program before it has left to timers comes to its end.
	time.Sleep(time.Until(time.Now().Truncate(time.Hour).Add(2 * time.Hour)))
	l.turn()
	defer l.turn()
	l.naps = 0
	l.programs++
	i := 0
	if p.remote {
		i = 1
	}
	l.world = &world{
		p: p, guard: l.guards[i], memory: l.memories[i],
		sessions: map[string]*modelSession{}, byKey: map[store.Key]*modelSession{}, replaced: map[store.Key]bool{},
		tokens: map[string]bool{}, ordinals: map[store.Key]int{},
	}
	l.users = [2]user{
		{ID: fmt.Sprint("ada", l.programs), Stamp: "0", Roles: []string{"Engineer"}},
		{ID: fmt.Sprint("grace", l.programs), Stamp: "0", Roles: []string{"Engineer", "Admin"}},
	}
	for i := range l.clients {
		l.clients[i] = &client{jar: map[string]string{}, got: map[store.Key]bool{}}
	}
	for _, v := range p.visits {
		time.Sleep(v.after)
		l.serve(v, false)
	}
	l.checkUnfinished()
	l.probe()
	for _, u := range l.users {
		records, _ := l.memories[i].ByOwner(context.Background(), ownerOf(u.ID), "", store.MaxPage)
		for _, rec := range records {
			_, _ = l.memories[i].Delete(context.Background(), rec.Key, store.ReasonLoggedOut)
		}
	}
	return l.wrong
}

// nap moves the clock. No two goroutines ever wake at the same moment, which makes
// programs deterministic.
func (e *exchange) nap(d time.Duration) {
	if e.inCall {
		return // the clock stands still while a goroutine waits for a mutex
	}
	e.mu.Lock()
	e.naps++
	d += time.Duration(e.naps % 1e6)
	e.mu.Unlock()
	e.turn()
	time.Sleep(d)
	e.turn()
}

// turn tells the race detector what the clock ensures: of the goroutines of a program, one
// runs at a time. It is called wherever one may have waited for another.
func (l *lab) turn() { l.turns.Add(1) }

// breaks records that a promise is broken.
func (w *world) breaks(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
	}
}

func ownerOf(userID string) string { return sessionCookie + "=" + userID }

func (l *lab) findUser(ctx context.Context, id string) (*user, error) {
	if e := exchangeOf(ctx); e != nil {
		var returned bool
		defer func() {
			if !returned && !e.ending && !e.began && !e.committed {
				e.userFailed = true
			}
		}()
		if err := e.call("FindUser", store.Key{}, "", func() error { return nil }); err != nil {
			return nil, err
		}
		returned = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, u := range l.users {
		if u.ID == id {
			if e := exchangeOf(ctx); e != nil && e.session != nil && e.session.user == i && !u.Inactive && u.Stamp == e.session.stamp {
				e.userMay = true // others may have changed the user during this very call
			}
			return &u, nil
		}
	}
	return nil, sessionguard.ErrNoUser
}

// onEvent notes which sessions are undone, and that a failure is reported.
func (l *lab) onEvent(ctx context.Context, e sessionguard.Event) {
	l.turn()
	defer l.turn()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch x := exchangeOf(ctx); {
	case e.Name == sessionguard.EventUnavailable && x != nil:
		x.reported, l.reportedAt = true, time.Now()
	case e.Reason == store.ReasonLoginIncomplete && x != nil:
		x.undone[e.SessionHash] = true
	case e.Name == sessionguard.EventTheftSuspected && x != nil && len(x.sent) == 1 && l.replaced[keyOf(x.sent[0])] && l.wrong == "":
		l.wrong = "a token that a login has replaced ends the session as if it were stolen"
	case e.Name == sessionguard.EventTheftSuspected && x != nil && l.wrong == "" && slices.ContainsFunc(x.sent, func(value string) bool { return l.wasCurrent(value, e.SessionHash) }):
		l.wrong = "a superseded token beside the current one ends the session as if it were stolen"
	}
}

// labLog notes that an error is reported.
type labLog struct {
	slog.Handler
	*lab
}

func (labLog) Enabled(context.Context, slog.Level) bool { return true }

func (l labLog) Handle(_ context.Context, r slog.Record) error {
	l.turn()
	defer l.turn()
	if l.world == nil || r.Level < slog.LevelError {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reportedAt = time.Now()
	for _, e := range l.running {
		e.reported = true
	}
	return nil
}

// faultyBackend is a remote backend whose calls may have faults.
type faultyBackend struct {
	*store.Memory
	lab *lab
}

var errFault = errors.New("an injected fault")

// call makes one call of the backend or of FindUser, with the fault that the visit has for
// it.
func (e *exchange) call(method string, key store.Key, owner string, do func() error) error {
	if e == nil {
		return do()
	}
	e.turn()
	f := e.faultOf(method, key)
	if f != nil && f.how != faultMeanwhile {
		e.faultAt = store.TimeOf(time.Now())
	}
	switch {
	case f == nil:
		return do()
	case f.how == faultPanic:
		panic(errFault)
	case f.how == faultMeanwhile:
		e.sync()
		for _, other := range f.meaning {
			e.lab.serve(other, true)
		}
		return do()
	case f.how == faultBefore:
		e.prevented(method, key, owner)
		return errFault
	}
	if err := do(); err != nil {
		return err
	}
	return errFault
}

func (e *exchange) faultOf(method string, key store.Key) *fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	ordinal, ok := e.ordinals[key]
	if !ok {
		ordinal = len(e.ordinals)
		e.ordinals[key] = ordinal
	}
	id := fmt.Sprint(method, ordinal)
	nth := e.calls[id]
	e.calls[id]++
	for _, f := range e.v.faults {
		if f.call == method && f.nth == nth && (f.keys == 2 || f.keys == ordinal%2) {
			if f.how == faultMeanwhile && e.calls["meanwhile"] > 0 {
				return nil // others who keep logging in could keep this one from ending
			}
			if f.how == faultMeanwhile {
				e.calls["meanwhile"]++
			}
			return f
		}
	}
	return nil
}

// prevented notes what could not be found or deleted.
func (e *exchange) prevented(method string, key store.Key, owner string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if method == "Delete" {
		e.undeletable[key] = true
	}
	for _, s := range e.sessions {
		if s.Owner == owner || e.byKey[key] == s {
			s.unreachable = e
		}
	}
}

// undeleted notes which sessions may not have been deleted.
func (e *exchange) undeleted(ends []store.End) {
	e.sync()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, end := range ends {
		if s := e.sessions[end.ID]; s != nil {
			s.unreachable = e
			e.undeletable[s.Key] = true
		}
	}
}

func (b *faultyBackend) Create(ctx context.Context, r store.Record, limit store.Limit) (ended []store.Record, err error) {
	err = exchangeOf(ctx).call("Create", r.Key, "", func() error {
		ended, err = b.Memory.Create(ctx, r, limit)
		return err
	})
	if errors.Is(err, errFault) {
		ended = nil
	}
	return ended, err
}

func (b *faultyBackend) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	return exchangeOf(ctx).call("Replace", old, "", func() error { return b.Memory.Replace(ctx, old, version, r) })
}

func (b *faultyBackend) Load(ctx context.Context, key store.Key) (rec store.Record, err error) {
	err = exchangeOf(ctx).call("Load", key, "", func() error {
		rec, err = b.Memory.Load(ctx, key)
		return err
	})
	return rec, err
}

func (b *faultyBackend) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	return exchangeOf(ctx).call("Touch", key, "", func() error { return b.Memory.Touch(ctx, key, seen) })
}

func (b *faultyBackend) Save(ctx context.Context, r store.Record) error {
	return exchangeOf(ctx).call("Save", r.Key, "", func() error { return b.Memory.Save(ctx, r) })
}

func (b *faultyBackend) Delete(ctx context.Context, key store.Key, reason store.Reason) (rec store.Record, err error) {
	err = exchangeOf(ctx).call("Delete", key, "", func() error {
		rec, err = b.Memory.Delete(ctx, key, reason)
		return err
	})
	return rec, err
}

func (b *faultyBackend) LoadByID(ctx context.Context, owner, id string) (rec store.Record, err error) {
	err = exchangeOf(ctx).call("LoadByID", store.Key{}, owner, func() error {
		rec, err = b.Memory.LoadByID(ctx, owner, id)
		return err
	})
	return rec, err
}

func (b *faultyBackend) ByOwner(ctx context.Context, owner, after string, max int) (records []store.Record, err error) {
	err = exchangeOf(ctx).call("ByOwner", store.Key{}, owner, func() error {
		records, err = b.Memory.ByOwner(ctx, owner, after, max)
		return err
	})
	return records, err
}

func (b *faultyBackend) DeleteByID(ctx context.Context, ends []store.End) (ended []store.Record, err error) {
	e := exchangeOf(ctx)
	err = e.call("DeleteByID", store.Key{}, "", func() error {
		ended, err = b.Memory.DeleteByID(ctx, ends)
		return err
	})
	if errors.Is(err, errFault) {
		ended = nil
		e.undeleted(ends)
	}
	return ended, err
}
