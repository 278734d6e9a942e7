package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/internal/deadline"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// getValue returns nil if the key does not exist. It uses GETEX, which changes nothing
// here but counts as a write: a replica, which may lag behind its primary, refuses it.
func (s *Store) getValue(ctx context.Context, redisKey string) ([]byte, error) {
	if s.closed.Err() != nil {
		return nil, errClosed
	}
	value, err := s.client.Do(ctx, s.client.B().Getex().Key(redisKey).Build().ToRetryable()).AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return value, err
}

// A markerError holds the move marker or tombstone that a script found in place of a
// session, still encoded.
type markerError struct{ value string }

func (*markerError) Error() string { return "redisstore: the session is gone" }

func (*markerError) Unwrap() error { return store.ErrNotFound }

// runScript runs a script and returns its reply without the leading "ok". Any other status
// becomes an error. With an error that lags, the reply is returned too.
func (s *Store) runScript(ctx context.Context, script *script, key string, moreKeys []string, args ...string) ([]string, error) {
	ctx, cancel := deadline.After(ctx, s.timeout)
	defer cancel()
	reply, err := s.exec(ctx, script, append([]string{key}, moreKeys...), args)
	if lags(err) {
		results, _ := s.results(key, reply)
		return results, s.serverError(key, err)
	}
	if err != nil {
		return nil, s.serverError(key, err)
	}
	return s.results(key, reply)
}

func (s *Store) results(key string, reply []string) ([]string, error) {
	if len(reply) == 0 {
		reply = []string{""}
	}
	switch status, results := reply[0], reply[1:]; {
	case status == "ok":
		return results, nil
	case status == "not found":
		return nil, store.ErrNotFound
	case status == "conflict":
		return nil, store.ErrConflict
	case status == "limit":
		return nil, store.ErrLimit
	case status == "marker" && len(results) == 1:
		return nil, &markerError{results[0]}
	case status == "corrupt" && len(results) == 1:
		return nil, s.withKey(results[0], record.ErrCorrupt)
	case status == "key taken":
		return nil, s.withKey(key, errKeyTaken)
	case status == "owner changed":
		return nil, s.withKey(key, errOwnerChanged)
	}
	return nil, s.withKey(key, fmt.Errorf("a script returned %q", reply))
}

// decodeMarker decodes a markerError for key: into a [store.MovedError], a
// [store.EndedError] or an error for a corrupt marker. It returns other errors unchanged.
func (s *Store) decodeMarker(key store.Key, err error) error {
	var marker *markerError
	if errors.As(err, &marker) {
		_, err = decode(key, []byte(marker.value))
		return s.withKey(s.sessionKey(key), err)
	}
	return err
}

// plainNotFound is decodeMarker for callers that only need to know that there is no
// session: it returns [store.ErrNotFound] itself in place of more specific errors.
func (s *Store) plainNotFound(key store.Key, err error) error {
	if err = s.decodeMarker(key, err); errors.Is(err, store.ErrNotFound) {
		return store.ErrNotFound
	}
	return err
}

// records decodes a script's pairs of an index member of a group and the session's value.
func (s *Store) records(group int, pairs []string) ([]store.Record, error) {
	var records []store.Record
	for ; len(pairs) > 1; pairs = pairs[2:] {
		r, err := s.record(group, pairs[0], pairs[1])
		if err != nil {
			return records, err
		}
		records = append(records, r)
	}
	return records, nil
}

// record decodes an index member of a group and the session's value.
func (s *Store) record(group int, member, value string) (store.Record, error) {
	redisKey := s.groups[group] + "s:" + member
	key, ok := keyFromRedisKey(redisKey)
	if !ok {
		return store.Record{}, s.withKey(redisKey, record.ErrCorrupt)
	}
	r, err := decode(key, []byte(value))
	return r, s.withKey(redisKey, err)
}

// withKey adds the Redis key to an error, unless it is a [store.ErrNotFound].
func (s *Store) withKey(redisKey string, err error) error {
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return err
	}
	return fmt.Errorf("redisstore: %s: %w", quoteKey(redisKey), err)
}

// serverError adds the Redis key to an error of the server or the connection, and removes
// passwords.
func (s *Store) serverError(redisKey string, err error) error {
	return fmt.Errorf("redisstore: %s: %w", quoteKey(redisKey), s.redacted(err))
}

// redacted removes passwords from an error: some servers repeat a command that they do not
// know, with its arguments.
func (s *Store) redacted(err error) error {
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
