package sqltest

import (
	"context"
	"database/sql"
	"encoding/json"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// Locks of a file are the process's, so that two pools of one show less than two
// processes.
func TestProcessesShareAFile(t *testing.T) {
	for _, options := range []string{"", "?_pragma=journal_mode(WAL)"} {
		path := filepath.Join(t.TempDir(), "sessions.db") + options
		s := database{sqlstore.SQLite, "sqlite", path}.node(t, sqlstore.Config{})
		remembered := newRecordOf("session=remembered")
		create(t, s, remembered)

		var created, revived int
		var mu sync.Mutex
		var processes sync.WaitGroup
		for range 2 {
			processes.Go(func() {
				c := exec.Command(os.Args[0])
				c.Env = append(os.Environ(), "SQLTEST_FILE="+path, "SQLTEST_KEY="+string(must(json.Marshal(remembered.Key))))
				out, err := c.Output()
				var did did
				if err == nil {
					err = json.Unmarshal(out, &did)
				}
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("%v: %s", err, out)
				}
				require.Empty(t, did.Errors)
				created += did.Created
				revived += did.Revived
			})
		}
		processes.Wait()
		require.Equal(t, 100, created)
		require.Equal(t, 1, revived, "a remembered session is revived once")
		records, err := s.ByOwner(t.Context(), "session=ada")
		require.NoError(t, err)
		require.Len(t, records, 3)
	}
}

type did struct {
	Created, Revived int
	Errors           []string
}

// beAnotherProcess logs in 50 times and revives a session 50 times, all at once.
func beAnotherProcess(path string) {
	var key store.Key
	if err := json.Unmarshal([]byte(os.Getenv("SQLTEST_KEY")), &key); err != nil {
		log.Fatal(err)
	}
	s := must(sqlstore.New(must(sql.Open("sqlite", path)), sqlstore.SQLite, sqlstore.Config{Timeout: 20e9}))
	var created, revived atomic.Int64
	errs := make(chan error, 100)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			_, err := s.Create(context.Background(), newRecordOf("session=ada"), store.Limit{Max: 3})
			if err == nil {
				created.Add(1)
			}
			errs <- err
		})
		all.Go(func() {
			err := s.Replace(context.Background(), key, 1, newRecordOf("session=remembered"))
			if err == nil {
				revived.Add(1)
			}
			errs <- unlessGone(err)
		})
	}
	all.Wait()
	close(errs)
	result := did{Created: int(created.Load()), Revived: int(revived.Load())}
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
