package redisstore

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// countPage is how many sessions Count counts at a time. That takes the server about as long as a
// page of ByOwner.
const countPage = 2 * store.MaxPage

// All implements [store.Lister]. It takes one round trip for each [store.MaxPage]
// sessions, and at least one for each group of owners. On a cluster, a node that hangs
// takes a quarter of Config.Timeout for each group that it has. If a value is corrupt, a
// group cannot be read or replicas lag, All yields the error after all other sessions, so
// that the caller can still end these.
func (s *Store) All(ctx context.Context, realm string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		var failed error
		script, timeout := allScript, s.timeout
		for group := range store.Groups {
			for position, more := "", true; more; more = position != "" {
				call, cancel := context.WithTimeout(ctx, timeout)
				reply, err := s.runScript(call, script, s.indexKey(group), nil, realm, position, strconv.Itoa(store.MaxPage))
				cancel()
				failed, timeout = cmp.Or(failed, err), s.timeout
				if lags(err) {
					script = allScript.as(repeatable) // the other pages would wait in vain
				} else if err != nil {
					if s.isDown(ctx, err) {
						yield(store.Record{}, failed)
						return
					}
					timeout /= 4 // the next group is most likely on the same node
					break
				}
				position = reply[0]
				for pairs := reply[1:]; len(pairs) > 1; pairs = pairs[2:] {
					r, err := s.record(group, pairs[0], pairs[1])
					failed = cmp.Or(failed, err)
					if err == nil && store.RealmOf(r.Owner) == realm && !yield(r, nil) {
						return
					}
				}
			}
		}
		if failed != nil {
			yield(store.Record{}, failed)
		}
	}
}

// isDown reports whether after an error of one group calls for others would fail as well, and
// may each take as long. In a cluster, other groups are on other nodes.
func (s *Store) isDown(ctx context.Context, err error) bool {
	var refusal *rueidis.RedisError
	return ctx.Err() != nil || s.client.Mode() != rueidis.ClientModeCluster && !errors.As(err, &refusal)
}

// Count implements [store.Lister]. It takes one round trip for each 512 sessions, and at least
// one for each group of owners.
func (s *Store) Count(ctx context.Context, realm string) (count int, err error) {
	for group := range store.Groups {
		for position, more := "", true; more; more = position != "" {
			reply, err := s.runScript(ctx, countScript, s.indexKey(group), nil, realm, position, strconv.Itoa(countPage), nowMillis())
			if err != nil {
				return 0, err
			}
			n, err := strconv.Atoi(reply[1])
			if err != nil {
				return 0, s.withKey(s.indexKey(group), record.ErrCorrupt)
			}
			count, position = count+n, reply[0]
		}
	}
	return count, nil
}
