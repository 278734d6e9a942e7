package store

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMemorySessionEndsExactlyAtIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := NewMemory(), testRecord("alice", time.Minute)
		mustCreate(t, m, r)

		time.Sleep(time.Minute - time.Millisecond)
		require.NoError(t, m.Touch(t.Context(), r.Key, TimeOf(time.Now())))
		time.Sleep(time.Minute - time.Millisecond)
		require.NoError(t, m.Touch(t.Context(), r.Key, TimeOf(time.Now())), "a Touch must extend the session by a minute")
		time.Sleep(time.Minute)
		requireExpired(t, m, r)
	})
}

func TestMemoryActiveSessionEndsAtAbsoluteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := NewMemory(), testRecord("alice", time.Minute)
		r.Expires = r.LastSeen.Add(90 * time.Second)
		mustCreate(t, m, r)

		time.Sleep(50 * time.Second)
		require.NoError(t, m.Touch(t.Context(), r.Key, TimeOf(time.Now())))
		time.Sleep(40*time.Second - time.Millisecond)
		require.NoError(t, m.Touch(t.Context(), r.Key, TimeOf(time.Now())))
		time.Sleep(time.Millisecond)
		requireExpired(t, m, r)
	})
}

// The Touch of a request that was accepted in time may arrive until Grace has passed.
func TestMemoryKeepsExpiredSessionForGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := NewMemory(), testRecord("alice", time.Minute)
		mustCreate(t, m, r)
		time.Sleep(time.Minute + Grace - time.Millisecond)
		m.sweepAll()
		require.True(t, isLoadable(m, r.Key))
		time.Sleep(time.Millisecond)
		m.sweepAll()
		require.False(t, isLoadable(m, r.Key))
	})
}

func TestMemoryKeepsRememberedSessionForGraceAfterGoneAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := NewMemory(), rememberedFor(testRecord("alice", time.Minute), 30*24*time.Hour)
		mustCreate(t, m, r)
		time.Sleep(30*24*time.Hour + Grace - time.Millisecond)
		m.sweepAll()
		require.True(t, isLoadable(m, r.Key))
		time.Sleep(time.Millisecond)
		m.sweepAll()
		require.False(t, isLoadable(m, r.Key))
		require.Empty(t, reasonOf(m, r.Key), "nothing ended it, it expired")
		require.Zero(t, m.entryCount())
	})
}

func TestMemoryCountsRememberedSessionUntilGoneAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := NewMemory(), rememberedFor(testRecord("alice", time.Minute), time.Hour)
		mustCreate(t, m, r)
		next := func() error {
			ended, err := m.Create(t.Context(), testRecord("alice", time.Minute), Limit{Max: 1, Refuse: true})
			require.Empty(t, ended)
			return err
		}
		time.Sleep(time.Hour - time.Millisecond)
		require.ErrorIs(t, next(), ErrLimit)
		require.ErrorIs(t, m.Touch(t.Context(), r.Key, TimeOf(time.Now())), ErrNotFound, "a remembered session is past its Deadline")
		time.Sleep(time.Millisecond)
		require.NoError(t, next())
	})
}

// requireExpired checks that a session is past its Deadline, but still in memory.
func requireExpired(t *testing.T, m *Memory, r Record) {
	t.Helper()
	ctx := t.Context()
	require.Equal(t, 1, m.entryCount(), "this test needs a session that has not been swept")
	now := TimeOf(time.Now())

	require.ErrorIs(t, m.Touch(ctx, r.Key, now), ErrNotFound)
	ended, err := m.Create(ctx, testRecord(r.Owner, time.Hour), Limit{Max: 1, Refuse: true})
	require.NoError(t, err)
	require.Empty(t, ended)
	require.Equal(t, 1, m.entryCount(), "a Create with a limit must remove the expired session")
}
