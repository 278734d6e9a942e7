package acceptance

import (
	"context"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// skewed is what the backend looks like to a node whose clock is ahead by so much:
// all times that it reads are earlier by its clock, and what it writes is later.
type skewed struct {
	store.Backend
	ahead time.Duration
}

func (s skewed) Create(ctx context.Context, r store.Record, limit store.Limit) ([]store.Record, error) {
	ended, err := s.Backend.Create(ctx, moved(r, s.ahead), limit)
	for i := range ended {
		ended[i] = moved(ended[i], -s.ahead)
	}
	return ended, err
}

func (s skewed) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	return s.Backend.Replace(ctx, old, version, moved(r, s.ahead))
}

func (s skewed) Load(ctx context.Context, key store.Key) (store.Record, error) {
	r, err := s.Backend.Load(ctx, key)
	return moved(r, -s.ahead), err
}

func (s skewed) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	return s.Backend.Touch(ctx, key, seen.Add(s.ahead))
}

func (s skewed) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	r, err := s.Backend.Delete(ctx, key, reason)
	return moved(r, -s.ahead), err
}

func (s skewed) ByOwner(ctx context.Context, owner string) ([]store.Record, error) {
	records, err := s.Backend.ByOwner(ctx, owner)
	for i := range records {
		records[i] = moved(records[i], -s.ahead)
	}
	return records, err
}

func moved(r store.Record, d time.Duration) store.Record {
	if r.Session == nil {
		return r
	}
	s, details := *r.Session, r.Detail()
	for _, t := range []*store.Time{&r.LastSeen, &s.Authenticated, &s.Expires, &details.Created, &details.RememberUntil, &details.Rotated} {
		if *t != 0 {
			*t = t.Add(d)
		}
	}
	s.Details = &details
	return store.Record{Session: &s, LastSeen: r.LastSeen}
}

// onSkewedNodes runs a test on two nodes, the second of whose clocks is ahead.
func onSkewedNodes(t *testing.T, test func(t *testing.T, right, other *site, skew time.Duration)) {
	for _, skew := range []time.Duration{-40 * time.Second, -time.Second, 0, time.Second, 40 * time.Second} {
		t.Run(skew.String(), func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				memory := store.NewMemory()
				node := func(ahead time.Duration) *site {
					return newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = skewed{memory, ahead} })
				}
				test(t, node(0), node(skew), skew)
			})
		})
	}
}

// L1: a request is accepted no later than the idle timeout after the last one, and the
// skew of the two nodes that saw them; and never later than that on any.
func TestClocksThatDifferMoveTheIdleDeadlineByNoMoreThanThat(t *testing.T) {
	onSkewedNodes(t, func(t *testing.T, right, other *site, skew time.Duration) {
		for _, last := range []struct {
			here, there *site
			late        time.Duration // by the clock of here, there's deadline is so much later
		}{{right, other, -skew}, {other, right, skew}, {right, right, 0}, {other, other, 0}} {
			b := last.here.browse()
			b.login("ada")
			advance(idle + last.late - time.Millisecond)
			require.True(t, last.there.copyOf(b).loggedIn(), "until the deadline")
			advance(time.Millisecond)
			require.False(t, last.there.copyOf(b).loggedIn(), "and not at it")
			require.False(t, last.here.copyOf(b).loggedIn(), "nor is it alive anywhere else then")
		}
	})
}

// L1: what another node has touched lives no longer than that touch and the skew
func TestATouchOnASkewedNodeExtendsByNoMoreThanTheSkew(t *testing.T) {
	onSkewedNodes(t, func(t *testing.T, right, other *site, skew time.Duration) {
		b := right.browse()
		b.login("ada")
		advance(10 * time.Minute)
		require.Equal(t, 200, other.copyOf(b).Get("/home").StatusCode) // touches
		advance(idle + skew - time.Millisecond)
		require.True(t, right.copyOf(b).loggedIn())
		advance(time.Millisecond)
		require.False(t, right.copyOf(b).loggedIn())
	})
}

// L2, I3
func TestClocksThatDifferMoveTheAbsoluteEndAndFreshnessByNoMoreThanThat(t *testing.T) {
	onSkewedNodes(t, func(t *testing.T, right, other *site, skew time.Duration) {
		b := other.browse()
		b.login("ada")
		advance(5*time.Minute + skew - time.Millisecond)
		require.Equal(t, 200, right.copyOf(b).Get("/fresh").StatusCode)
		advance(time.Millisecond)
		require.NotEqual(t, 200, right.copyOf(b).Get("/fresh").StatusCode)

		for range int(absolute/(20*time.Minute)) - 1 {
			advance(20 * time.Minute)
			require.Equal(t, 200, right.copyOf(b).Get("/home").StatusCode)
		}
		advance(15*time.Minute - time.Millisecond)
		require.True(t, right.copyOf(b).loggedIn())
		advance(time.Millisecond)
		require.False(t, right.copyOf(b).loggedIn())
	})
}
