package storetest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

func TestMemoryKeepsEveryPromise(t *testing.T) {
	Run(t, func(*testing.T) store.Backend { return store.NewMemory() })
}

func TestMemoryKeepsEveryPromiseInASynctestBubble(t *testing.T) {
	for _, p := range promises {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { p.check(t, store.NewMemory()) })
		})
	}
}

func TestPlainBackendKeepsEveryPromise(t *testing.T) {
	Run(t, func(*testing.T) store.Backend { return newPlain("") })
}

// Every promise is seen broken by a backend with one mistake, and every mistake
// is found.
func TestEveryMistakeIsFound(t *testing.T) {
	seen := map[string]bool{}
	for _, mistake := range mistakes {
		t.Run(mistake, func(t *testing.T) {
			tried := promises
			if mistake == "save: writes to what was loaded" {
				tried = records // in a race, the race detector finds it and fails this test
			}
			var broken []string
			for _, p := range tried {
				if failure := failureOf(t.Context(), p, newPlain(mistake)); failure != "" {
					seen[p.name] = true
					broken = append(broken, p.name)
				}
			}
			require.NotEmpty(t, broken, "the suite passes a backend with this mistake")
			t.Logf("breaks:\n\t%s", strings.Join(broken, "\n\t"))
		})
	}
	for _, p := range promises {
		require.True(t, seen[p.name], "no mistake breaks the promise %q: can its check fail?", p.name)
	}
}

// failureOf runs a check as the testing package would, and returns its complaint.
func failureOf(ctx context.Context, p promise, b store.Backend) string {
	r := &recorder{ctx: ctx}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.check(r, b)
	}()
	<-done
	return r.failure
}

type recorder struct {
	ctx     context.Context
	failure string
}

func (r *recorder) Errorf(format string, args ...any) { r.failure += fmt.Sprintf(format, args...) }
func (r *recorder) FailNow()                          { runtime.Goexit() }
func (r *recorder) Helper()                           {}
func (r *recorder) Context() context.Context          { return r.ctx }

var mistakes = []string{
	"create: loses the stamp", "create: cuts values at 64 KB", "create: ends values at a zero byte",
	"create: cuts the time to seconds", "create: refuses an owner that is not ASCII", "create: refuses empty values",
	"create: ends the sessions of an owner of the same prefix", "create: starts at version 1",
	"create: keys by 31 bytes",
	"load: touches", "load: fails past the end", "load: forgets at the end",
	"touch: revives", "touch: looks at the clock", "touch: upserts", "touch: moves back", "touch: raises the version", "touch: is checked, then done",
	"save: upserts", "save: ignores the version", "save: writes to what was loaded", "save: loses a touch",
	"save: is checked, then done",
	"replace: creates what is not there", "replace: ignores the version", "replace: keeps the old",
	"replace: stores before it checks", "replace: is checked, then done",
	"replace: does not tell where to", "replace: forgets where it moved", "delete: forgets where to", "delete: follows",
	"delete: is soft", "delete: fails twice", "delete: leaves the index",
	"by owner: ignores case", "by owner: ignores trailing space", "by owner: matches a prefix", "by owner: fails on strangers",
	"by owner: has stale records", "by owner: forgets at the end",
	"limit: is one too high", "limit: is one too low", "limit: counts the dead", "limit: counts the deleted", "limit: ends the newest",
	"limit: ends the first created", "limit: returns nothing", "limit: ends one at most",
	"limit: stores before it refuses", "limit: is checked, then done", "limit: ends without refusing",
}

// plain is the shortest Backend, with room for one mistake.
type plain struct {
	mistake  string
	mu       sync.Mutex
	sessions map[store.Key]store.Record
	moved    map[store.Key]store.Key
	created  []store.Record // all there ever were, for mistakes
}

func newPlain(mistake string) *plain {
	return &plain{mistake: mistake, sessions: map[store.Key]store.Record{}, moved: map[store.Key]store.Key{}}
}

func (b *plain) has(mistake string) bool { return b.mistake == mistake }

// gap lets the others in between a check and what it was for.
func (b *plain) gap(operation string) {
	if b.has(operation + ": is checked, then done") {
		b.mu.Unlock()
		for range 100 {
			runtime.Gosched()
		}
		b.mu.Lock()
	}
}

func (b *plain) key(key store.Key) store.Key {
	if b.has("create: keys by 31 bytes") {
		key[31] = 0
	}
	return key
}

func (b *plain) Create(_ context.Context, r store.Record, limit store.Limit) (ended []store.Record, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := *r.Session
	switch i := strings.IndexByte(string(s.Values), 0); {
	case b.has("create: loses the stamp"):
		s.Stamp = ""
	case b.has("create: cuts values at 64 KB"):
		s.Values = s.Values[:min(len(s.Values), 64<<10)]
	case b.has("create: ends values at a zero byte") && i >= 0:
		s.Values = s.Values[:i]
	case b.has("create: cuts the time to seconds"):
		r.LastSeen -= r.LastSeen % 1000
	case b.has("create: starts at version 1"):
		s.Version = 1
	case b.has("create: refuses an owner that is not ASCII") && strings.ContainsFunc(s.Owner, func(r rune) bool { return r > 127 }),
		b.has("create: refuses empty values") && len(s.Values) == 0:
		return nil, fmt.Errorf("refused")
	}
	r.Session = &s
	if b.has("limit: stores before it refuses") {
		b.sessions[r.Key] = r
	}
	live := slices.DeleteFunc(b.owned(s.Owner, "create: ends the sessions of an owner of the same prefix"), func(r store.Record) bool {
		return r.End() <= store.TimeOf(time.Now()) && !b.has("limit: counts the dead") || r.Key == s.Key
	})
	if b.has("limit: counts the deleted") {
		live = slices.DeleteFunc(slices.Clone(b.created), func(r store.Record) bool { return r.Owner != s.Owner })
	}
	if !b.has("limit: ends the first created") {
		slices.SortFunc(live, func(x, y store.Record) int { return int(x.LastSeen - y.LastSeen) })
	}
	if b.has("limit: ends the newest") {
		slices.Reverse(live)
	}
	if b.has("limit: is one too high") {
		limit.Max++
	}
	if b.has("limit: is one too low") {
		limit.Max = max(1, limit.Max-1)
	}
	b.gap("limit")
	if excess := len(live) + 1 - limit.Max; limit.Max > 0 && excess > 0 {
		if limit.Refuse && !b.has("limit: ends without refusing") {
			return nil, store.ErrLimit
		}
		if b.has("limit: ends one at most") {
			excess = 1
		}
		for _, r := range live[:excess] {
			delete(b.sessions, r.Key)
			ended = append(ended, r)
		}
		if b.has("limit: returns nothing") {
			ended = nil
		}
	}
	b.sessions[b.key(r.Key)] = r
	b.created = append(b.created, r)
	return ended, nil
}

func (b *plain) Replace(_ context.Context, old store.Key, version uint64, r store.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.has("replace: stores before it checks") {
		b.sessions[r.Key] = r
	}
	was, ok := b.sessions[b.key(old)]
	if to, moved := b.moved[b.key(old)]; moved && !b.has("replace: forgets where it moved") {
		return &store.MovedError{To: to}
	}
	if !ok && !b.has("replace: creates what is not there") {
		return store.ErrNotFound
	}
	if ok && was.Version != version && !b.has("replace: ignores the version") {
		return store.ErrConflict
	}
	b.gap("replace")
	b.sessions[b.key(r.Key)] = r
	if !b.has("replace: keeps the old") {
		delete(b.sessions, b.key(old))
	}
	if !b.has("replace: does not tell where to") {
		b.moved[b.key(old)] = r.Key
	}
	return nil
}

func (b *plain) Load(_ context.Context, key store.Key) (store.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.sessions[b.key(key)]
	if !ok {
		return r, store.ErrNotFound
	}
	if b.has("load: touches") {
		r.LastSeen++
		b.sessions[key] = r
	}
	if b.has("load: forgets at the end") && r.End() <= store.TimeOf(time.Now()) {
		return r, store.ErrNotFound
	}
	if b.has("load: fails past the end") && r.End() <= store.TimeOf(time.Now()) {
		return r, fmt.Errorf("expired")
	}
	return r, nil
}

func (b *plain) Touch(_ context.Context, key store.Key, seen store.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.sessions[b.key(key)]
	if !ok && b.has("touch: upserts") {
		r.Session = &store.Session{Key: key}
	} else if !ok {
		return store.ErrNotFound
	}
	if seen >= r.End() && !b.has("touch: revives") && !b.has("touch: upserts") ||
		b.has("touch: looks at the clock") && r.End() <= store.TimeOf(time.Now()) {
		return store.ErrNotFound
	}
	if b.has("touch: raises the version") {
		s := *r.Session
		s.Version++
		r.Session = &s
	}
	b.gap("touch")
	if seen > r.LastSeen || b.has("touch: moves back") {
		r.LastSeen = seen
	}
	b.sessions[b.key(key)] = r
	return nil
}

func (b *plain) Save(_ context.Context, key store.Key, version uint64, values []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.sessions[b.key(key)]
	if !ok && b.has("save: upserts") {
		r.Session = &store.Session{Key: key, Version: version}
	} else if !ok {
		return store.ErrNotFound
	}
	if r.Version != version && !b.has("save: ignores the version") {
		return store.ErrConflict
	}
	b.gap("save")
	s := *r.Session
	if b.has("save: writes to what was loaded") {
		defer func() { *r.Session = s }()
	}
	if b.has("save: loses a touch") {
		for _, c := range b.created {
			if c.Key == key {
				r.LastSeen = c.LastSeen
			}
		}
	}
	s.Version++
	s.Values = values
	b.sessions[b.key(key)] = store.Record{Session: &s, LastSeen: r.LastSeen}
	return nil
}

func (b *plain) Delete(_ context.Context, key store.Key, _ store.Reason) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.sessions[b.key(key)]; !ok && b.has("delete: fails twice") {
		return store.ErrNotFound
	}
	if to, moved := b.moved[b.key(key)]; moved {
		if b.has("delete: forgets where to") {
			delete(b.moved, b.key(key))
		}
		if b.has("delete: follows") {
			delete(b.sessions, b.key(to))
		}
		return &store.MovedError{To: to}
	}
	if !b.has("delete: is soft") {
		delete(b.sessions, b.key(key))
	}
	return nil
}

func (b *plain) ByOwner(_ context.Context, owner string) ([]store.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	owned := b.owned(owner, "by owner: matches a prefix")
	if b.has("by owner: forgets at the end") {
		owned = slices.DeleteFunc(owned, func(r store.Record) bool { return r.End() <= store.TimeOf(time.Now()) })
	}
	if b.has("by owner: fails on strangers") && len(owned) == 0 {
		return nil, store.ErrNotFound
	}
	return owned, nil
}

func (b *plain) owned(owner, prefixes string) (owned []store.Record) {
	candidates := b.created
	if !b.has("delete: leaves the index") && !b.has("by owner: has stale records") && !b.has("limit: ends the first created") {
		candidates = nil
		for _, r := range b.sessions {
			candidates = append(candidates, r)
		}
	}
	for _, r := range candidates {
		now, ok := b.sessions[b.key(r.Key)]
		if !ok && !b.has("delete: leaves the index") {
			continue
		}
		if ok && !b.has("by owner: has stale records") {
			r = now
		}
		if r.Owner == owner ||
			b.has(prefixes) && strings.HasPrefix(r.Owner, owner) ||
			b.has("by owner: ignores case") && strings.EqualFold(r.Owner, owner) ||
			b.has("by owner: ignores trailing space") && strings.TrimRight(r.Owner, " ") == strings.TrimRight(owner, " ") {
			owned = append(owned, r)
		}
	}
	return owned
}
