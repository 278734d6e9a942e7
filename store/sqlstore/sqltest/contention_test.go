package sqltest

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// Deadlocks and busy files are retried, and reach no caller.
func TestContentionCausesNoErrors(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) { requireNoErrorsInContention(t, start(t)) })
	}
}

func requireNoErrorsInContention(t *testing.T, d database) {
	t.Helper()
	a, b := d.node(t, sqlstore.Config{}), d.node(t, sqlstore.Config{})
	owners := []string{newOwner(), newOwner()}
	errs := make(chan error, 1000)
	var workers sync.WaitGroup
	for w := range 16 {
		s := []*sqlstore.Store{a, b}[w%2]
		workers.Go(func() {
			for i := range 20 {
				r := newRecordOf(owners[(w/2+i)%2])
				_, err := s.Create(t.Context(), r, store.Limit{Max: 2})
				errs <- err
				next := newRecordOf(r.Owner)
				_ = s.Touch(t.Context(), r.Key, r.LastSeen+1)
				errs <- ignoreGone(s.Replace(t.Context(), r.Key, 1, next))
				_, err = s.Delete(t.Context(), next.Key, store.ReasonEnded)
				errs <- ignoreGone(err)
			}
		})
	}
	workers.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	for _, owner := range owners {
		records, err := a.ByOwner(t.Context(), owner, "", store.MaxPage)
		require.NoError(t, err)
		require.LessOrEqual(t, len(records), 2, fmt.Sprint(records))
	}
}

// File locks belong to a process, so two pools in one process test less than two processes.
// The processes may use different drivers.
func TestProcessesShareASQLiteFile(t *testing.T) {
	for _, options := range []string{"", "?_pragma=journal_mode(WAL)&_synchronous=FULL"} {
		path := filepath.Join(t.TempDir(), "sessions.db") + options
		s := database{sqlstore.SQLite, "sqlite", path}.node(t, sqlstore.Config{})
		remembered := newRecordOf("session=remembered")
		create(t, s, remembered)

		var created, revived int
		var mu sync.Mutex
		var processes sync.WaitGroup
		for _, driver := range []string{"sqlite", "sqlite3"} {
			processes.Go(func() {
				c := exec.Command(os.Args[0])
				c.Env = append(os.Environ(), "SQLTEST_FILE="+path, "SQLTEST_DRIVER="+driver, "SQLTEST_KEY="+string(must(json.Marshal(remembered.Key))))
				out, err := c.Output()
				var result childResult
				if err == nil {
					err = json.Unmarshal(out, &result)
				}
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("%v: %s", err, out)
				}
				require.Empty(t, result.Errors)
				created += result.Created
				revived += result.Revived
			})
		}
		processes.Wait()
		require.Equal(t, 100, created)
		require.Equal(t, 1, revived, "a remembered session is revived once")
		records, err := s.ByOwner(t.Context(), "session=ada", "", store.MaxPage)
		require.NoError(t, err)
		require.Len(t, records, 3)
	}
}

// A childResult is what a child process writes to its standard output.
type childResult struct {
	Created, Revived int
	Errors           []string
}

// runChildProcess logs in 50 times and tries to revive a session 50 times, concurrently.
func runChildProcess(path string) {
	var key store.Key
	if err := json.Unmarshal([]byte(os.Getenv("SQLTEST_KEY")), &key); err != nil {
		log.Fatal(err)
	}
	s := must(sqlstore.New(must(sql.Open(os.Getenv("SQLTEST_DRIVER"), path)), sqlstore.SQLite, sqlstore.Config{Timeout: 20 * time.Second}))
	var created, revived atomic.Int64
	errs := make(chan error, 100)
	var requests sync.WaitGroup
	for range 50 {
		requests.Go(func() {
			_, err := s.Create(context.Background(), newRecordOf("session=ada"), store.Limit{Max: 3})
			if err == nil {
				created.Add(1)
			}
			errs <- err
		})
		requests.Go(func() {
			err := s.Replace(context.Background(), key, 1, newRecordOf("session=remembered"))
			if err == nil {
				revived.Add(1)
			}
			errs <- ignoreGone(err)
		})
	}
	requests.Wait()
	close(errs)
	result := childResult{Created: int(created.Load()), Revived: int(revived.Load())}
	for err := range errs {
		if err != nil {
			result.Errors = append(result.Errors, err.Error())
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(result)
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
