package nodes

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

const (
	forgetsAll       = "a kill loses everything"
	forgetsDeletes   = "a kill loses confirmed ends of sessions"
	forgetsSaves     = "a kill loses confirmed values"
	forgetsDevices   = "a kill loses the devices that sessions are bound to"
	saysNotFound     = "an unreachable server counts as no such session"
	confirmsAlways   = "an end is confirmed without the server"
	hangs            = "there is no timeout"
	readsOn          = "sessions are read from a cache while the server is paused"
	staysAway        = "a lost connection is never replaced"
	failsNow         = "a command fails now and then"
	cannotBeKilled   = "the server cannot be killed"
	undoesWhenLate   = "a save after its timeout may bring a session back"
	refusesForAWhile = "a starting server reports no such session"
)

var (
	errDown    = errors.New("the server is down")
	errTimeout = errors.New("the server does not respond")
)

// unreliable is a server in memory that fails on demand and has one mistake. It is also the
// nodes' backend.
type unreliable struct {
	mistake string

	mu       sync.Mutex
	memory   *store.Memory
	down     bool
	paused   chan struct{} // nil, or closed by Resume
	deleted  []store.Record
	started  time.Time
	requests int
	saved    []store.Record // as they were before the save
}

// call runs do on the server. do may run after call has given up waiting.
func (u *unreliable) call(ctx context.Context, do func(context.Context, *store.Memory) error) error {
	time.Sleep(time.Millisecond)
	u.mu.Lock()
	u.requests++
	failed := u.mistake == failsNow && u.requests%100 == 0
	memory, down, paused := u.memory, u.down, u.paused
	starting := u.mistake == refusesForAWhile && time.Since(u.started) < 50*time.Millisecond
	u.mu.Unlock()
	switch {
	case failed:
		return errDown
	case starting:
		return store.ErrNotFound
	case down && u.mistake == saysNotFound:
		return store.ErrNotFound
	case down:
		return errDown
	case paused == nil:
		return do(context.Background(), memory)
	}
	done := make(chan error, 1)
	go func() {
		<-paused
		time.Sleep(200 * time.Millisecond) // as on another connection, after new commands
		done <- do(context.Background(), memory)
	}()
	timeout := time.After(time.Second)
	if u.mistake == hangs {
		timeout = nil
	}
	select {
	case err := <-done:
		return err
	case <-timeout:
		return errTimeout
	}
}

func (u *unreliable) Kill() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	ctx := context.Background()
	switch u.mistake {
	case cannotBeKilled:
		return nil
	case forgetsAll:
		u.memory = store.NewMemory()
	case forgetsDeletes:
		for _, r := range u.deleted {
			_, _ = u.memory.Create(ctx, r, store.Limit{})
		}
	case forgetsDevices:
		for _, before := range u.saved {
			if now, err := u.memory.Load(ctx, before.Key); err == nil {
				session, details := *now.Session, now.Detail()
				details.Device, session.Details, now.Session = nil, &details, &session
				session.Version++
				_ = u.memory.Save(ctx, now)
			}
		}
	case forgetsSaves:
		for _, before := range u.saved {
			if now, err := u.memory.Load(ctx, before.Key); err == nil {
				_ = u.memory.Save(ctx, atVersion(before, now.Version+1))
			}
		}
	}
	u.down = true
	return nil
}

func (u *unreliable) Start() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.down, u.started = u.mistake == staysAway, time.Now()
	return nil
}

func (u *unreliable) Cut() error     { u.mu.Lock(); defer u.mu.Unlock(); u.down = true; return nil }
func (u *unreliable) Restore() error { return u.Start() }

func (u *unreliable) Pause() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.paused = make(chan struct{})
	return nil
}

func (u *unreliable) Resume() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	close(u.paused)
	u.paused = nil
	return nil
}

func (u *unreliable) Create(ctx context.Context, r store.Record, limit store.Limit) (ended []store.Record, err error) {
	return ended, u.call(ctx, func(ctx context.Context, m *store.Memory) error {
		_, err := m.Create(ctx, r, limit)
		return err
	})
}

func (u *unreliable) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	return u.call(ctx, func(ctx context.Context, m *store.Memory) error { return m.Replace(ctx, old, version, r) })
}

func (u *unreliable) Load(ctx context.Context, key store.Key) (store.Record, error) {
	u.mu.Lock()
	paused, memory := u.paused != nil, u.memory
	u.mu.Unlock()
	if paused && u.mistake == readsOn {
		if r, err := memory.Load(ctx, key); err == nil {
			return r, nil
		}
	}
	found := make(chan store.Record, 1)
	err := u.call(ctx, func(ctx context.Context, m *store.Memory) error {
		r, err := m.Load(ctx, key)
		found <- r
		return err
	})
	if err != nil {
		return store.Record{}, err
	}
	return <-found, nil
}

func (u *unreliable) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	return u.call(ctx, func(ctx context.Context, m *store.Memory) error { return m.Touch(ctx, key, seen) })
}

func (u *unreliable) Save(ctx context.Context, r store.Record) error {
	u.mu.Lock()
	loaded, _ := u.memory.Load(ctx, r.Key)
	u.mu.Unlock()
	return u.call(ctx, func(ctx context.Context, m *store.Memory) error {
		before, _ := m.Load(ctx, r.Key)
		err := m.Save(ctx, r)
		if u.mistake == undoesWhenLate && errors.Is(err, store.ErrNotFound) {
			_, err = m.Create(ctx, loaded, store.Limit{})
			return err
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if err == nil {
			u.saved = append(u.saved, before)
		}
		return err
	})
}

func (u *unreliable) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	ended := make(chan store.Record, 1)
	err := u.call(ctx, func(ctx context.Context, m *store.Memory) error {
		before, _ := m.Load(ctx, key)
		r, err := m.Delete(ctx, key, reason)
		if r.Session != nil {
			u.mu.Lock()
			u.deleted = append(u.deleted, before)
			u.mu.Unlock()
		}
		ended <- r
		return err
	})
	if errors.Is(err, errDown) && u.mistake == confirmsAlways {
		return store.Record{}, nil
	}
	if err != nil {
		return store.Record{}, err
	}
	return <-ended, nil
}

func (u *unreliable) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	return result(u, ctx, func(ctx context.Context, m *store.Memory) (store.Record, error) {
		return m.LoadByID(ctx, owner, id)
	})
}

func (u *unreliable) ByOwner(ctx context.Context, owner, after string, max int) ([]store.Record, error) {
	return result(u, ctx, func(ctx context.Context, m *store.Memory) ([]store.Record, error) {
		return m.ByOwner(ctx, owner, after, max)
	})
}

func (u *unreliable) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	return result(u, ctx, func(ctx context.Context, m *store.Memory) ([]store.Record, error) {
		return m.DeleteByID(ctx, ends)
	})
}

// result is call for a method that returns more than an error.
func result[R any](u *unreliable, ctx context.Context, do func(context.Context, *store.Memory) (R, error)) (none R, err error) {
	results := make(chan R, 1)
	err = u.call(ctx, func(ctx context.Context, m *store.Memory) error {
		r, err := do(ctx, m)
		results <- r
		return err
	})
	if err != nil {
		return none, err
	}
	return <-results, nil
}
