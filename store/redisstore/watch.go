package redisstore

import (
	"context"
	"time"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/store"
)

// Watch implements [store.Watcher], on a connection of its own. It returns once the server
// has confirmed the subscription, or with an error if that fails or takes longer than
// Config.Timeout.
func (s *Store) Watch(ctx context.Context, onEnding func(store.Ending)) error {
	watchCtx, stop := context.WithCancel(ctx)
	unregister := context.AfterFunc(s.closed, stop)
	ready := make(chan error, 1)
	s.watchMu.RLock()
	if s.closed.Err() == nil {
		s.watches.Go(func() {
			defer stop()
			defer unregister()
			s.keepSubscribed(watchCtx, onEnding, ready)
		})
	} else {
		stop()
	}
	s.watchMu.RUnlock()

	bounded, cancel := context.WithTimeout(watchCtx, s.timeout)
	defer cancel()
	var err error
	select {
	case err = <-ready:
	case <-bounded.Done():
		err = bounded.Err()
	}
	if err != nil {
		stop()
		return s.serverError(s.channel(), err)
	}
	return nil
}

// keepSubscribed subscribes until ctx is done, again after each lost connection, and sends
// the result of the first attempt to ready. Messages published between two connections are
// lost, because Redis does not store them; an empty Ending reports that.
func (s *Store) keepSubscribed(ctx context.Context, onEnding func(store.Ending), ready chan<- error) {
	const maxDelay = 5 * time.Second
	confirmed, delay := false, time.Duration(0)
	for ctx.Err() == nil {
		err := s.subscribe(ctx, onEnding, func() {
			if confirmed {
				// The caller will check its sessions now. The cache must not serve them: the
				// invalidations on its own connection may still be on their way.
				if s.cache != nil {
					s.cache.invalidateAll()
				}
				onEnding(store.Ending{})
			} else {
				ready <- nil
			}
			confirmed, delay = true, 0
		})
		if !confirmed {
			ready <- err
			return
		}
		delay = min(2*delay+100*time.Millisecond, maxDelay)
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
}

// subscribe subscribes until ctx is done or the connection is lost. It calls onConfirmed
// when the server has confirmed the subscription.
func (s *Store) subscribe(ctx context.Context, onEnding func(store.Ending), onConfirmed func()) error {
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	client, release, err := dedicate(bounded, s.client)
	if err != nil {
		return err
	}
	defer release()
	defer client.Close()
	lost := client.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: func(m rueidis.PubSubMessage) {
		if reason, id, ok := decodeTombstone([]byte(m.Message)); ok && ctx.Err() == nil {
			onEnding(store.Ending{ID: string(id), Reason: reason})
		}
	}})
	if err := client.Do(bounded, client.B().Subscribe().Channel(s.channel()).Build()).Error(); err != nil {
		return err
	}
	onConfirmed()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-lost:
		return err
	}
}

// channel returns the name of the channel to which the scripts publish endings.
func (s *Store) channel() string { return s.prefix + "endings" }
