package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/store"
)

// Config is how a [Store] uses its server. The zero Config is a good one.
type Config struct {
	// Prefix is what all keys and the channel begin with, without braces. Stores
	// with the same prefix on the same server share their sessions.
	// Default: "sessionguard:".
	Prefix string

	// Timeout bounds each call. A server that leaves a ping unanswered for half of it
	// is taken for dead, and its connection is closed. Default: 2 seconds.
	Timeout time.Duration

	// CacheFor lets this process use what it has read for so long, and is the bound on
	// how long it may accept a session that has ended elsewhere. See the package's
	// section on caching. Default: 0, every request asks the server.
	CacheFor time.Duration
}

// A Store is a [store.Backend] and a [store.Watcher] on Redis. Beyond the errors of
// package store, it refuses a key that is already taken, a key that is not of the
// owner's group and a Replace that changes the owner. An error names the key that it is
// about, and no password.
type Store struct {
	client   *client
	timeout  time.Duration
	cacheFor time.Duration
	prefix   string
	groups   [store.Groups]string // what the keys of each group begin with
	secrets  []string
	cache    *cache // nil: no caching
	written  *written

	closed   context.Context
	close    context.CancelFunc
	watching sync.RWMutex // a Watch begins before Close, or finds it closed
	watches  sync.WaitGroup
}

var (
	errTaken  = errors.New("a session has this key already; make keys from fresh randomness")
	errNobody = errors.New("redisstore: a session needs an owner")
	errOwner  = errors.New("a session can not be replaced by one of another owner; create a new one")
	errGroup  = errors.New("redisstore: the key is not of its owner's group; see store.GroupOf")
)

// New connects to the server that option names. It fails if that is not there, is a
// replica, or is older than Redis 6.2.
//
// It refuses options that break a promise: to read from replicas, a ConnLifetime (what is
// under way then is done twice), a DialFn (use DialCtxFn, which can be bounded), and with CacheFor those that replace, disable or
// reconfigure client-side caching. Timeouts that are longer than Config.Timeout allows
// are cut down to it. AuthCredentialsFn has to return within it.
func New(option rueidis.ClientOption, config Config) (*Store, error) {
	option, config, err := settle(option, config)
	if err != nil {
		return nil, err
	}
	s := &Store{
		timeout:  config.Timeout,
		cacheFor: config.CacheFor,
		prefix:   config.Prefix,
		groups:   groupPrefixes(config.Prefix),
		secrets:  []string{option.Password, option.Sentinel.Password},
	}
	if s.cacheFor > 0 {
		s.written = newWritten(s.cacheFor)
		s.cache = newCache(s.cacheFor, option.CacheSizeEachConn)
		option.NewCacheStoreFn = s.cache.connect
	}
	connected, err := rueidis.NewClient(option)
	if err == nil {
		s.client = &client{Client: connected}
		ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
		defer cancel()
		_, err = s.read(ctx, s.groups[0])
	}
	if err != nil {
		if s.client != nil {
			s.client.Close()
		}
		return nil, fmt.Errorf("redisstore: the server is not usable: %w", s.scrubbed(err))
	}
	s.closed, s.close = context.WithCancel(context.Background())
	return s, nil
}

// Close closes the connections and ends every Watch. Later calls fail.
func (s *Store) Close() {
	s.watching.Lock()
	s.close()
	s.watching.Unlock()
	s.watches.Wait()
	s.client.Close()
}

// Load implements [store.Backend].
func (s *Store) Load(ctx context.Context, key store.Key) (store.Record, error) {
	if r, ok := s.Cached(key); ok {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	s.fill(ctx, key)
	if r, ok := s.Cached(key); ok {
		return r, nil
	}
	name := s.keyOf(key)
	value, err := s.read(ctx, name)
	if err != nil {
		return store.Record{}, s.failure(name, err)
	}
	if value == nil {
		return store.Record{}, store.ErrNotFound
	}
	r, err := decode(key, value)
	return r, s.named(name, err)
}

// Touch implements [store.Backend].
func (s *Store) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	name := s.keyOf(key)
	_, err := s.run(ctx, touch, name, nil, now(), number(int64(seen)), member(key), number(store.Grace.Milliseconds()))
	if err == nil && s.cache != nil {
		s.written.touch(key, seen)
		return nil
	}
	s.wrote(key)
	return s.onlyGone(key, err)
}

// Save implements [store.Backend].
func (s *Store) Save(ctx context.Context, key store.Key, version uint64, values []byte) error {
	defer s.wrote(key)
	_, err := s.run(ctx, save, s.keyOf(key), nil,
		encodeVersion(version), encodeVersion(version+1), rueidis.BinaryString(values))
	return s.onlyGone(key, err)
}

// Create implements [store.Backend].
func (s *Store) Create(ctx context.Context, r store.Record, limit store.Limit) (ended []store.Record, err error) {
	if err := check(r); err != nil {
		return nil, err
	}
	defer s.wrote(r.Key)
	ttl, at := lifetime(r.GoneAt().Add(store.Grace))
	refuse := ""
	if limit.Refuse {
		refuse = "1"
	}
	reply, err := s.run(ctx, create, s.keyOf(r.Key), []string{s.indexOf(r.Owner)},
		now(), member(r.Key), encode(r), ttl, at, r.Owner,
		strconv.Itoa(limit.Max), refuse, encodeEnd(store.ReasonTooManySessions), number(store.TombstoneLifetime.Milliseconds()))
	if err != nil {
		return nil, err
	}
	ended, err = s.records(r.Owner, reply)
	for _, r := range ended {
		s.wrote(r.Key)
	}
	return ended, err
}

// Replace implements [store.Backend].
func (s *Store) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	if err := check(r); err != nil {
		return err
	}
	if old.Group() != r.Key.Group() {
		return errGroup
	}
	defer s.wrote(old)
	defer s.wrote(r.Key)
	ttl, at := lifetime(r.GoneAt().Add(store.Grace))
	kept := store.TimeOf(time.Now()).Add(store.Grace)
	if r.Revived() {
		kept = max(kept, r.Expires)
	}
	moveTTL, _ := lifetime(kept)
	_, err := s.run(ctx, replace, s.keyOf(old), []string{s.keyOf(r.Key), s.indexOf(r.Owner)},
		encodeVersion(version), r.Owner, member(r.Key), member(old), encode(r), ttl, at, encodeMove(r), moveTTL)
	return s.leftAt(old, err)
}

// Delete implements [store.Backend].
func (s *Store) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	defer s.wrote(key)
	name, kept := s.keyOf(key), store.Grace
	if reason.Retained() {
		kept = store.TombstoneLifetime
	}
	reply, err := s.run(ctx, remove, name, nil, member(key), encodeEnd(reason), number(kept.Milliseconds()))
	err = s.leftAt(key, err)
	var moved *store.MovedError
	switch {
	case errors.As(err, &moved):
		return store.Record{}, err
	case errors.Is(err, store.ErrNotFound):
		return store.Record{}, nil
	case err != nil:
		return store.Record{}, err
	}
	r, err := decode(key, []byte(reply[0]))
	return r, s.named(name, err)
}

// portion is how many sessions ByOwner reads at once: nobody else is served meanwhile.
const portion = 256

// ByOwner implements [store.Backend]. It asks once, or where there are more than 256 once
// for each so many. One that moves meanwhile is found where it is by then.
func (s *Store) ByOwner(ctx context.Context, owner string) ([]store.Record, error) {
	index := s.indexOf(owner)
	read := map[string]bool{}
	var records []store.Record
	for {
		reply, err := s.run(ctx, list, index, nil, owner)
		if err != nil {
			return nil, err
		}
		if reply[0] == "sessions" {
			return s.records(owner, reply[1:])
		}
		unread := slices.DeleteFunc(reply[1:], func(name string) bool { return read[name] })
		if len(unread) == 0 {
			return records, nil
		}
		for names := range slices.Chunk(unread, portion) {
			reply, err := s.run(ctx, list, index, nil, append([]string{owner}, names...)...)
			if err != nil {
				return nil, err
			}
			some, err := s.records(owner, reply[1:])
			if err != nil {
				return nil, err
			}
			records = append(records, some...)
			for _, name := range names {
				read[name] = true
			}
		}
	}
}

func check(r store.Record) error {
	switch {
	case r.Owner == "":
		return errNobody
	case r.Key.Group() != store.GroupOf(r.Owner):
		return errGroup
	}
	return nil
}

// lifetime is how long it is until a moment by the clock of this process, so that the
// server's does not matter, and the moment, both in milliseconds.
func lifetime(until store.Time) (ttl, at string) {
	const most = 1e14 // three thousand years, far from where Redis overflows
	left := min(int64(until-store.TimeOf(time.Now())), most)
	return number(left), number(int64(until))
}

func now() string { return number(int64(store.TimeOf(time.Now()))) }

func number(n int64) string { return strconv.FormatInt(n, 10) }
