package acceptance

import (
	"context"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// skewedBackend simulates a node whose clock is ahead. All nodes of a test share one
// clock, so skewedBackend makes the times that the node reads earlier, and those that it
// writes later.
type skewedBackend struct {
	store.Backend
	ahead time.Duration
}

func (s skewedBackend) Create(ctx context.Context, r store.Record, limit store.Limit) ([]store.Record, error) {
	ended, err := s.Backend.Create(ctx, shift(r, s.ahead), limit)
	for i := range ended {
		ended[i] = shift(ended[i], -s.ahead)
	}
	return ended, err
}

func (s skewedBackend) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	return s.Backend.Replace(ctx, old, version, shift(r, s.ahead))
}

func (s skewedBackend) Save(ctx context.Context, r store.Record) error {
	return s.Backend.Save(ctx, shift(r, s.ahead))
}

func (s skewedBackend) Load(ctx context.Context, key store.Key) (store.Record, error) {
	r, err := s.Backend.Load(ctx, key)
	return shift(r, -s.ahead), err
}

func (s skewedBackend) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	return s.Backend.Touch(ctx, key, seen.Add(s.ahead))
}

func (s skewedBackend) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	r, err := s.Backend.Delete(ctx, key, reason)
	return shift(r, -s.ahead), err
}

func (s skewedBackend) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	r, err := s.Backend.LoadByID(ctx, owner, id)
	return shift(r, -s.ahead), err
}

func (s skewedBackend) ByOwner(ctx context.Context, owner, after string, max int) ([]store.Record, error) {
	records, err := s.Backend.ByOwner(ctx, owner, after, max)
	for i := range records {
		records[i] = shift(records[i], -s.ahead)
	}
	return records, err
}

func (s skewedBackend) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	ended, err := s.Backend.DeleteByID(ctx, ends)
	for i := range ended {
		ended[i] = shift(ended[i], -s.ahead)
	}
	return ended, err
}

// shift returns a copy of r with all its times later by d, but for when its device was
// registered: that is part of what proofs are made of, and only names the device.
func shift(r store.Record, d time.Duration) store.Record {
	if r.Session == nil {
		return r
	}
	s, details := *r.Session, r.Detail()
	for _, t := range []*store.Time{&r.LastSeen, &s.Authenticated, &s.Expires, &s.Created, &details.RememberUntil, &details.Rotated} {
		if *t != 0 {
			*t = t.Add(d)
		}
	}
	if device := details.Device; device != nil && device.Proven != 0 {
		details.Device = &store.Device{PublicKey: device.PublicKey, Registered: device.Registered, Proven: device.Proven.Add(d)}
	}
	s.Details = &details
	return store.Record{Session: &s, LastSeen: r.LastSeen}
}

// onSkewedNodes runs a test on two nodes with one backend. The clock of the node other is
// ahead by skew.
func onSkewedNodes(t *testing.T, test func(t *testing.T, exact, other *site, skew time.Duration)) {
	for _, skew := range []time.Duration{-40 * time.Second, -time.Second, 0, time.Second, 40 * time.Second} {
		t.Run(skew.String(), func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				memory := store.NewMemory()
				node := func(ahead time.Duration) *site {
					return newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = skewedBackend{memory, ahead} })
				}
				test(t, node(0), node(skew), skew)
			})
		})
	}
}

// L1: a request is accepted at most the idle timeout, plus the skew between the two
// nodes, after the last request. Then the session has ended on every node.
func TestClockSkewMovesIdleDeadlineByNoMoreThanSkew(t *testing.T) {
	onSkewedNodes(t, func(t *testing.T, exact, other *site, skew time.Duration) {
		for _, test := range []struct {
			first, second *site
			later         time.Duration // how much later the deadline is on second, by the clock of first
		}{{exact, other, -skew}, {other, exact, skew}, {exact, exact, 0}, {other, other, 0}} {
			b := test.first.browse()
			b.login("ada")
			advance(idle + test.later - time.Millisecond)
			require.True(t, test.second.copyOf(b).loggedIn(), "until the deadline")
			advance(time.Millisecond)
			require.False(t, test.second.copyOf(b).loggedIn(), "not at the deadline")
			require.False(t, test.first.copyOf(b).loggedIn(), "the session has ended on every node")
		}
	})
}

// L1: after a touch by another node, the session lives for the idle timeout plus the
// skew, and no longer
func TestTouchOnSkewedNodeExtendsIdleDeadlineByNoMoreThanSkew(t *testing.T) {
	onSkewedNodes(t, func(t *testing.T, exact, other *site, skew time.Duration) {
		b := exact.browse()
		b.login("ada")
		advance(10 * time.Minute)
		require.Equal(t, 200, other.copyOf(b).Get("/home").StatusCode) // touches
		advance(idle + skew - time.Millisecond)
		require.True(t, exact.copyOf(b).loggedIn())
		advance(time.Millisecond)
		require.False(t, exact.copyOf(b).loggedIn())
	})
}

// L2, I3
func TestClockSkewMovesAbsoluteTimeoutAndFreshnessByNoMoreThanSkew(t *testing.T) {
	onSkewedNodes(t, func(t *testing.T, exact, other *site, skew time.Duration) {
		b := other.browse()
		b.login("ada")
		advance(5*time.Minute + skew - time.Millisecond)
		require.Equal(t, 200, exact.copyOf(b).Get("/fresh").StatusCode)
		advance(time.Millisecond)
		require.NotEqual(t, 200, exact.copyOf(b).Get("/fresh").StatusCode)

		for range int(absolute/(20*time.Minute)) - 1 {
			advance(20 * time.Minute)
			require.Equal(t, 200, exact.copyOf(b).Get("/home").StatusCode)
		}
		advance(15*time.Minute - time.Millisecond)
		require.True(t, exact.copyOf(b).loggedIn())
		advance(time.Millisecond)
		require.False(t, exact.copyOf(b).loggedIn())
	})
}
