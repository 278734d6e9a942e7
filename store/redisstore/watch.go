package redisstore

import (
	"context"
	"time"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/store"
)

// Watch implements [store.Watcher], with a connection of its own. It returns when the
// server has confirmed the subscription, or the error that it has not within Timeout.
func (s *Store) Watch(ctx context.Context, ended func(store.Ending)) error {
	watched, stop := context.WithCancel(ctx)
	forget := context.AfterFunc(s.closed, stop)
	ready := make(chan error, 1)
	s.watching.RLock()
	if s.closed.Err() == nil {
		s.watches.Go(func() {
			defer stop()
			defer forget()
			s.watch(watched, ended, ready)
		})
	} else {
		stop()
	}
	s.watching.RUnlock()

	bounded, cancel := context.WithTimeout(watched, s.timeout)
	defer cancel()
	var err error
	select {
	case err = <-ready:
	case <-bounded.Done():
		err = bounded.Err()
	}
	if err != nil {
		stop()
		return s.failure(s.channel(), err)
	}
	return nil
}

// The first attempt to subscribe is told on ready. What comes between a connection and
// the next is lost: Redis keeps no messages.
func (s *Store) watch(ctx context.Context, ended func(store.Ending), ready chan<- error) {
	const longest = 5 * time.Second
	confirmed, wait := false, time.Duration(0)
	for ctx.Err() == nil {
		err := s.subscribe(ctx, ended, func() {
			if confirmed {
				// Whoever asks now must not be told from the cache, whose own
				// connection may not have heard yet.
				if s.cache != nil {
					s.cache.forget()
				}
				ended(store.Ending{})
			} else {
				ready <- nil
			}
			confirmed, wait = true, 0
		})
		if !confirmed {
			ready <- err
			return
		}
		wait = min(2*wait+100*time.Millisecond, longest)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// subscribe subscribes until ctx is done or the connection is lost.
func (s *Store) subscribe(ctx context.Context, ended func(store.Ending), confirmed func()) error {
	client, release := s.client.Dedicate()
	defer release()
	defer client.Close()
	lost := client.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: func(m rueidis.PubSubMessage) {
		if reason, id, ok := decodeEnd([]byte(m.Message)); ok && ctx.Err() == nil {
			ended(store.Ending{ID: string(id), Reason: reason})
		}
	}})

	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := client.Do(bounded, client.B().Subscribe().Channel(s.channel()).Build()).Error(); err != nil {
		return err
	}
	confirmed()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-lost:
		return err
	}
}

// channel is where the scripts tell of endings.
func (s *Store) channel() string { return s.prefix + "endings" }
