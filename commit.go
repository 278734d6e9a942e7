package sessionguard

import (
	"errors"
	"net/http"

	"github.com/sessionguard-go/sessionguard/store"
)

// Commit implements [response.Hooks]: it stores what the request changed before the
// first byte goes out, or sends a refusal in place of the handler's response.
func (st *request) Commit(status int) bool {
	why := st.commit(status)
	if why == admitted {
		return true
	}
	clearAnswer(st.writer.Unwrap().Header(), st.encoded)
	st.core.refuse(st, &st.writer, &st.http, why)
	return false
}

// BeforeHeader implements [response.Hooks].
func (st *request) BeforeHeader(h http.Header) {
	l := st.lock()
	defer l.unlock()
	if l.exposure > public {
		l.noStore.enforce(h)
	}
}

// BeforeHijack implements [response.Hooks]: a hijacked connection cannot set cookies.
func (st *request) BeforeHijack() error {
	l := st.lock()
	defer l.unlock()
	if p := l.slow; p != nil && (p.session != keepCookie || p.anonymous != keepCookie) {
		return errors.New("sessionguard: a connection that sets a cookie cannot be hijacked")
	}
	return nil
}

// commit stores what the request changed and puts the cookies in place, once,
// or says what to answer instead.
func (st *request) commit(status int) refusal {
	l := st.lock()
	defer l.unlock()
	if l.committed {
		return admitted
	}
	if l.exposure > public {
		switch {
		case l.inner == failed && status >= 500:
			l.outcome = failed
		case l.inner >= denied && status >= 300 && status < 500:
			l.outcome = max(l.outcome, denied)
		}
		if status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout {
			l.pending().gaveUp = true
		}
		if why := l.store(); why != admitted && l.outcome != failed {
			l.outcome = failed
			return why
		}
		l.writeCookies()
	}
	l.committed = true
	return admitted
}

// store tells the backend of the activity and of changed values.
func (st *locked) store() refusal {
	err := st.failure()
	if err == nil {
		err = st.checkToken()
	} else if st.bringsToken() {
		st.slow.session = keepCookie // nobody can tell whether it has been overtaken; the last one is still good
	}
	switch {
	case err != nil:
	case st.rec.Session == nil:
		err = st.saveAnonymous()
	case st.outcome != failed:
		if err = st.touch(); err == nil {
			err = st.saveViews()
		}
	}
	switch {
	case err == nil:
		return admitted
	case errors.Is(err, store.ErrNotFound):
		// It ended while the request was in flight: nothing of it is saved,
		// and its page is no longer for whoever waits for it.
		key := st.rec.Key
		st.rec, st.user, st.slow = store.Record{}, nil, nil
		st.over(st.core.reasonAt(st, key))
		return noSession
	case errors.Is(err, errUnsaveable):
		st.core.log.Error("sessionguard: the answer was replaced", "error", err)
		st.undo()
		st.slow.views = nil
		return broken
	case st.failure() == nil:
		_ = st.fail(err)
	}
	st.undo()
	if st.slow.session == deleteCookie {
		return stillThere
	}
	return unavailable
}

// touches says whether the backend is to be told of this request.
func (st *locked) touches() bool {
	return st.user != nil && st.activity < passive && st.outcome == served && touchDue(st.rec, st.now, st.core.local) &&
		!st.bringsToken() // which has not come back yet
}

// touch slides the idle deadline. A new token that has come back is told of in any
// case, but is no activity.
func (st *locked) touch() error {
	seen := st.now
	if !st.touches() {
		if st.user == nil || !st.current || !st.rec.Revived() || !unused(st.rec) {
			return nil
		}
		seen = st.rec.Detail().Rotated
	}
	ctx := st.ctx()
	if !st.core.local {
		settled, cancel := st.settle()
		defer cancel()
		ctx = settled
	}
	err := st.core.backend.Touch(ctx, st.rec.Key, seen)
	if errors.Is(err, store.ErrNotFound) && st.exposure < protected {
		return nil // the page is anybody's
	}
	return err
}

// undo takes back a login whose answer will not be sent.
func (st *locked) undo() {
	if st.slow == nil || st.slow.session != setCookie {
		return
	}
	p := st.slow
	p.session, p.anonymous = keepCookie, keepCookie
	_ = st.endNow(store.Undone)
}

// finish ends the request of a handler that returned.
func (st *request) finish() {
	st.writer.Finish()
	l := st.lock()
	defer l.unlock()
	// For a handler like http.TimeoutHandler further out, which reads the headers now.
	l.takeBack()
	if l.exposure > public {
		l.noStore.enforce(l.writer.Unwrap().Header())
	}
	l.completed = true
	l.saveLate()
}

// leave runs however the handler ended. Behind a panic nothing is saved, a
// login is undone, and the page that an outer recoverer makes is not cached.
func (st *request) leave() {
	st.writer.Release()
	// The server removes upload files by its own request, and outer
	// middleware reads the route from it.
	st.caller.MultipartForm = st.http.MultipartForm
	st.caller.Pattern = st.http.Pattern
	if st.completed {
		return
	}
	if st.writer.Discarding() {
		// httputil.ReverseProxy aborts when its page is taken away, which
		// would take the refusal away as well.
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			defer panic(p)
		}
	}
	st.BeforeHeader(st.writer.Unwrap().Header())
	l := st.lock()
	defer l.unlock()
	l.undo()
	l.committed = true
	l.writer.Discard()
}
