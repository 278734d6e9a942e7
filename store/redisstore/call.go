package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// read returns nil if nothing is there. GETEX counts as a write although it changes
// nothing here: a replica, which may not know what the primary knows, refuses it.
func (s *Store) read(ctx context.Context, name string) ([]byte, error) {
	value, err := s.client.Do(ctx, s.client.B().Getex().Key(name).Build().ToRetryable()).AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return value, err
}

// A leftError is what a script found instead of a session, still encoded.
type leftError struct{ value string }

func (*leftError) Error() string { return "redisstore: the session is gone" }

func (*leftError) Unwrap() error { return store.ErrNotFound }

// run runs a script and returns what it answers besides that all went well.
func (s *Store) run(ctx context.Context, script *rueidis.Lua, key string, more []string, args ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	reply, err := script.Exec(ctx, s.client, append([]string{key}, more...), args).AsStrSlice()
	if err != nil {
		return nil, s.failure(key, err)
	}
	if len(reply) == 0 {
		reply = []string{""}
	}
	switch status, rest := reply[0], reply[1:]; {
	case status == "ok":
		return rest, nil
	case status == "gone":
		return nil, store.ErrNotFound
	case status == "conflict":
		return nil, store.ErrConflict
	case status == "limit":
		return nil, store.ErrLimit
	case status == "left" && len(rest) == 1:
		return nil, &leftError{rest[0]}
	case status == "corrupt" && len(rest) == 1:
		return nil, s.named(rest[0], record.ErrCorrupt)
	case status == "taken":
		return nil, s.named(key, errTaken)
	case status == "owner":
		return nil, s.named(key, errOwner)
	}
	return nil, s.named(key, fmt.Errorf("the server answered %q to a script", reply))
}

// leftAt tells what is left at a key, if a script found that.
func (s *Store) leftAt(key store.Key, err error) error {
	var left *leftError
	if errors.As(err, &left) {
		_, err = decode(key, []byte(left.value))
		return s.named(s.keyOf(key), err)
	}
	return err
}

// onlyGone is leftAt for who only has to know that there is no session.
func (s *Store) onlyGone(key store.Key, err error) error {
	if err = s.leftAt(key, err); errors.Is(err, store.ErrNotFound) {
		return store.ErrNotFound
	}
	return err
}

// records reads pairs of a member and its value.
func (s *Store) records(owner string, pairs []string) ([]store.Record, error) {
	var records []store.Record
	for ; len(pairs) > 1; pairs = pairs[2:] {
		name := s.groups[store.GroupOf(owner)] + "s:" + pairs[0]
		key, ok := parseMember(pairs[0])
		if !ok {
			return records, s.named(name, record.ErrCorrupt)
		}
		r, err := decode(key, []byte(pairs[1]))
		if err != nil {
			return records, s.named(name, err)
		}
		records = append(records, r)
	}
	return records, nil
}

// named says which key an error is about, unless package store has a name for it.
func (s *Store) named(key string, err error) error {
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return err
	}
	return fmt.Errorf("redisstore: %q: %w", key, err)
}

// failure is named for an error of the server or the way to it.
func (s *Store) failure(key string, err error) error {
	return fmt.Errorf("redisstore: %q: %w", key, s.scrubbed(err))
}

// scrubbed takes out passwords: some servers repeat the command that they do not know.
func (s *Store) scrubbed(err error) error {
	text, _, _ := strings.Cut(err.Error(), ", with args beginning with")
	for _, secret := range s.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	if text != err.Error() {
		return errors.New(text)
	}
	return err
}
