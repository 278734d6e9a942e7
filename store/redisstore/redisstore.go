package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/internal/deadline"
	"github.com/sessionguard-go/sessionguard/store"
)

// Config configures a [Store]. The zero Config is ready to use.
type Config struct {
	// Prefix begins the names of all keys and of the channel. It must not contain
	// braces. Stores with the same prefix on the same server share their sessions.
	// Default: "sessionguard:".
	Prefix string

	// Timeout bounds each call. If the server leaves a ping unanswered for half of
	// it, the connection counts as dead and is closed. Default: 2 seconds.
	Timeout time.Duration

	// CacheFor lets this process use a session for so long after reading it. It bounds
	// how long this process may accept a session that has ended elsewhere: see the
	// package's section on caching. Default: 0, and every request calls the server.
	CacheFor time.Duration

	// WaitReplicas makes a logout wait until replicas have received it, so that a
	// failover cannot undo it: see the package's section on replication. Default: none.
	WaitReplicas WaitReplicas
}

// A Store is a [store.Backend], a [store.Watcher], a [store.Lister] and a [store.Cacher]
// on Redis. Beyond the errors of package store, it returns an error for a key that is
// already taken, for a key outside the owner's group, and for a Replace that changes the
// owner. Errors name the Redis key that they are about, and never contain a password of
// [New].
type Store struct {
	client   *client
	shared   bool // the client is the application's
	timeout  time.Duration
	cacheFor time.Duration
	prefix   string
	groups   [store.Groups]string // the prefix of each group's keys
	secrets  []string             // passwords to keep out of errors
	cache    *cache               // nil: no caching
	recent   *recentWrites        // nil: no caching
	wait     WaitReplicas
	waiting  chan struct{} // holds a value for each call that waits for replicas

	closed  context.Context // done once Close is called
	close   context.CancelFunc
	watchMu sync.RWMutex // a Watch either starts before Close or finds the Store closed
	watches sync.WaitGroup
}

var (
	errClosed       = errors.New("the store is closed")
	errKeyTaken     = errors.New("a session has this key already; make keys from fresh randomness")
	errNoOwner      = errors.New("redisstore: a session needs an owner")
	errOwnerChanged = errors.New("a session cannot be replaced by a session of another owner; create a new one")
	errWrongGroup   = errors.New("redisstore: the key is outside its owner's group; see store.GroupOf")
)

// New connects to the server that option names. It returns an error if the server is
// unreachable, is a replica, or is older than Redis 6.2.
//
// It also returns an error for options that would break a guarantee:
//
//   - reading from replicas
//   - a ConnLifetime: a command in flight when it ends would be executed twice
//   - a DialFn: use DialCtxFn, which can be bounded
//   - with CacheFor, options that replace, disable or reconfigure client-side caching
//
// Timeouts longer than Config.Timeout allows are cut down to it. AuthCredentialsFn has to
// return within Config.Timeout.
func New(option rueidis.ClientOption, config Config) (*Store, error) {
	option, config, err := prepareOptions(option, config)
	if err != nil {
		return nil, err
	}
	s := newStore(config)
	s.secrets = []string{option.Password, option.Sentinel.Password}
	if s.cacheFor > 0 {
		s.recent = newRecentWrites(s.cacheFor)
		s.cache = newCache(s.cacheFor, option.CacheSizeEachConn)
		option.NewCacheStoreFn = s.cache.newConnection
	}
	connected, err := rueidis.NewClient(option)
	if err == nil {
		if err = s.use(connected, directCalls(option)); err != nil {
			connected.Close()
		}
	}
	if err != nil {
		return nil, s.unusable(err)
	}
	return s, nil
}

// NewWithClient is [New] with a client that the application uses for other things too.
// Close does not close it. With Config.CacheFor it returns an error, because the cache
// needs connections of this package.
//
// A client does not show its options. The application sets those that New would:
//
//   - ConnLifetime must not be set: a command in flight when it ends would be executed
//     twice. A logout or a login would seem to have failed.
//   - DialFn must not be set, Dialer.Timeout and ConnWriteTimeout must be at most half of
//     Config.Timeout, and Dialer.KeepAlive a quarter. Otherwise some calls to a server
//     that does not respond take as long as these allow.
//   - BlockingPoolSize must have room for each Watch (a guard has one) and, with
//     WaitReplicas, for 128 calls, beside what the application blocks.
//
// Replicas may serve the application's reads. This package sends only commands that count
// as writes, and a replica refuses those. The application's commands share the pipeline,
// and slow ones delay requests.
func NewWithClient(client rueidis.Client, config Config) (*Store, error) {
	config, err := prepareConfig(config)
	switch {
	case err != nil:
		return nil, err
	case client == nil:
		return nil, errors.New("redisstore: NewWithClient needs a client")
	case config.CacheFor > 0:
		return nil, errors.New("redisstore: Config.CacheFor needs a client of this package; use New")
	}
	s := newStore(config)
	s.shared = true
	if err := s.use(client, 0); err != nil {
		return nil, s.unusable(err)
	}
	return s, nil
}

func newStore(config Config) *Store {
	s := &Store{
		timeout:  config.Timeout,
		cacheFor: config.CacheFor,
		prefix:   config.Prefix,
		groups:   groupPrefixes(config.Prefix),
		wait:     config.WaitReplicas,
		waiting:  make(chan struct{}, maxWaiting),
	}
	s.closed, s.close = context.WithCancel(context.Background())
	return s
}

// use sets the client, if its server is usable. direct is the number of concurrent calls that
// bypass its pipeline.
func (s *Store) use(connected rueidis.Client, direct int) error {
	s.client = &client{Client: connected, direct: int64(direct)}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	_, err := s.getValue(ctx, s.groups[0])
	return err
}

func (s *Store) unusable(err error) error {
	return fmt.Errorf("redisstore: the server is not usable: %w", s.redacted(err))
}

// Close ends every Watch and, unless the client is that of [NewWithClient], closes the
// connections. Later calls fail.
func (s *Store) Close() {
	s.watchMu.Lock()
	s.close()
	s.watchMu.Unlock()
	s.watches.Wait()
	if !s.shared {
		s.client.Close()
	}
}

// Ping returns an error if the server could not serve a login now:
//
//   - it is unreachable, a replica or out of memory, or refuses writes for another reason
//   - a cluster is down, or one of its nodes could not serve the users whose sessions it
//     has
//   - with [WaitReplicas], too few replicas receive what is written
//
// Ping changes nothing, and returns within Config.Timeout. It takes one round trip, on a
// cluster one for each of the 64 groups.
//
// It is for the readiness probe of a process. All processes fail it at the same time, so
// consider what a load balancer does then. A guard would respond with 503 only where a
// session is needed, and serve all other pages.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	groups := s.groups[:1]
	if s.client.Mode() == rueidis.ClientModeCluster {
		groups = s.groups[:]
	}
	for _, group := range groups {
		if _, err := s.runScript(ctx, pingScript, group, nil); err != nil {
			return err
		}
	}
	return nil
}

// Load implements [store.Backend].
func (s *Store) Load(ctx context.Context, key store.Key) (store.Record, error) {
	if r, ok := s.Cached(key); ok {
		return r, nil
	}
	ctx, cancel := deadline.After(ctx, s.timeout)
	defer cancel()
	s.fillCache(ctx, key)
	if r, ok := s.Cached(key); ok {
		return r, nil
	}
	redisKey := s.sessionKey(key)
	value, err := s.getValue(ctx, redisKey)
	if err != nil {
		return store.Record{}, s.serverError(redisKey, err)
	}
	if value == nil {
		return store.Record{}, store.ErrNotFound
	}
	r, err := decode(key, value)
	return r, s.withKey(redisKey, err)
}

// Save implements [store.Backend].
func (s *Store) Save(ctx context.Context, r store.Record) error {
	defer s.noteWrite(r.Key)
	_, err := s.runScript(ctx, saveScript, s.sessionKey(r.Key), nil,
		encodeVersion(r.Version-1), encodeSession(r))
	return s.plainNotFound(r.Key, err)
}

// Create implements [store.Backend].
func (s *Store) Create(ctx context.Context, r store.Record, limit store.Limit) (ended []store.Record, err error) {
	if err := checkRecord(r); err != nil {
		return nil, err
	}
	defer s.noteWrite(r.Key)
	refuse, script := "", createScript
	if limit.Refuse {
		refuse = "1"
	} else if limit.Max > 0 {
		script = createOverLimitScript
	}
	reply, err := s.runScript(ctx, script, s.sessionKey(r.Key), []string{s.indexKey(r.Key.Group())},
		nowMillis(), r.ID, encodeSession(r), ttlUntil(r.GoneAt().Add(store.Grace)), r.Owner,
		strconv.Itoa(limit.Max), refuse,
		encodeTombstone(store.ReasonTooManySessions), tombstoneTTL(store.ReasonTooManySessions))
	if err != nil && !lags(err) {
		return nil, err
	}
	ended, corrupt := s.records(r.Key.Group(), reply)
	for _, r := range ended {
		s.noteWrite(r.Key)
	}
	return ended, cmp.Or(err, corrupt)
}

// Replace implements [store.Backend].
func (s *Store) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	if err := checkRecord(r); err != nil {
		return err
	}
	if old.Group() != r.Key.Group() {
		return errWrongGroup
	}
	defer s.noteWrite(old)
	defer s.noteWrite(r.Key)
	moveUntil := store.TimeOf(time.Now()).Add(store.Grace)
	if r.Revived() {
		moveUntil = max(moveUntil, r.Expires)
	}
	_, err := s.runScript(ctx, replaceScript, s.sessionKey(old), []string{s.sessionKey(r.Key), s.indexKey(old.Group())},
		encodeVersion(version), r.Owner, r.ID, encodeSession(r),
		ttlUntil(r.GoneAt().Add(store.Grace)), encodeMove(r), ttlUntil(moveUntil))
	return s.decodeMarker(old, err)
}

// Delete implements [store.Backend].
func (s *Store) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	defer s.noteWrite(key)
	redisKey := s.sessionKey(key)
	reply, err := s.runScript(ctx, deleteScript, redisKey, nil, encodeTombstone(reason), tombstoneTTL(reason))
	err = s.decodeMarker(key, err)
	var moved *store.MovedError
	switch {
	case errors.As(err, &moved):
		return store.Record{}, err
	case errors.Is(err, store.ErrNotFound):
		return store.Record{}, nil
	case err != nil && len(reply) == 0:
		return store.Record{}, err
	}
	r, corrupt := decode(key, []byte(reply[0]))
	return r, cmp.Or(err, s.withKey(redisKey, corrupt))
}

// checkRecord refuses a record without an owner, or with a key outside its owner's group.
func checkRecord(r store.Record) error {
	switch {
	case r.Owner == "":
		return errNoOwner
	case r.Key.Group() != store.GroupOf(r.Owner):
		return errWrongGroup
	}
	return nil
}

// maxLifetime is three thousand years in milliseconds, far from where Redis overflows.
const maxLifetime = 1e14

// ttlUntil returns the time until t in milliseconds. It is measured by the clock of this
// process, so that the server's does not matter.
func ttlUntil(t store.Time) string {
	return formatInt(min(int64(t-store.TimeOf(time.Now())), maxLifetime))
}

// tombstoneTTL returns how long the server keeps the tombstone of a session that has ended.
func tombstoneTTL(reason store.Reason) string {
	if reason.Retained() {
		return formatInt(store.TombstoneLifetime.Milliseconds())
	}
	return formatInt(store.Grace.Milliseconds())
}

func nowMillis() string { return formatInt(int64(store.TimeOf(time.Now()))) }

func formatInt(n int64) string { return strconv.FormatInt(n, 10) }
