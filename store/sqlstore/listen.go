package sqlstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// Listen listens to a channel of PostgreSQL (LISTEN), on a connection of its own. It
// calls ready once it does, and notify with the payload of each notification, until
// ctx is done or the connection is lost, and then returns soon. There is no such thing
// in database/sql: it is a dozen lines with the application's driver, see [Listening].
type Listen func(ctx context.Context, channel string, ready func(), notify func(payload string)) error

// A Listener is a [Store] that is a [store.Watcher] too: what ends a session on any
// node cuts its streams on this one at once. See [Listening].
type Listener struct {
	*Store
	listen Listen
}

var _ store.Watcher = (*Listener)(nil)

// Listening makes a [Listener] of a Store in PostgreSQL. With pgx's database/sql driver:
//
//	listener, err := sqlstore.Listening(sessions, func(ctx context.Context, channel string, ready func(), notify func(string)) error {
//		conn, err := db.Conn(ctx)
//		if err != nil {
//			return err
//		}
//		defer conn.Close()
//		return conn.Raw(func(driver any) error {
//			pg := driver.(*stdlib.Conn).Conn()
//			defer pg.PgConn().Close(ctx) // nobody else gets a connection that listens
//			if _, err := pg.Exec(ctx, "LISTEN "+channel); err != nil {
//				return err
//			}
//			ready()
//			for {
//				n, err := pg.WaitForNotification(ctx)
//				if err != nil {
//					return err
//				}
//				notify(n.Payload)
//			}
//		})
//	})
//
// Give the Backend of the guard's Config this Listener, not the Store: with the Store
// no stream is cut at once.
//
// Every Store in PostgreSQL tells of what it ends, whether or not anybody listens, so
// that nodes and tools may differ. The connection has to be one to the server itself:
// a pooler such as PgBouncer in transaction mode, which is good enough for all else,
// does not keep LISTEN.
//
// Each [Listener.Watch] takes one connection, as above one of the pool's. A guard
// watches once for all its streams, and only while it has any.
func Listening(s *Store, listen Listen) (*Listener, error) {
	if s == nil || listen == nil || s.notify == "" {
		return nil, errors.New("sqlstore: Listening needs a Store in PostgreSQL and a Listen")
	}
	return &Listener{s, listen}, nil
}

const (
	channel = "sessionguard_sessions"

	// probeEvery is how often a watch sends itself a notification. One that does not
	// come is the only sign of a connection that was lost without a word.
	probeEvery = 10 * time.Second

	relistenFirst = 100 * time.Millisecond
	relistenLast  = 5 * time.Second
)

// Watch implements [store.Watcher]. It returns when the server has confirmed that it
// listens, or an error within [Config.Timeout]. A connection that is lost is made again,
// as often as it takes; that it was lost is noticed within 12 seconds at the default
// Timeout, even if nothing says so.
func (l *Listener) Watch(ctx context.Context, ended func(store.Ending)) error {
	ctx, cancel := context.WithCancel(ctx)
	began := make(chan error, 2) // nobody may be waiting any more
	go func() {
		defer cancel()
		l.watch(ctx, began, ended)
	}()
	var err error
	select {
	case err = <-began:
	case <-time.After(l.timeout):
		err = context.DeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return fmt.Errorf("sqlstore: listening: %w", clean(err))
	}
	return nil
}

// watch listens until ctx is done or the first attempt fails, which began is told of.
func (l *Listener) watch(ctx context.Context, began chan<- error, ended func(store.Ending)) {
	for pause, first := relistenFirst, true; ; {
		err := l.attempt(ctx, func() {
			if first {
				began <- nil
			} else {
				ended(store.Ending{}) // who knows what it has missed
			}
			pause, first = relistenFirst, false
		}, ended)
		if ctx.Err() != nil || first {
			began <- err
			return
		}
		l.logger.WarnContext(ctx, "sqlstore: listening again, since the connection was lost", "error", clean(err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + mathrand.N(pause)):
		}
		pause = min(2*pause, relistenLast)
	}
}

// attempt listens as long as the connection lasts. ready is called before ended.
func (l *Listener) attempt(ctx context.Context, ready func(), ended func(store.Ending)) (err error) {
	ctx, lose := context.WithCancelCause(ctx)
	late := time.AfterFunc(l.timeout, func() { lose(context.DeadlineExceeded) })
	own, heard := probe+rand.Text(), make(chan struct{}, 1)
	var prober sync.WaitGroup
	defer func() {
		if p := recover(); p != nil { // nobody else would
			err = &ownError{fmt.Errorf("the Listen panicked: %T", p)}
			if mistake, ok := p.(runtime.Error); ok {
				err = &ownError{mistake}
			}
		}
		late.Stop()
		lose(nil)
		prober.Wait()
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		if err == nil {
			err = errReturned
		}
	}()
	var once sync.Once
	return l.listen(ctx, channel, func() {
		once.Do(func() {
			if !late.Stop() {
				return // it is too late
			}
			ready()
			prober.Go(func() {
				if err := l.probe(ctx, own, heard); err != nil {
					lose(err)
				}
			})
		})
	}, func(payload string) {
		if payload == own {
			select {
			case heard <- struct{}{}:
			default: // somebody else sends it
			}
			return
		}
		if e, ok := endingOf(payload); ok && ctx.Err() == nil {
			ended(e)
		}
	})
}

var (
	errReturned = &ownError{errors.New("the Listen returned without an error")}
	errSilent   = &ownError{errors.New("a notification did not arrive")}
)

// probe sends notifications until one does not come, or ctx is done.
func (l *Listener) probe(ctx context.Context, own string, heard <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(probeEvery):
		}
		err := l.call(ctx, "listening", func(ctx context.Context) error {
			if _, err := l.db.ExecContext(ctx, l.notify, channel, own); err != nil {
				return err
			}
			select {
			case <-heard:
				return nil
			case <-ctx.Done():
				return errSilent
			}
		})
		if err != nil {
			return err
		}
	}
}

// What notifications say: the version of the form, and the ID and the reason in
// base64, which any encoding of a database has. Anything else is somebody else's.
const (
	form  = "1 "
	probe = "probe "

	maxPayload = 7999 // bytes, by PostgreSQL's documentation of NOTIFY
)

// payloadOf says what has ended or, where that is too long, that something has.
func payloadOf(e store.Ending) string {
	encode := base64.RawURLEncoding.EncodeToString
	payload := form + encode([]byte(e.ID)) + " " + encode([]byte(e.Reason))
	if len(payload) > maxPayload {
		return payloadOf(store.Ending{})
	}
	return payload
}

func endingOf(payload string) (store.Ending, bool) {
	text, ok := strings.CutPrefix(payload, form)
	id, reason, two := strings.Cut(text, " ")
	i, err := base64.RawURLEncoding.DecodeString(id)
	r, err2 := base64.RawURLEncoding.DecodeString(reason)
	if !ok || !two || err != nil || err2 != nil {
		return store.Ending{}, false
	}
	return store.Ending{ID: string(i), Reason: store.Reason(r)}, true
}
