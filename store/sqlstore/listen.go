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

// Listen listens on a channel of PostgreSQL (LISTEN) over a connection of its own. It calls
// ready once the connection listens, and notify with the payload of each notification. It
// returns soon after ctx is done or the connection is lost. database/sql has no such
// operation; with the application's driver it takes a dozen lines, see [Listening].
type Listen func(ctx context.Context, channel string, ready func(), notify func(payload string)) error

// A Listener is a [Store] that is also a [store.Watcher]: when a session ends on any node,
// this node cuts its streams at once. See [Listening].
type Listener struct {
	*Store
	listen Listen
}

var _ store.Watcher = (*Listener)(nil)

// Listening returns a [Listener] for a Store in PostgreSQL. With pgx's database/sql driver:
//
//	listener, err := sqlstore.Listening(sessions, func(ctx context.Context, channel string, ready func(), notify func(string)) error {
//		conn, err := db.Conn(ctx)
//		if err != nil {
//			return err
//		}
//		defer conn.Close()
//		return conn.Raw(func(driver any) error {
//			pg := driver.(*stdlib.Conn).Conn()
//			defer pg.PgConn().Close(ctx) // do not return a listening connection to the pool
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
// Set Backend in the guard's Config to this Listener, not to the Store: with the Store, no
// stream is cut at once.
//
// Every Store in PostgreSQL sends a notification for each session that it ends, whether or
// not anybody listens. So some nodes and tools may use a Listener and others a Store. The
// connection must go directly to the server: a pooler such as PgBouncer in transaction
// mode, which is sufficient for everything else, does not support LISTEN. db is then another
// pool than that of the Store. Through such a pooler no notification arrives, and the guard
// checks its streams every twelve seconds instead.
//
// Each [Listener.Watch] occupies one connection, in the code above one of the pool's. A
// guard calls Watch once for all its streams, and only while it has any.
func Listening(s *Store, listen Listen) (*Listener, error) {
	if s == nil || listen == nil || s.sql.notify == "" {
		return nil, errors.New("sqlstore: Listening needs a Store in PostgreSQL and a Listen")
	}
	return &Listener{s, listen}, nil
}

const (
	channel = "sessionguard_sessions"

	// probeInterval is how often a watch sends itself a notification. If the connection was
	// lost silently, the missing notification is the only sign of it.
	probeInterval = 10 * time.Second

	minRelistenPause = 100 * time.Millisecond
	maxRelistenPause = 5 * time.Second
)

// Watch implements [store.Watcher]. It returns when the server has confirmed that the
// connection listens, or with an error within [Config.Timeout]. If the connection is lost
// later, the Listener connects again, as often as necessary. It detects a loss within 12
// seconds at the default Timeout, even if the network does not report one.
func (l *Listener) Watch(ctx context.Context, ended func(store.Ending)) error {
	ctx, cancel := context.WithCancel(ctx)
	started := make(chan error, 2) // buffered: Watch may have returned before it is sent to
	go func() {
		defer cancel()
		l.watch(ctx, started, ended)
	}()
	var err error
	select {
	case err = <-started:
	case <-time.After(l.timeout):
		err = context.DeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return fmt.Errorf("sqlstore: listening: %w", sanitize(err))
	}
	return nil
}

// watch listens until ctx is done or the first connection fails. It sends the result of the
// first connection to started.
func (l *Listener) watch(ctx context.Context, started chan<- error, ended func(store.Ending)) {
	for pause, first := minRelistenPause, true; ; {
		err := l.listenOnce(ctx, func() {
			if first {
				started <- nil
			} else {
				ended(store.Ending{}) // endings may have been missed
			}
			pause, first = minRelistenPause, false
		}, ended)
		if ctx.Err() != nil || first {
			started <- err
			return
		}
		l.logger.WarnContext(ctx, "sqlstore: the listening connection was lost; connecting again", "error", sanitize(err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + mathrand.N(pause)):
		}
		pause = min(2*pause, maxRelistenPause)
	}
}

// listenOnce listens as long as one connection lasts. It calls ready before ended.
func (l *Listener) listenOnce(ctx context.Context, ready func(), ended func(store.Ending)) (err error) {
	ctx, fail := context.WithCancelCause(ctx)
	startTimer := time.AfterFunc(l.timeout, func() { fail(context.DeadlineExceeded) })
	ownProbe, probeReceived := probePrefix+rand.Text(), make(chan struct{}, 1)
	var prober sync.WaitGroup
	defer func() {
		if p := recover(); p != nil { // nothing else recovers in this goroutine
			err = panicError(p)
		}
		startTimer.Stop()
		fail(nil)
		prober.Wait()
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		if err == nil {
			err = errListenReturned
		}
	}()
	var once sync.Once
	return l.listen(ctx, channel, func() {
		once.Do(func() {
			if !startTimer.Stop() {
				return // the timeout has passed
			}
			ready()
			prober.Go(func() {
				if err := l.probe(ctx, ownProbe, probeReceived); err != nil {
					fail(err)
				}
			})
		})
	}, func(payload string) {
		if payload == ownProbe {
			select {
			case probeReceived <- struct{}{}:
			default: // somebody else sent the same payload
			}
			return
		}
		if e, ok := decodeEnding(payload); ok && ctx.Err() == nil {
			ended(e)
		}
	})
}

// panicError returns an error for a panic of Listen. It contains the text of a runtime
// error, but only the type of any other value, whose text may contain the connection string.
func panicError(p any) error {
	if mistake, ok := p.(runtime.Error); ok {
		return &safeError{mistake}
	}
	return &safeError{fmt.Errorf("the Listen panicked: %T", p)}
}

var (
	errListenReturned = &safeError{errors.New("the Listen returned without an error")}
	errProbeLost      = &safeError{errors.New("a notification did not arrive")}
)

// probe sends notifications until one does not arrive or ctx is done.
func (l *Listener) probe(ctx context.Context, ownProbe string, received <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(probeInterval):
		}
		err := l.call(ctx, "listening", func(ctx context.Context) error {
			if _, err := l.db.ExecContext(ctx, l.sql.notify, channel, ownProbe); err != nil {
				return err
			}
			select {
			case <-received:
				return nil
			case <-ctx.Done():
				return errProbeLost
			}
		})
		if err != nil {
			return err
		}
	}
}

// A payload consists of the version of its format, and the session's ID and the reason in
// base64, which every database encoding can represent. Other payloads are ignored.
const (
	payloadVersion = "1 "
	probePrefix    = "probe "

	maxPayload = 7999 // bytes; see PostgreSQL's documentation of NOTIFY
)

// encodeEnding returns the payload for an ending. If that is too long, it returns the one
// for the empty Ending, which says that some endings may have been missed.
func encodeEnding(e store.Ending) string {
	encode := base64.RawURLEncoding.EncodeToString
	payload := payloadVersion + encode([]byte(e.ID)) + " " + encode([]byte(e.Reason))
	if len(payload) > maxPayload {
		return encodeEnding(store.Ending{})
	}
	return payload
}

func decodeEnding(payload string) (store.Ending, bool) {
	text, versionOK := strings.CutPrefix(payload, payloadVersion)
	encodedID, encodedReason, hasReason := strings.Cut(text, " ")
	id, idErr := base64.RawURLEncoding.DecodeString(encodedID)
	reason, reasonErr := base64.RawURLEncoding.DecodeString(encodedReason)
	if !versionOK || !hasReason || idErr != nil || reasonErr != nil {
		return store.Ending{}, false
	}
	return store.Ending{ID: string(id), Reason: store.Reason(reason)}, true
}
