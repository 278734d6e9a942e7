package main

import (
	"bytes"
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/sessionguardtest"
	"github.com/sessionguard-go/sessionguard/store"
)

type someone string

func (s someone) UserID() string      { return string(s) }
func (s someone) IsActive() bool      { return true }
func (s someone) HasRole(string) bool { return false }

// A session that a database keeps can be made older, as sessionguardtest says.
func TestSessionsInADatabaseAge(t *testing.T) {
	for name, c := range map[string]cluster{
		"SQLite": {db: filepath.Join(t.TempDir(), "sessions.db")},
		"Redis":  {redis: servers.Redis(t, servers.RedisOptions{}).Addr, keys: filepath.Join(t.TempDir(), "keys")},
	} {
		t.Run(name, func(t *testing.T) {
			sessions, _, err := c.storage()
			if err != nil {
				t.Fatal(err)
			}
			backend, closeBackend, err := sessions.open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer closeBackend()
			testAge(t, backend)
		})
	}
}

func testAge(t *testing.T, backend store.Backend) {
	guard, err := sessionguard.New(sessionguard.Config[someone]{
		Backend:  backend,
		Keys:     [][]byte{bytes.Repeat([]byte("k"), 32)},
		FindUser: func(_ context.Context, id string) (someone, error) { return someone(id), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	page := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	client := sessionguardtest.NewClient(t, guard.RequireFresh(5*time.Minute)(page))
	sessionguardtest.Login(t, guard, client, "ada")
	client.Get("/").HasStatus(http.StatusOK)
	sessionguardtest.Age(t, guard, client, 5*time.Minute)
	client.Get("/").HasStatus(http.StatusUnauthorized)
	sessionguardtest.Idle(t, guard, client, 28*time.Minute)
	sessionguardtest.LoggedIn(t, guard, client)
	sessionguardtest.Idle(t, guard, client, 2*time.Minute)
	sessionguardtest.LoggedOut(t, guard, client, store.ReasonIdle)

	sessionguardtest.Login(t, guard, client, "ada")
	sessionguardtest.Age(t, guard, client, 12*time.Hour)
	sessionguardtest.LoggedOut(t, guard, client, store.ReasonAbsolute)
}
