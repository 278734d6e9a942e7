package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/gorilla/sessions"
	"github.com/sessionguard-go/sessionguard/internal/values"
	"github.com/sessionguard-go/sessionguard/store"
)

// A view is one of gorilla's named sessions, opened by a handler. It is decoded
// when it is asked for and compared with what it was when the answer begins.
type view struct {
	session *sessions.Session
	name    string
	holders []<-chan struct{} // of contexts with an end of their own that it was given to
	base    values.Entries    // what is stored of it
	err     error             // it could not be opened, and is never saved
	saved   bool              // by the handler, which may not wait for the answer
	entries values.Entries    // what it saved
	deleted bool              // it saved with Options.MaxAge < 0
}

// errUnsaveable says that values cannot be stored: the application's mistake.
var errUnsaveable = errors.New("sessionguard: values cannot be saved")

// Get returns the values that are kept under name for whoever sends r: in the
// session of someone who is logged in, in a signed cookie for a visitor who is
// not. Within a request it is always the same [sessions.Session], and never nil.
// Several names may be in use; they share the session and its end.
//
// What is in it when the answer begins is saved, with or without Save. So are
// changes that a logged-in person's handler makes later; a visitor's come too
// late then, since they need a cookie. If the answer is 503 or 504, or a
// middleware gave r a context that ends by itself and has, only what
// Save was called for is saved: http.TimeoutHandler has given up, and its handler
// may be writing to Values still. Two requests of someone who is logged in that change different
// values both succeed; for the same value the last one counts, but flashes of
// both are kept. Of a visitor's, the cookie that arrives last counts.
//
// The type of a value is preserved; types that are not Go's own need
// [encoding/gob.Register], as with gorilla's stores. Options are not used,
// except that Save with Options.MaxAge < 0 removes everything under this name.
//
// An error means that the backend cannot be asked ([ErrUnavailable]), that the
// stored values cannot be decoded, that the answer has begun ([ErrHeadersSent])
// or that no wrapper of this guard came before ([ErrNotWrapped]). The session is
// then empty and is not saved. A cookie that was tampered with is no error.
//
// A visitor's values are signed, and encrypted if Config.Keys has an encryption
// key, but whoever has the cookie can send an old one again: keep no one-time
// secrets and no counters in it. Name and value together are limited to 4096
// bytes; the oldest flashes go first.
func (g *core) Get(r *http.Request, name string) (*sessions.Session, error) {
	st, err := g.wrapped(r)
	if err != nil {
		return sessions.NewSession(g, name), err
	}
	l := st.lock()
	defer l.unlock()
	v := l.open(r.Context(), name)
	return v.session, v.err
}

// New is the same as [Guard.Get].
func (g *core) New(r *http.Request, name string) (*sessions.Session, error) {
	return g.Get(r, name)
}

// Save reports whether the session can be saved, and makes sure of it even if
// the context of r is done before the answer begins. See [Guard.Get] for when
// it is needed, and for the errors.
func (g *core) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	st, err := g.wrapped(r)
	if err != nil {
		return err
	}
	l := st.lock()
	defer l.unlock()
	v := l.open(r.Context(), session.Name())
	if v.err != nil {
		return v.err
	}
	v.session = session // gorilla lets anyone make one with NewSession
	v.deleted = session.Options != nil && session.Options.MaxAge < 0
	entries, err := v.encode()
	if err != nil {
		return err
	}
	v.entries, v.saved = entries, true
	if !l.committed {
		return nil
	}
	if l.rec.Session == nil {
		return ErrHeadersSent
	}
	switch err := l.saveViews(); {
	case errors.Is(err, store.ErrNotFound):
		return ErrNoSession
	case err == nil, errors.Is(err, errUnsaveable):
		return err
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// open finds or makes the view of name.
func (st *locked) open(ctx context.Context, name string) *view {
	p := st.pending()
	for _, v := range p.views {
		if v.name == name {
			v.give(st, ctx)
			return v
		}
	}
	v := &view{session: sessions.NewSession(st.core, name), name: name}
	v.give(st, ctx)
	v.session.IsNew = true
	v.err = st.fill(ctx, v)
	p.views = append(p.views, v)
	return v
}

// fill decodes what is stored under the view's name.
func (st *locked) fill(ctx context.Context, v *view) error {
	if err := st.look(ctx); err != nil {
		return err
	}
	bag, err := st.bag()
	if err != nil {
		return err
	}
	entries := bag[v.name]
	if len(entries) == 0 {
		return nil
	}
	m, err := entries.Decode()
	if err != nil {
		st.core.log.Error("sessionguard: stored values cannot be decoded", "session", v.name, "error", err)
		return fmt.Errorf("sessionguard: session %q: %w", v.name, err)
	}
	v.base, v.session.Values, v.session.IsNew = entries, m, false
	return nil
}

// bag is what the named sessions are opened from.
func (st *locked) bag() (values.Bag, error) {
	p := st.pending()
	if p.bag != nil {
		return p.bag, nil
	}
	var err error
	if st.rec.Session == nil {
		// A signed cookie that does not decode is a stranger's like any other.
		p.bag, _ = values.Unmarshal(st.core.cookies.DecodeVisitor(st.http.Header))
	} else if p.bag, err = values.Unmarshal(st.rec.Values); err != nil {
		return nil, fmt.Errorf("sessionguard: stored values: %w", err)
	}
	if p.bag == nil {
		p.bag = values.Bag{}
	}
	return p.bag, nil
}

// encode is what the view is to be stored as.
func (v *view) encode() (values.Entries, error) {
	if v.deleted {
		return nil, nil
	}
	entries, err := values.Encode(v.session.Values, v.base)
	if err != nil {
		return nil, fmt.Errorf("%w: session %q: %w", errUnsaveable, v.name, err)
	}
	return entries, nil
}

// A change is what a view wants stored in place of its base.
type change struct {
	view    *view
	entries values.Entries
}

// changes are the views that differ from what is stored.
func (st *locked) changes() ([]change, error) {
	if st.slow == nil {
		return nil, nil
	}
	var all []change
	for _, v := range st.slow.views {
		if v.err != nil {
			continue
		}
		entries := v.entries
		if !st.slow.gaveUp && !v.abandoned() {
			var err error
			if entries, err = v.encode(); err != nil {
				return nil, err
			}
			v.entries = entries // what Save was called for before this is old
		} else if !v.saved {
			continue
		}
		if !entries.Equal(v.base) {
			all = append(all, change{v, entries})
		}
	}
	return all, nil
}

// give notes who else may be writing to the map. The end of the request's own
// context is no sign of that: its handler has come to the answer.
func (v *view) give(st *locked, ctx context.Context) {
	done := ctx.Done()
	for from, ok := st.slow.cuts[done]; ok; from, ok = st.slow.cuts[done] {
		done = from // the end of a session is no sign of it either
	}
	if done != st.parent.Done() && !slices.Contains(v.holders, done) {
		v.holders = append(v.holders, done)
	}
}

// abandoned says that a handler which was given up may be running still.
func (v *view) abandoned() bool {
	return slices.ContainsFunc(v.holders, func(done <-chan struct{}) bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}

// saveViews stores what changed in the live session. Whatever other requests
// have saved meanwhile is kept.
func (st *locked) saveViews() error {
	changes, err := st.changes()
	if err != nil || len(changes) == 0 {
		return err
	}
	ctx, cancel := st.settle()
	defer cancel()
	for latest := st.rec; ctx.Err() == nil; {
		bag, err := values.Unmarshal(latest.Values)
		if err != nil {
			return fmt.Errorf("%w: stored values: %w", errUnsaveable, err)
		}
		if bag == nil {
			bag = values.Bag{}
		}
		for _, c := range changes {
			bag[c.view.name] = values.Merge(c.view.base, c.entries, bag[c.view.name])
		}
		stored := bag.Marshal()
		err = st.core.backend.Save(ctx, latest.Key, latest.Version, stored)
		if err == nil {
			session := *latest.Session
			session.Values, session.Version = stored, session.Version+1
			st.rec.Session = &session
			for _, c := range changes {
				c.view.base = c.entries
			}
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		if latest, err = st.core.backend.Load(ctx, latest.Key); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// saveAnonymous puts what changed into the visitor's cookie.
func (st *locked) saveAnonymous() error {
	changes, err := st.changes()
	if err != nil || len(changes) == 0 {
		return err
	}
	bag, err := st.bag()
	if err != nil {
		return err
	}
	for _, c := range changes {
		bag[c.view.name] = c.entries
		c.view.base = c.entries
	}
	p := st.pending()
	stored, fits := bag.MarshalWithin(st.core.cookies.MaxVisitorBytes)
	if !fits {
		return fmt.Errorf("%w: a visitor's values do not fit into a cookie", errUnsaveable)
	}
	if len(stored) == 0 && p.anonymous != setCookie {
		p.anonymous = deleteCookie
		return nil
	}
	value, err := st.core.cookies.EncodeVisitor(stored)
	if err != nil {
		return fmt.Errorf("%w: a visitor's cookie: %w", errUnsaveable, err)
	}
	p.anonymous, p.anonymousValue = setCookie, value
	return nil
}

// anonymousValues are what moves along into a new session.
func (st *locked) anonymousValues() []byte {
	bag, err := st.bag()
	if err != nil {
		return nil
	}
	return bag.Marshal()
}

// saveLate saves what changed after the first byte.
func (st *locked) saveLate() {
	if st.slow == nil || st.writer.Discarding() || st.failure() != nil {
		return
	}
	var err error
	if st.rec.Session != nil {
		err = st.saveViews()
	} else if changes, _ := st.changes(); len(changes) > 0 && st.exposure > public {
		err = ErrHeadersSent
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		st.core.log.Error("sessionguard: values changed after the answer began are lost", "error", err)
	}
}

// emptyViews takes a session's values out of the handler's hands.
func (p *pending) emptyViews() {
	for _, v := range p.views {
		clear(v.session.Values)
		v.session.IsNew = true
		v.base, v.entries, v.saved, v.deleted = nil, nil, false, false
	}
	p.bag = nil
}
