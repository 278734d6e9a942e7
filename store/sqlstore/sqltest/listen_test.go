package sqltest

import (
	"bytes"
	"context"
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

// listening runs the code in the documentation of sqlstore.Listening.
func listening(sessions *sqlstore.Store, db *sql.DB) (*sqlstore.Listener, error) {
	listener, err := sqlstore.Listening(sessions, func(ctx context.Context, channel string, ready func(), notify func(string)) error {
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.Raw(func(driver any) error {
			pg := driver.(*stdlib.Conn).Conn()
			defer pg.PgConn().Close(ctx) // do not return a listening connection to the pool
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

func TestListeningDocumentationShowsTheTestedCode(t *testing.T) {
	test, err := os.ReadFile("listen_test.go")
	require.NoError(t, err)
	documentation, err := os.ReadFile("../listen.go")
	require.NoError(t, err)
	_, code, _ := strings.Cut(string(test), "(*sqlstore.Listener, error) {\n")
	code, _, _ = strings.Cut(code, "\treturn listener, err\n")
	lines := slices.Collect(strings.SplitSeq(strings.TrimSuffix(code, "\n"), "\n"))
	require.Len(t, lines, 22)
	require.Contains(t, string(documentation), "//"+strings.Join(lines, "\n//"))
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

func TestTwoListenersPassStoretest(t *testing.T) {
	d := databases["PostgreSQL"](t)
	a, b := d.listener(t, sqlstore.Config{}), d.listener(t, sqlstore.Config{})
	storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

func TestListenerReportsSessionsEndedByAPlainStore(t *testing.T) {
	d := databases["PostgreSQL"](t)
	endings := watch(t, d.listener(t, sqlstore.Config{}))
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
			want = store.Ending{} // the guard checks all its streams
		}
		require.Equal(t, want, receive(t, endings))
	}
}

func TestForeignNotificationsAreIgnored(t *testing.T) {
	d := databases["PostgreSQL"](t)
	node := d.listener(t, sqlstore.Config{})
	endings, db := watch(t, node), d.open(t)
	for _, payload := range []string{"", "1", "1 ", "2 YQ Yg", "1 YQ", "1 ? Yg", "1 YQ ?", "probe another", "{}", strings.Repeat("x", 7999)} {
		_, err := db.Exec("SELECT pg_notify('sessionguard_sessions', $1)", payload)
		require.NoError(t, err)
	}
	r := newRecord()
	create(t, node, r)
	_, err := node.Delete(t.Context(), r.Key, store.ReasonEnded)
	require.NoError(t, err)
	require.Equal(t, store.Ending{ID: r.ID, Reason: store.ReasonEnded}, receive(t, endings))
}

// After a lost connection the Listener reports that it may have missed endings.
func TestListenerReconnectsAfterALostConnection(t *testing.T) {
	proxy := servers.NewProxy(t, postgreSQL(t).Addr)
	d := databases["PostgreSQL"](t)
	plain := d.node(t, sqlstore.Config{})
	for name, loseConnection := range map[string]func() error{
		"cut":     proxy.Cut,
		"stalled": proxy.Stall, // the network reports no loss
	} {
		t.Run(name, func(t *testing.T) {
			d := d
			d.dsn = postgreSQL(t).DSN(proxy.Addr)
			endings := watch(t, d.listener(t, sqlstore.Config{Timeout: time.Second}))
			require.NoError(t, loseConnection())
			r := newRecord()
			create(t, plain, r)
			_, err := plain.Delete(t.Context(), r.Key, store.ReasonEnded)
			require.NoError(t, err)
			if name == "stalled" {
				time.Sleep(12 * time.Second) // the Listener detects the loss before the network recovers
			}
			require.NoError(t, proxy.Restore())
			require.Equal(t, store.Ending{}, receiveOther(t, endings, r.ID))

			next := newRecord()
			create(t, plain, next)
			_, err = plain.Delete(t.Context(), next.Key, store.ReasonTheftSuspected)
			require.NoError(t, err)
			require.Equal(t, store.Ending{ID: next.ID, Reason: store.ReasonTheftSuspected}, receiveOther(t, endings, r.ID))
		})
	}
}

// A watch probes its connection every ten seconds.
func TestProbesDoNotDisturbWorkingWatches(t *testing.T) {
	t.Parallel()
	d := databases["PostgreSQL"](t)
	var log bytes.Buffer
	node := d.listener(t, sqlstore.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	watches := []<-chan store.Ending{watch(t, node), watch(t, node), watch(t, node)}
	time.Sleep(13 * time.Second)
	r := newRecord()
	create(t, node, r)
	_, err := node.Delete(t.Context(), r.Key, store.ReasonEnded)
	require.NoError(t, err)
	for _, endings := range watches {
		e := receive(t, endings)
		for ; e.ID != r.ID; e = receive(t, endings) { // of a test that runs at the same time
			require.NotEmpty(t, e.ID, "endings may have been missed")
		}
		require.Equal(t, store.ReasonEnded, e.Reason)
	}
	require.Empty(t, log.String())
}

func TestWatchFailsWithinTimeoutAndLeaksNoGoroutines(t *testing.T) {
	server := postgreSQL(t)
	proxy := servers.NewProxy(t, server.Addr)
	d := databases["PostgreSQL"](t)
	d.dsn = server.DSN(proxy.Addr)
	before := runtime.NumGoroutine()
	failOverBrokenNetwork(t, d, server, proxy)
	t.Run("a hundred cancelled watches", func(t *testing.T) { cancelWatches(t, d, 100) })
	failInListen(t, d)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, 10*time.Second, 10*time.Millisecond,
		"goroutines are still running")
}

const watchTimeout = 500 * time.Millisecond

func failOverBrokenNetwork(t *testing.T, d database, server *servers.Server, proxy *servers.Proxy) {
	for name, fault := range map[string]struct{ begin, end func() error }{
		"stalled": {proxy.Stall, proxy.Restore},
		"cut":     {proxy.Cut, proxy.Restore},
		"paused":  {server.Pause, server.Resume},
	} {
		t.Run(name, func(t *testing.T) {
			l := d.listener(t, sqlstore.Config{Timeout: watchTimeout})
			require.NoError(t, fault.begin())
			defer func() { require.NoError(t, fault.end()) }()
			requireWatchFails(t, l)
		})
	}
}

func cancelWatches(t *testing.T, d database, n int) {
	l := d.listener(t, sqlstore.Config{})
	for range n {
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, l.Watch(ctx, func(store.Ending) {}))
		cancel()
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, l.Watch(done, func(store.Ending) {}), context.Canceled)
}

func failInListen(t *testing.T, d database) {
	released := make(chan struct{})
	defer close(released)
	for name, listen := range map[string]sqlstore.Listen{
		"ignores its context": func(context.Context, string, func(), func(string)) error { <-released; return nil },
		"returns nil":         func(context.Context, string, func(), func(string)) error { return nil },
		"returns an error":    func(context.Context, string, func(), func(string)) error { return io.EOF },
		"panics":              func(context.Context, string, func(), func(string)) error { panic("secret") },
		"returns a password":  func(context.Context, string, func(), func(string)) error { return errors.New("password=secret") },
		"is never ready": func(ctx context.Context, _ string, _ func(), _ func(string)) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := sqlstore.Listening(d.node(t, sqlstore.Config{Timeout: watchTimeout}), listen)
			require.NoError(t, err)
			requireWatchFails(t, l)
		})
	}
}

// requireWatchFails requires that the Watch of a Listener fails within watchTimeout.
func requireWatchFails(t *testing.T, l *sqlstore.Listener) {
	t.Helper()
	start := time.Now()
	err := l.Watch(t.Context(), func(store.Ending) {})
	require.Error(t, err)
	require.NotErrorIs(t, err, store.ErrNotFound)
	require.Less(t, time.Since(start), watchTimeout+slack)
	requireNoSecret(t, err)
}

func TestOnlyPostgreSQLStoresListen(t *testing.T) {
	d := databases["SQLite"](t)
	_, err := listening(d.node(t, sqlstore.Config{}), d.open(t))
	require.Error(t, err)
	var plain store.Backend = d.node(t, sqlstore.Config{})
	_, isWatcher := plain.(store.Watcher)
	require.False(t, isWatcher, "a guard would stop polling")
}

// watch returns a channel that receives the endings that a watcher reports.
func watch(t *testing.T, w store.Watcher) <-chan store.Ending {
	t.Helper()
	endings := make(chan store.Ending, 100)
	require.NoError(t, w.Watch(t.Context(), func(e store.Ending) { endings <- e }))
	return endings
}

func receive(t *testing.T, endings <-chan store.Ending) store.Ending {
	t.Helper()
	select {
	case e := <-endings:
		return e
	case <-time.After(20 * time.Second):
		require.Fail(t, "no ending was reported")
		return store.Ending{}
	}
}

// receiveOther skips an ending that may or may not have been reported.
func receiveOther(t *testing.T, endings <-chan store.Ending, skipID string) store.Ending {
	t.Helper()
	for {
		if e := receive(t, endings); e.ID != skipID {
			return e
		}
	}
}
