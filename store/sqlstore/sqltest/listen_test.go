package sqltest

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

// listening is what the documentation of sqlstore.Listening has.
func listening(sessions *sqlstore.Store, db *sql.DB) (*sqlstore.Listener, error) {
	listener, err := sqlstore.Listening(sessions, func(ctx context.Context, channel string, ready func(), notify func(string)) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.Raw(func(driver any) error {
			pg := driver.(*stdlib.Conn).Conn()
			defer pg.PgConn().Close(ctx) // nobody else gets a connection that listens
			if _, err := pg.Exec(ctx, "LISTEN "+channel); err != nil {
				return err
			}
			ready()
			for {
				n, err := pg.WaitForNotification(ctx)
				if err != nil {
					return err
				}
				notify(n.Payload)
			}
		})
	})
	return listener, err
}

func TestTheDocumentationListensAsTheTestsDo(t *testing.T) {
	ours, err := os.ReadFile("listen_test.go")
	require.NoError(t, err)
	theirs, err := os.ReadFile("../listen.go")
	require.NoError(t, err)
	_, code, _ := strings.Cut(string(ours), "(*sqlstore.Listener, error) {\n")
	code, _, _ = strings.Cut(code, "\treturn listener, err\n")
	lines := slices.Collect(strings.SplitSeq(strings.TrimSuffix(code, "\n"), "\n"))
	require.Len(t, lines, 22)
	require.Contains(t, string(theirs), "//"+strings.Join(lines, "\n//"))
}

// listener returns a node that listens.
func (d database) listener(t testing.TB, config sqlstore.Config) *sqlstore.Listener {
	t.Helper()
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	l, err := listening(d.node(t, config), d.open(t))
	require.NoError(t, err)
	return l
}

func TestListenersKeepEveryPromise(t *testing.T) {
	d := databases["PostgreSQL"](t)
	storetest.RunNodes(t, func(t *testing.T) (a, b store.Backend) {
		return d.listener(t, sqlstore.Config{}), d.listener(t, sqlstore.Config{})
	})
}

func TestAListenerHearsOfWhatAPlainStoreEnds(t *testing.T) {
	d := databases["PostgreSQL"](t)
	told := watch(t, d.listener(t, sqlstore.Config{}))
	r := newRecord()
	plain := d.node(t, sqlstore.Config{})
	create(t, plain, r)
	for _, reason := range []store.Reason{store.ReasonEnded, store.Reason(strings.Repeat("long ", 2000))} {
		r.Key = newRecordOf(r.Owner).Key
		create(t, plain, r)
		_, err := plain.Delete(t.Context(), r.Key, reason)
		require.NoError(t, err)
		want := store.Ending{ID: r.ID, Reason: reason}
		if len(reason) > 8000 {
			want = store.Ending{} // the guard asks
		}
		require.Equal(t, want, receive(t, told))
	}
}

func TestNotificationsOfOthersAreIgnored(t *testing.T) {
	d := databases["PostgreSQL"](t)
	node := d.listener(t, sqlstore.Config{})
	told, db := watch(t, node), d.open(t)
	for _, payload := range []string{"", "1", "1 ", "2 YQ Yg", "1 YQ", "1 ? Yg", "1 YQ ?", "probe another", "{}", strings.Repeat("x", 7999)} {
		_, err := db.Exec("SELECT pg_notify('sessionguard_sessions', $1)", payload)
		require.NoError(t, err)
	}
	r := newRecord()
	create(t, node, r)
	_, err := node.Delete(t.Context(), r.Key, store.ReasonEnded)
	require.NoError(t, err)
	require.Equal(t, store.Ending{ID: r.ID, Reason: store.ReasonEnded}, receive(t, told))
}

// What has been cut off listens again, and says that it may have missed something.
func TestALostConnectionIsMadeAgain(t *testing.T) {
	proxy := servers.NewProxy(t, postgreSQL(t).Addr)
	d := databases["PostgreSQL"](t)
	plain := d.node(t, sqlstore.Config{})
	for name, breaks := range map[string]func() error{
		"cut":     proxy.Cut,
		"stalled": proxy.Stall, // nothing tells that it is lost
	} {
		t.Run(name, func(t *testing.T) {
			d := d
			d.dsn = postgreSQL(t).DSN(proxy.Addr)
			told := watch(t, d.listener(t, sqlstore.Config{Timeout: time.Second}))
			require.NoError(t, breaks())
			r := newRecord()
			create(t, plain, r)
			_, err := plain.Delete(t.Context(), r.Key, store.ReasonEnded)
			require.NoError(t, err)
			if name == "stalled" {
				time.Sleep(12 * time.Second) // it notices before the network is back
			}
			require.NoError(t, proxy.Restore())
			require.Equal(t, store.Ending{}, receiveUnless(t, told, r.ID))

			next := newRecord()
			create(t, plain, next)
			_, err = plain.Delete(t.Context(), next.Key, store.ReasonTheftSuspected)
			require.NoError(t, err)
			require.Equal(t, store.Ending{ID: next.ID, Reason: store.ReasonTheftSuspected}, receiveUnless(t, told, r.ID))
		})
	}
}

// A watch asks every ten seconds whether it still hears.
func TestAWatchThatHearsIsLeftAlone(t *testing.T) {
	t.Parallel()
	d := databases["PostgreSQL"](t)
	var log bytes.Buffer
	node := d.listener(t, sqlstore.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	told := []<-chan store.Ending{watch(t, node), watch(t, node), watch(t, node)}
	time.Sleep(13 * time.Second)
	r := newRecord()
	create(t, node, r)
	_, err := node.Delete(t.Context(), r.Key, store.ReasonEnded)
	require.NoError(t, err)
	for _, told := range told {
		require.Equal(t, store.Ending{ID: r.ID, Reason: store.ReasonEnded}, receive(t, told))
	}
	require.Empty(t, log.String())
}

func TestWatchFailsInTimeAndLeavesNothingBehind(t *testing.T) {
	server := postgreSQL(t)
	proxy := servers.NewProxy(t, server.Addr)
	d := databases["PostgreSQL"](t)
	d.dsn = server.DSN(proxy.Addr)
	const timeout = 500 * time.Millisecond
	before := runtime.NumGoroutine()
	for name, fail := range map[string]func() (restore func()){
		"stalled": func() func() {
			require.NoError(t, proxy.Stall())
			return func() { require.NoError(t, proxy.Restore()) }
		},
		"cut": func() func() {
			require.NoError(t, proxy.Cut())
			return func() { require.NoError(t, proxy.Restore()) }
		},
		"paused": func() func() {
			require.NoError(t, server.Pause())
			return func() { require.NoError(t, server.Resume()) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := d.listener(t, sqlstore.Config{Timeout: timeout})
			restore := fail()
			start := time.Now()
			err := l.Watch(t.Context(), func(store.Ending) {})
			restore()
			require.Error(t, err)
			require.NotErrorIs(t, err, store.ErrNotFound)
			require.Less(t, time.Since(start), timeout+time.Second)
			requireNoSecret(t, err)
		})
	}

	// Watches that ended, and those that others have ended.
	t.Run("a hundred watches", func(t *testing.T) {
		l := d.listener(t, sqlstore.Config{})
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			require.NoError(t, l.Watch(ctx, func(store.Ending) {}))
			cancel()
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, l.Watch(done, func(store.Ending) {}), context.Canceled)
	})
	released := make(chan struct{})
	for name, listen := range map[string]sqlstore.Listen{
		"heeds nothing": func(context.Context, string, func(), func(string)) error { <-released; return nil },
		"returns":       func(context.Context, string, func(), func(string)) error { return nil },
		"fails":         func(context.Context, string, func(), func(string)) error { return io.EOF },
		"panics":        func(context.Context, string, func(), func(string)) error { panic("secret") },
		"leaks":         func(context.Context, string, func(), func(string)) error { return errors.New("password=secret") },
		"waits": func(ctx context.Context, _ string, _ func(), _ func(string)) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := sqlstore.Listening(d.node(t, sqlstore.Config{Timeout: timeout}), listen)
			require.NoError(t, err)
			start := time.Now()
			err = l.Watch(t.Context(), func(store.Ending) {})
			require.Error(t, err)
			require.Less(t, time.Since(start), timeout+time.Second)
			requireNoSecret(t, err)
		})
	}
	close(released)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, 10*time.Second, 10*time.Millisecond, "goroutines are left behind")
}

func TestOnlyPostgreSQLListens(t *testing.T) {
	d := databases["SQLite"](t)
	_, err := listening(d.node(t, sqlstore.Config{}), d.open(t))
	require.Error(t, err)
	var plain store.Backend = d.node(t, sqlstore.Config{})
	_, watches := plain.(store.Watcher)
	require.False(t, watches, "a guard would not ask any more")
}

// watch returns what a watcher is told.
func watch(t *testing.T, w store.Watcher) <-chan store.Ending {
	t.Helper()
	told := make(chan store.Ending, 100)
	require.NoError(t, w.Watch(t.Context(), func(e store.Ending) { told <- e }))
	return told
}

func receive(t *testing.T, told <-chan store.Ending) store.Ending {
	t.Helper()
	select {
	case e := <-told:
		return e
	case <-time.After(20 * time.Second):
		require.Fail(t, "told nothing")
		return store.Ending{}
	}
}

// receiveUnless passes over what need not have been missed.
func receiveUnless(t *testing.T, told <-chan store.Ending, id string) store.Ending {
	t.Helper()
	for {
		if e := receive(t, told); e.ID != id {
			return e
		}
	}
}

// newRecord is a session of a new owner that is good for half an hour.
func newRecord() store.Record { return newRecordOf("session=" + rand.Text()) }

func newRecordOf(owner string) store.Record {
	at := store.TimeOf(time.Now())
	r := store.Record{LastSeen: at, Session: &store.Session{
		ID: rand.Text(), Owner: owner, Authenticated: at, Version: 1,
		Expires: at.Add(12 * time.Hour), IdleTimeout: 30 * time.Minute,
		Values:  []byte("values"),
		Details: &store.Details{Created: at, UserAgent: "Firefox on Linux", Address: "192.0.2.1"},
	}}
	for rand.Read(r.Key[:]); r.Key.Group() != store.GroupOf(owner); {
		rand.Read(r.Key[:])
	}
	return r
}

func create(t testing.TB, b store.Backend, records ...store.Record) {
	t.Helper()
	for _, r := range records {
		_, err := b.Create(t.Context(), r, store.Limit{})
		require.NoError(t, err)
	}
}
