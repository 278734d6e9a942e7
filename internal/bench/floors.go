package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"
)

// floorName marks the subjects that are no libraries. They only send the commands without which
// no library can read and write the session with each request, so none with the same client
// library can be faster.
const floorName = "floor: "

// storedSession is as long as what scs stores of the site's session.
var storedSession = bytes.Repeat([]byte{'s'}, 235)

// A floorStore has the commands of one client library.
type floorStore struct {
	get    func(ctx context.Context, key string) ([]byte, error)
	set    func(ctx context.Context, key string, value []byte) error
	create func(ctx context.Context, key string, value []byte) error
}

// newFloorSubject returns a site that reads its session and stores it again, and does nothing
// else: no gate, no decoding.
func newFloorSubject(name string, store floorStore) subject {
	return subject{
		name: floorName + name,
		page: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, key, _ := strings.Cut(r.Header["Cookie"][0], "=")
			data, err := store.get(r.Context(), key)
			check(err == nil && len(data) == len(storedSession))
			err = store.set(r.Context(), key, data)
			check(err == nil)
			page(w, r)
		}),
		login: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			key := rand.Text()
			err := store.create(r.Context(), key, storedSession)
			check(err == nil)
			http.SetCookie(w, &http.Cookie{Name: "session", Value: key})
			page(w, r)
		}),
	}
}

func newRedigoFloor(pool *redis.Pool) subject {
	do := func(command string, args ...any) (any, error) {
		c := pool.Get()
		defer c.Close()
		return c.Do(command, args...)
	}
	get := func(_ context.Context, key string) ([]byte, error) { return redis.Bytes(do("GET", "floor:"+key)) }
	set := func(_ context.Context, key string, value []byte) error {
		_, err := do("SET", "floor:"+key, value, "PX", idle.Milliseconds())
		return err
	}
	return newFloorSubject("two commands alone (GET, then SET), redigo", floorStore{get, set, set})
}

// A pipingClient sends commands as redisstore does: up to 16 at a time have connections of their
// own, which is fastest for them, and more go through a pipeline.
type pipingClient struct {
	rueidis.Client
	inFlight atomic.Int64
}

func (c *pipingClient) Do(ctx context.Context, command rueidis.Completed) rueidis.RedisResult {
	defer c.inFlight.Add(-1)
	if c.inFlight.Add(1) > 16 {
		command = command.ToPipe()
	}
	return c.Client.Do(ctx, command)
}

func newRueidisFloor(c rueidis.Client) subject {
	client := &pipingClient{Client: c}
	return newFloorSubject("two commands alone (GET, then SET), rueidis", floorStore{getOf(client), setOf(client), setOf(client)})
}

// newScriptFloor does not write the session again, which could bring back one that has ended, or
// old values. It changes eight bytes of it, if they are older.
func newScriptFloor(c rueidis.Client) subject {
	client := &pipingClient{Client: c}
	script := rueidis.NewLuaScriptRetryable(`
		if redis.call('GETRANGE', KEYS[1], 0, 7) >= ARGV[1] then return 0 end
		redis.call('SETRANGE', KEYS[1], 0, ARGV[1])
		return 1`)
	var time atomic.Uint64
	time.Store(math.MaxUint64 / 2) // later than what storedSession begins with
	touch := func(ctx context.Context, key string, _ []byte) error {
		now := binary.BigEndian.AppendUint64(nil, time.Add(1))
		changed, err := script.Exec(ctx, client, []string{"floor:" + key}, []string{rueidis.BinaryString(now)}).AsInt64()
		check(err != nil || changed == 1)
		return err
	}
	return newFloorSubject("GET, then the shortest script that changes a time, rueidis", floorStore{getOf(client), touch, setOf(client)})
}

func getOf(client rueidis.Client) func(context.Context, string) ([]byte, error) {
	return func(ctx context.Context, key string) ([]byte, error) {
		return client.Do(ctx, client.B().Get().Key("floor:"+key).Build()).AsBytes()
	}
}

func setOf(client rueidis.Client) func(context.Context, string, []byte) error {
	return func(ctx context.Context, key string, value []byte) error {
		return client.Do(ctx, client.B().Set().Key("floor:"+key).Value(rueidis.BinaryString(value)).Px(idle).Build()).Error()
	}
}

const (
	floorSelect = "SELECT data FROM floor WHERE token = $1"
	floorUpdate = "UPDATE floor SET data = $2, expiry = $3 WHERE token = $1"
	floorInsert = "INSERT INTO floor (token, data, expiry) VALUES ($1, $2, $3)"
)

func newPgxFloor(ctx context.Context, pool *pgxpool.Pool) subject {
	_, err := pool.Exec(ctx, "CREATE TABLE IF NOT EXISTS floor (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL)")
	check(err == nil)
	get := func(ctx context.Context, key string) (data []byte, err error) {
		err = pool.QueryRow(ctx, floorSelect, key).Scan(&data)
		return data, err
	}
	execute := func(statement string) func(context.Context, string, []byte) error {
		return func(ctx context.Context, key string, value []byte) error {
			_, err := pool.Exec(ctx, statement, key, value, time.Now().Add(idle))
			return err
		}
	}
	return newFloorSubject("SELECT, then UPDATE of one row alone, pgx", floorStore{get, execute(floorUpdate), execute(floorInsert)})
}

// newSQLFloor sends the statements of newPgxFloor, which makes their table, through database/sql,
// and gives each five seconds.
func newSQLFloor(db *sql.DB) subject {
	get := func(ctx context.Context, key string) (data []byte, err error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err = db.QueryRowContext(ctx, floorSelect, key).Scan(&data)
		return data, err
	}
	execute := func(statement string) func(context.Context, string, []byte) error {
		return func(ctx context.Context, key string, value []byte) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			_, err := db.ExecContext(ctx, statement, key, value, time.Now().Add(idle))
			return err
		}
	}
	return newFloorSubject("the same through database/sql, with a timeout", floorStore{get, execute(floorUpdate), execute(floorInsert)})
}
