package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"

	"github.com/gorilla/sessions"
	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/values"
	"github.com/sessionguard-go/sessionguard/store"
)

// errUnsaveable is returned for values that cannot be stored: a mistake of the application.
// An [ErrValuesTooLarge] is one.
var errUnsaveable = values.ErrUnsaveable

// Get returns the values kept under name for the client that sends r: those of the
// session if a user is logged in, and those of a signed cookie for a visitor. It never
// returns nil, and within a request always the same [sessions.Session]. You may use
// several names: they share the session and its end.
//
// The type of a value is preserved. Types other than Go's own need
// [encoding/gob.Register], as with gorilla's stores. Options are ignored, except that
// Save with Options.MaxAge < 0 removes everything under this name.
//
// The error is [ErrUnavailable] (wrapped) if the backend or FindUser fails,
// [ErrHeadersSent] if the response has begun, [ErrNotWrapped], [ErrInCallback], or says
// that the stored values cannot be decoded, perhaps because a type has changed. The
// session is then empty and is not saved. If the values cannot be decoded, Save replaces
// them all the same or, with Options.MaxAge < 0, removes them: those under this name, or
// under all names if none of them can be read. A cookie that was tampered with is no
// error.
//
// # When values are saved
//
// The values are saved when the response begins, with or without Save. If a user is
// logged in, changes that the handler makes later are saved when it returns. A visitor's
// changes need a cookie, and come too late then.
//
// If two requests of a logged-in user change different values, both changes are saved.
// For the same value the last one wins, but flashes of both are kept. For a visitor, the
// cookie that arrives last wins, with all its values.
//
// Only what Save was called for is saved if the response is 408, 503 or 504, or if a
// middleware gave r a context that has ended by itself. An http.TimeoutHandler has given
// up then, and its handler may still write to Values. Nothing is saved if that handler is
// inside a call of the guard, such as a FindUser that hangs.
//
// # Values of a visitor
//
// A visitor's values are signed and encrypted, but a client can send an old cookie again.
// So keep no counters in them, and no one-time secrets: [Guard.PutSecret] is for these.
// The values are gone if no request has used them for the idle timeout. A request that
// only reads them sets the cookie again if it is older than 1/30 of that. Passive
// requests, prefetches and refused requests do not.
//
// # How much fits
//
// The values and flashes of one session, under all names together, take at most
// Config.MaxValuesBytes. A visitor's take as much as fits into a cookie: about 1.8 KB,
// because they are encrypted and encoded. The whole Set-Cookie line has at most 3500
// bytes, because nginx allows 4096 for the headers of a response (proxy_buffer_size).
//
// If there is more, the oldest flashes are dropped: those under gorilla's default key,
// while others count as values. If there is still more, nothing is saved. Save returns
// [ErrValuesTooLarge], and unless the handler removes what is too much, the response is
// replaced with 500.
func (g *core) Get(r *http.Request, name string) (*sessions.Session, error) {
	l, err := g.lockRequest(r)
	if err != nil {
		return sessions.NewSession(g, name), err
	}
	defer l.unlock()
	s := l.open(r.Context(), name)
	return s.Session, s.Err
}

// New is the same as [Guard.Get].
func (g *core) New(r *http.Request, name string) (*sessions.Session, error) {
	return g.Get(r, name)
}

// Save reports whether the session can be saved. It ensures that the session is saved,
// even if the context of r has ended when the response begins. [Guard.Get] says when it
// is needed, and which errors there are. Save also returns an error for values whose type
// cannot be stored, and [ErrValuesTooLarge] if this session, with what is stored and what
// Save was called for before, takes too many bytes.
func (g *core) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	l, err := g.lockRequest(r)
	if err != nil {
		return err
	}
	defer l.unlock()
	return l.save(r.Context(), session)
}

func (l *locked) save(ctx context.Context, session *sessions.Session) error {
	s := l.open(ctx, session.Name())
	if err := s.Save(session, l.checkSaved); err != nil || !l.committed {
		return err
	}
	if l.rec.Session == nil {
		return ErrHeadersSent
	}
	switch err := l.saveSession(); {
	case errors.Is(err, store.ErrNotFound):
		return ErrNoSession
	case err == nil, errors.Is(err, errUnsaveable):
		return err
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

// checkSaved returns an error if what Save was called for is more than can be stored. It
// leaves out what other sessions hold without Save: their handlers may be changing it.
func (l *locked) checkSaved() error {
	changes, err := l.effects.open.Changes(true)
	if err != nil || len(changes) == 0 {
		return err
	}
	if l.rec.Session != nil {
		return changes.Fit(l.rec.Values, l.core.maxValuesBytes)
	}
	_, _, err = l.visitorBag(changes)
	return err
}

// open returns the session of name, which it opens if no handler has yet.
func (l *locked) open(ctx context.Context, name string) *values.OpenSession {
	e := l.needEffects()
	s := e.open.Get(name)
	if s == nil {
		s = values.NewOpenSession(l.core, name)
		s.Err = l.fill(ctx, s)
		e.open.Add(s)
	}
	// The request's own context says nothing of an abandoned handler: when the response
	// is committed, its handler has come that far. The end of a session says nothing either.
	done := ctx.Done()
	for parent, ok := e.derived[done]; ok; parent, ok = e.derived[done] {
		done = parent
	}
	if done != l.parent.Done() {
		s.RecordContext(done)
	}
	return s
}

func (l *locked) fill(ctx context.Context, s *values.OpenSession) error {
	if err := l.resolve(ctx); err != nil {
		return err
	}
	bag, err := l.storedValues()
	if err != nil {
		err = s.FillFailed(err)
	} else {
		err = s.Fill(bag)
	}
	if err != nil {
		l.core.logError("stored values cannot be decoded; Save replaces them", "session", s.Session.Name(), "error", err)
	}
	return err
}

// noValues is what a client has of whom nothing is stored. It is shared, and so never changed.
var noValues = values.Bag{}

// storedValues returns what the named sessions are opened from.
func (l *locked) storedValues() (values.Bag, error) {
	e := l.needEffects()
	if e.stored != nil {
		return e.stored, nil
	}
	var err error
	if l.rec.Session == nil {
		// Signed values that do not decode are a stranger's, as all that is not ours.
		var stored []byte
		stored, e.visitorAge = l.core.cookies.DecodeVisitor(l.cookies)
		e.stored, _ = unmarshal(stored)
	} else if e.stored, err = unmarshal(l.rec.Values); err != nil {
		return nil, err
	}
	if e.stored == nil {
		e.stored = noValues
	}
	return e.stored, nil
}

func unmarshal(stored []byte) (values.Bag, error) {
	if len(stored) == 0 {
		return noValues, nil
	}
	return values.Unmarshal(stored)
}

// changes returns what the handlers have changed.
func (l *locked) changes() (values.Changes, error) {
	return l.effects.open.Changes(l.writer.TimedOut())
}

// saveSession stores the changes in the live session. What other requests have saved
// meanwhile is kept.
func (l *locked) saveSession() error {
	changes, err := l.changes()
	if err != nil || len(changes) == 0 {
		return err
	}
	ctx, cancel := detached(l.ctx())
	defer cancel()
	saved, err := l.core.saves.Save(ctx, l.rec.Session, changes)
	if err != nil {
		return err
	}
	l.rec.Session = saved
	changes.Stored()
	return nil
}

// saveVisitor stores the changes in the visitor's cookie.
func (l *locked) saveVisitor() error {
	changes, err := l.changes()
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		l.renewVisitor()
		return nil
	}
	bag, stored, err := l.visitorBag(changes)
	if err != nil {
		return err
	}
	e := l.needEffects()
	e.stored = bag
	changes.Stored()
	if len(stored) == 0 && e.visitor.Kind != cookie.Set {
		e.visitor = cookie.Change{Kind: cookie.Delete}
		return nil
	}
	value, err := l.core.cookies.EncodeVisitor(stored)
	if err != nil {
		return fmt.Errorf("%w: a visitor's cookie: %w", errUnsaveable, err)
	}
	e.visitor = cookie.Change{Kind: cookie.Set, Value: value}
	return nil
}

// renewVisitor sets the visitor's cookie again, so that its values last for another idle
// timeout, if a person uses them. Once per 1/30 of the timeout is enough.
func (l *locked) renewVisitor() {
	e := l.effects
	if len(e.stored) == 0 || e.visitor.Kind != cookie.Keep || e.visitorAge < l.core.idleTimeout/30 ||
		l.activity >= passive || l.outcome != served {
		return
	}
	// It may not fit if it was made with other attributes, and then lasts as long as it does.
	if value, err := l.core.cookies.EncodeVisitor(e.stored.Marshal()); err == nil {
		e.visitor = cookie.Change{Kind: cookie.Set, Value: value}
	}
}

// visitorBag returns what the visitor's cookie holds with the changes, and its bytes.
func (l *locked) visitorBag(changes values.Changes) (values.Bag, []byte, error) {
	stored, err := l.storedValues()
	if err != nil {
		return nil, nil, err
	}
	bag := changes.ReplaceIn(stored)
	limit := l.core.cookies.MaxVisitorBytes
	marshalled, fits := bag.MarshalWithin(limit)
	if !fits {
		return nil, nil, fmt.Errorf("%w: a visitor's values do not fit into a cookie: %d bytes are more than %d", ErrValuesTooLarge, len(bag.Marshal()), limit)
	}
	return bag, marshalled, nil
}

// visitorValues returns what moves along into a new session.
func (l *locked) visitorValues() []byte {
	bag, err := l.storedValues()
	if err != nil {
		return nil
	}
	return bag.Marshal()
}

// saveLate saves what was changed after the first byte of the response.
func (req *request) saveLate() {
	if l := req.lockToRespond((*request).lockAtEnd); l != nil {
		defer l.unlock()
		l.saveLate()
	}
}

func (l *locked) saveLate() {
	if l.writer.Discarding() || l.failure() != nil {
		return
	}
	var err error
	if l.rec.Session != nil {
		err = l.saveSession()
	} else if changes, _ := l.changes(); len(changes) > 0 && l.exposure > public {
		err = ErrHeadersSent
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		l.core.logError("values changed after the response began are lost", "error", err)
	}
	l.undoLostLogin() // saving may have taken long
}

// leaveFlash adds a flash to Config.FlashSession for the next page, if there is one.
func (req *request) leaveFlash(ctx context.Context, flash any) {
	if flash == nil {
		return
	}
	l := req.lock()
	defer l.unlock()
	l.leaveFlash(ctx, flash)
}

// leaveFlash adds a flash of the guard's own, unless the next page will show it already.
func (l *locked) leaveFlash(ctx context.Context, flash any) {
	opened := l.open(ctx, l.core.flashSession)
	if opened.Err != nil {
		return
	}
	there := false
	for _, f := range opened.Session.Flashes() { // which removes them
		there = there || reflect.DeepEqual(f, flash)
		opened.Session.AddFlash(f)
	}
	if !there {
		opened.Session.AddFlash(flash)
	}
}

// clearOpen empties the sessions that handlers have opened: they were another user's.
func (l *locked) clearOpen() {
	l.effects.open.Clear(l.writer.TimedOut())
	l.effects.stored = nil
}

// checkFlash returns the flash as the next page will find it, since encoding/gob changes some
// values, the default if it is nil, or nil if it is empty. It returns an error for a flash that
// cannot be stored.
func checkFlash(flash, otherwise any) (any, error) {
	switch flash {
	case nil:
		return otherwise, nil
	case "":
		return nil, nil
	}
	encoded, err := values.Encode(map[any]any{"flash": flash}, nil)
	if err != nil {
		return nil, err
	}
	decoded, err := encoded.Decode()
	return decoded["flash"], err
}
