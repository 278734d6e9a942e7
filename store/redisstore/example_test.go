package redisstore_test

import (
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store/redisstore"
)

type user struct{ id string }

func (u *user) UserID() string      { return u.id }
func (u *user) IsActive() bool      { return true }
func (u *user) HasRole(string) bool { return false }

func Example() {
	sessions, err := redisstore.New(rueidis.ClientOption{
		InitAddress: []string{"redis.internal:6379"},
		Username:    "sessions",
		Password:    os.Getenv("REDIS_PASSWORD"),
		TLSConfig:   &tls.Config{ServerName: "redis.internal"},
	}, redisstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()

	guard, err := sessionguard.New(sessionguard.Config[*user]{
		Backend: sessions,
		// FindUser and Keys, the same Keys on every node
	})
	_, _ = guard, err
}

// Several addresses name nodes of a cluster. Any of its nodes will do.
func ExampleNew_cluster() {
	sessions, err := redisstore.New(rueidis.ClientOption{
		InitAddress: []string{"redis-1:6379", "redis-2:6379", "redis-3:6379"},
	}, redisstore.Config{})
	_, _ = sessions, err
}

// With MasterSet, the addresses are those of the sentinels.
func ExampleNew_sentinel() {
	sessions, err := redisstore.New(rueidis.ClientOption{
		InitAddress: []string{"sentinel-1:26379", "sentinel-2:26379", "sentinel-3:26379"},
		Sentinel:    rueidis.SentinelOption{MasterSet: "main"},
	}, redisstore.Config{})
	_, _ = sessions, err
}

// With CacheFor, most requests need no round trip. A session that has ended on another node
// may be accepted for a moment longer, in the worst case for a second.
func ExampleNew_caching() {
	sessions, err := redisstore.New(rueidis.ClientOption{
		InitAddress: []string{"redis.internal:6379"},
	}, redisstore.Config{CacheFor: time.Second})
	_, _ = sessions, err
}

// A logout is confirmed once a replica knows of it too, so that no failover undoes it. While no
// replica answers, logouts fail with 503 after half a second.
func ExampleWaitReplicas() {
	sessions, err := redisstore.New(rueidis.ClientOption{
		InitAddress: []string{"sentinel-1:26379", "sentinel-2:26379", "sentinel-3:26379"},
		Sentinel:    rueidis.SentinelOption{MasterSet: "main"},
	}, redisstore.Config{
		WaitReplicas: redisstore.WaitReplicas{Number: 1, Timeout: 500 * time.Millisecond},
	})
	_, _ = sessions, err
}

// An application that uses Redis for other things too needs no second set of connections.
func ExampleNewWithClient() {
	const timeout = 2 * time.Second
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress:      []string{"redis.internal:6379"},
		Dialer:           net.Dialer{Timeout: timeout / 2, KeepAlive: timeout / 4},
		ConnWriteTimeout: timeout / 2,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	sessions, err := redisstore.NewWithClient(client, redisstore.Config{Timeout: timeout})
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close() // the client stays open
}

// A load balancer sends no requests to a process that is not ready.
func ExampleStore_Ping() {
	var sessions *redisstore.Store // from New
	http.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Ping(r.Context()); err != nil {
			log.Print(err)
			http.Error(w, "not ready", http.StatusServiceUnavailable)
		}
	})
}
