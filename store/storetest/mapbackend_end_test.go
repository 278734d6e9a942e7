package storetest

import (
	"context"
	"errors"

	"github.com/sessionguard-go/sessionguard/store"
)

func (b *mapBackend) Replace(_ context.Context, old store.Key, version uint64, r store.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.makes("replace: stores before it checks") {
		b.sessions[r.Key] = r
	}
	was, ok := b.sessions[b.key(old)]
	if !ok && !b.makes("replace: creates a missing session") {
		if b.makes("replace: returns no MovedError") {
			return store.ErrNotFound
		}
		return b.lookupErr(old)
	}
	if ok && was.Version != version && !b.makes("replace: ignores the version") ||
		r.Version <= version && b.makes("replace: wants a later version") {
		return store.ErrConflict
	}
	if ok && hasPassed(was.Deadline()) && b.makes("replace: refuses past the deadline") {
		return store.ErrNotFound
	}
	if r.Key.Group() != old.Group() {
		return errors.New("the keys are not of the same group")
	}
	b.pauseIf("replace: checks and acts in two steps")
	switch s := *r.Session; {
	case ok && b.makes("replace: keeps the old details"):
		s.Details = was.Details
		r.Session = &s
	case b.makes("replace: increments the version"):
		s.Version = version + 1
		r.Session = &s
	case b.makes("replace: moves LastSeen"):
		r.LastSeen++
	case b.makes("watch: reports a move"):
		b.notify(was, store.ReasonReplaced)
	}
	if !b.makes("replace: keeps the old session") {
		delete(b.sessions, b.key(old))
	}
	b.pauseIf("replace: deletes and stores in two steps")
	b.sessions[b.key(r.Key)] = r
	if !b.makes("replace: leaves no move marker") &&
		(!b.makes("replace: leaves a move marker only for revivals") || r.Revived()) {
		moved := store.MovedError{To: r.Key, Owner: r.Owner, ID: r.ID, Revived: r.Revived()}
		if b.makes("replace: loses the owner in the move marker") {
			moved.Owner, moved.ID = "", ""
		}
		if b.makes("replace: loses the revival in the move marker") {
			moved.Revived = false
		}
		b.moved[b.key(old)] = moved
	}
	return nil
}

func (b *mapBackend) Delete(_ context.Context, key store.Key, reason store.Reason) (ended store.Record, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if to, moved := b.moved[b.key(key)]; moved {
		switch {
		case b.makes("delete: removes the move marker"):
			delete(b.moved, b.key(key))
		case b.makes("delete: follows moves"):
			delete(b.sessions, b.key(to.To))
		case b.makes("delete: returns the moved session"):
			ended = b.sessions[b.key(to.To)]
		case b.makes("delete: replaces the move marker by a tombstone"):
			delete(b.moved, b.key(key))
			b.reasons[b.key(key)] = reason
		}
		return ended, &to
	}
	r, ok := b.sessions[b.key(key)]
	if !ok {
		_, was := b.reasons[b.key(key)]
		switch {
		case b.makes("delete: fails if the session is gone"):
			return ended, store.ErrNotFound
		case b.makes("delete: keeps the last reason") && was,
			b.makes("delete: keeps a reason for a missing session") && !was:
			b.reasons[b.key(key)] = reason
		case b.makes("delete: returns the session twice"):
			ended = b.asCreated(key)
		case b.makes("watch: reports a missing session"):
			b.notify(b.asCreated(key), reason)
		}
		return ended, nil
	}
	b.pauseIf("delete: checks and acts in two steps")
	b.remove(r, reason)
	switch {
	case b.makes("delete: keeps no reason"):
		delete(b.reasons, b.key(key))
	case b.makes("delete: returns no session"):
		return ended, nil
	case b.makes("delete: returns the session as created"):
		return b.asCreated(key), nil
	}
	return r, nil
}

// remove ends a session: it deletes it, keeps the reason and notifies the watchers.
func (b *mapBackend) remove(r store.Record, reason store.Reason) {
	if b.makes("watch: reports before the session has ended") {
		b.notify(r, reason)
		b.pauseIf("watch: reports before the session has ended")
	}
	if !b.makes("delete: keeps the session") {
		delete(b.sessions, b.key(r.Key))
	}
	if reason.Retained() {
		b.reasons[b.key(r.Key)] = reason
	} else if b.makes("delete: keeps ReasonEnded for unretained reasons") {
		b.reasons[b.key(r.Key)] = store.ReasonEnded
	}
	if b.makes("delete: replaces an unknown reason") && reason == unknownReason {
		b.reasons[b.key(r.Key)] = store.ReasonEnded
	}
	if reason == store.ReasonTooManySessions && b.makes("watch: omits sessions that a limit ends") ||
		b.makes("watch: reports before the session has ended") {
		return
	}
	b.notify(r, reason)
}

func (b *mapWatcher) Watch(ctx context.Context, ended func(store.Ending)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	*b.watchers = append(*b.watchers, watcher{ctx, ended})
	return nil
}

func (b *mapBackend) notify(r store.Record, reason store.Reason) {
	if b.makes("watch: reports only retained reasons") && !reason.Retained() {
		return
	}
	if b.makes("watch: loses the reason") {
		reason = store.ReasonEnded
	}
	for _, w := range *b.watchers {
		if w.ctx.Err() != nil && !b.makes("watch: never stops") || b.makes("watch: reports nothing") {
			continue
		}
		w.ended(store.Ending{ID: r.ID, Reason: reason})
		if b.makes("watch: reports twice") {
			w.ended(store.Ending{ID: r.ID, Reason: reason})
		}
		if b.makes("watch: reports to one watcher") {
			return
		}
	}
}
