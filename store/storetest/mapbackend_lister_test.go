package storetest

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/sessionguard-go/sessionguard/store"
)

func (b *mapWatcher) All(ctx context.Context, realm string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		if b.makes("all: goes on after the loop") {
			inner := yield
			yield = func(r store.Record, err error) bool { inner(r, err); return true }
		}
		b.hold(+1)
		defer b.hold(-1)
		var last, page []store.Record
		all := b.ofRealm(realm)
		for n := 0; ; n += len(page) {
			if err := b.errOfAll(ctx, all); err != nil && !(yield(store.Record{}, err) && b.makes("all: goes on after an error")) {
				return
			} else if ctx.Err() != nil && b.makes("all: ends without an error if the context does") {
				return
			}
			if page = b.pageAfter(realm, last, n); len(page) == 0 {
				return
			}
			last = page[len(page)-1:]
			if b.makes("all: the last session of a page twice") && len(page) == store.MaxPage {
				page = append(page, last...)
			}
			for _, r := range page {
				if !yield(b.asListed(r), nil) {
					return
				}
			}
			if b.makes("all: only a page") {
				return
			}
		}
	}
}

// hold changes the number of loops over All, where it is a mistake that others notice them.
func (b *mapWatcher) hold(change int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.makes("all: is locked meanwhile") || b.makes("all: holds a connection meanwhile") {
		b.loops += change
	}
}

// busyErr returns the error of a call that a loop over All keeps from being carried out.
func (b *mapBackend) busyErr() error {
	if b.makes("all: is locked meanwhile") && b.loops > 0 || b.makes("all: holds a connection meanwhile") && b.loops > 10 {
		return errors.New("busy")
	}
	return nil
}

func (b *mapWatcher) errOfAll(ctx context.Context, all []store.Record) error {
	switch {
	case b.makes("all: fails for an unknown realm") && len(all) == 0:
		return errors.New("no such realm")
	case b.makes("all: ends without an error if the context does"):
		return nil
	case b.makes("all: returns ErrNotFound if the context ends") && ctx.Err() != nil:
		return store.ErrNotFound
	}
	return ctx.Err()
}

// placeOf returns where a session is in the order of All.
func (b *mapBackend) placeOf(r store.Record) string {
	if b.makes("all: in the order of keys") {
		return string(r.Key[:])
	}
	return r.Owner + "\x00\x00" + r.ID
}

// pageAfter returns a page of a realm's sessions, after those in last, or after n.
func (b *mapWatcher) pageAfter(realm string, last []store.Record, n int) []store.Record {
	all := b.ofRealm(realm)
	if b.makes("all: skips by number") {
		return all[min(n, len(all)):min(n+store.MaxPage, len(all))]
	}
	all = slices.DeleteFunc(all, func(r store.Record) bool { return len(last) > 0 && b.placeOf(r) <= b.placeOf(last[0]) })
	all = all[:min(store.MaxPage, len(all))]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pauseIf("all: checks and acts in two steps")
	b.pauseIf("all: takes away what begins meanwhile")
	if b.makes("all: takes away what begins meanwhile") && len(last) == 0 {
		maps.DeleteFunc(b.sessions, func(_ store.Key, r store.Record) bool {
			return store.RealmOf(r.Owner) == realm && !slices.Contains(idsOf(all), r.ID)
		})
	}
	return slices.DeleteFunc(all, func(r store.Record) bool {
		return b.makes("all: checks and acts in two steps") && b.sessions[r.Key].Session == nil
	})
}

// ofRealm returns the sessions of a realm in the order of All.
func (b *mapWatcher) ofRealm(realm string) (all []store.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	owners := map[string]int{}
	for _, r := range b.sessions {
		if b.isOfRealm(r.Owner, realm) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(x, y store.Record) int { return cmp.Compare(b.placeOf(x), b.placeOf(y)) })
	return slices.DeleteFunc(all, func(r store.Record) bool {
		owners[r.Owner]++
		if b.makes("all: removes sessions past the deadline") && hasPassed(r.Deadline()) {
			delete(b.sessions, r.Key)
		}
		return b.makes("all: one session of an owner") && owners[r.Owner] > 1 ||
			b.makes("all: only a page of an owner") && owners[r.Owner] > store.MaxPage ||
			b.makes("all: omits sessions past the deadline") && hasPassed(r.Deadline()) ||
			b.makes("all: omits sessions past GoneAt") && hasPassed(r.GoneAt())
	})
}

func (b *mapBackend) isOfRealm(owner, realm string) bool {
	switch {
	case b.makes("all: matches a prefix"):
		return strings.HasPrefix(owner, realm)
	case b.makes("all: ignores case"):
		return strings.EqualFold(store.RealmOf(owner), realm)
	case b.makes("all: finds the realm within an owner"):
		return strings.Contains(owner, realm)
	case b.makes("all: ends the realm at the last separator"):
		return owner[:strings.LastIndexAny(owner, "=:/")+1] == realm
	case b.makes("all: ends the owner at a zero byte") && strings.Contains(owner, "\x00"),
		b.makes("all: omits long owners") && len(owner) > 2048:
		return false
	}
	return store.RealmOf(owner) == realm
}

// asListed returns a session as All yields it.
func (b *mapBackend) asListed(r store.Record) store.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.makes("all: yields sessions as they were created") && b.asCreated(r.Key).Owner != "":
		return b.asCreated(r.Key)
	case b.makes("all: loses the details"):
		s := *r.Session
		s.Details = nil
		r.Session = &s
	}
	return r
}

func (b *mapWatcher) Count(ctx context.Context, realm string) (n int, err error) {
	all := b.ofRealm(realm)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.busyErr(); err != nil {
		return 0, err
	}
	b.pauseIf("count: checks and acts in two steps")
	owners := map[string]bool{}
	for _, r := range all {
		_, exists := b.sessions[r.Key]
		owners[r.Owner] = true
		if hasPassed(r.GoneAt()) && !b.makes("count: includes sessions past GoneAt") ||
			hasPassed(r.Deadline()) && b.makes("count: omits sessions past the deadline") ||
			!exists && b.makes("count: checks and acts in two steps") {
			continue
		}
		n++
	}
	for _, r := range b.created {
		_, exists := b.sessions[r.Key]
		_, moved := b.moved[r.Key]
		if store.RealmOf(r.Owner) != realm || exists {
			continue
		}
		if b.makes("count: includes what has ended") && !moved || b.makes("count: includes what has moved") && moved ||
			b.makes("count: includes what a limit has ended") && b.reasons[r.Key] == store.ReasonTooManySessions {
			n++
		}
	}
	switch {
	case b.makes("count: all realms"):
		return len(b.sessions), nil
	case b.makes("count: owners"):
		n = len(owners)
	case b.makes("count: at most a page"):
		n = min(n, store.MaxPage)
	case b.makes("count: fails if there are none") && n == 0:
		return 0, store.ErrNotFound
	case b.makes("count: returns what it has when the context ends") && ctx.Err() != nil:
		return n / 2, nil
	}
	return n, nil
}
