package store

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"
)

func TestMemoryKeepsTombstoneForItsLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		deleted, limited := testRecord("alice", time.Minute), testRecord("bob", time.Minute)
		mustCreate(t, m, deleted, limited)
		require.NoError(t, errOf(m.Delete(t.Context(), deleted.Key, ReasonTheftSuspected)))
		last := testRecord("bob", 2*time.Hour)
		require.NoError(t, errOf(m.Create(t.Context(), last, Limit{Max: 1})))

		time.Sleep(TombstoneLifetime - time.Millisecond)
		m.sweepAll()
		require.Equal(t, ReasonTheftSuspected, reasonOf(m, deleted.Key))
		require.Equal(t, ReasonTooManySessions, reasonOf(m, limited.Key))
		time.Sleep(time.Millisecond)
		m.sweepAll()
		require.Empty(t, reasonOf(m, deleted.Key))
		require.Empty(t, reasonOf(m, limited.Key))
		require.Equal(t, 1, m.entryCount(), "only the live session")
	})
}

// Logging in and out must not take memory.
func TestMemoryKeepsNoTombstoneWithoutRetainedReason(t *testing.T) {
	m := NewMemory()
	for _, reason := range []Reason{ReasonLoggedOut, ReasonReplaced, ReasonLoginIncomplete} {
		r := testRecord("alice", time.Hour)
		mustCreate(t, m, r)
		require.NoError(t, errOf(m.Delete(t.Context(), r.Key, reason)))
		require.Zero(t, m.entryCount(), reason)
	}
	require.NoError(t, errOf(m.Delete(t.Context(), newTestKey(), ReasonEnded)))
	require.Zero(t, m.entryCount(), "a tombstone of a session that never was")
}

func TestMemoryKeepsMoveMarkerForGraceAndOfRevivalUntilExpiry(t *testing.T) {
	for _, c := range []struct {
		rotated       Time // after Authenticated
		expires, kept time.Duration
	}{
		{0, 30 * 24 * time.Hour, Grace},
		{1, Grace / 2, Grace},
		{1, 30 * 24 * time.Hour, 30 * 24 * time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			m, r := NewMemory(), testRecord("alice", time.Hour)
			next := rememberedFor(testRecord("alice", time.Hour), c.expires)
			next.Authenticated = TimeOf(time.Now())
			next.Details.Rotated = next.Authenticated + c.rotated
			next.Expires = next.Details.RememberUntil
			mustCreate(t, m, r)
			require.NoError(t, m.Replace(t.Context(), r.Key, r.Version, next))

			time.Sleep(c.kept - time.Millisecond)
			m.sweepAll()
			require.Equal(t, next.Key, movedKey(m, r.Key))
			require.Equal(t, 2, m.entryCount())
			time.Sleep(time.Millisecond)
			m.sweepAll()
			require.Zero(t, movedKey(m, r.Key))
			require.Equal(t, 1, m.entryCount(), "only the session")
		})
	}
}

// The move marker of a revival is kept for weeks, so it must be small.
func TestMemoryMoveMarkerDoesNotHoldSession(t *testing.T) {
	m, r := NewMemory(), testRecord("alice", time.Hour)
	mustCreate(t, m, r)
	held := func() weak.Pointer[Session] {
		next := rememberedFor(testRecord("alice", time.Hour), 30*24*time.Hour)
		next.Values = make([]byte, 100<<10)
		require.NoError(t, m.Replace(t.Context(), r.Key, r.Version, next))
		require.NoError(t, errOf(m.Delete(t.Context(), next.Key, ReasonLoggedOut)))
		return weak.Make(next.Session)
	}()
	runtime.GC()
	require.True(t, held.Value() == nil, "the move marker keeps the session in memory")
	require.NotZero(t, movedKey(m, r.Key))
}

// reasonOf returns the reason in the tombstone at key, if there is one.
func reasonOf(m *Memory, key Key) Reason {
	_, err := m.Load(context.Background(), key)
	var ended *EndedError
	if errors.As(err, &ended) {
		return ended.Reason
	}
	return ""
}

// movedKey returns the new key in the move marker at key, if there is one.
func movedKey(m *Memory, key Key) Key {
	_, err := m.Load(context.Background(), key)
	var moved *MovedError
	if errors.As(err, &moved) {
		return moved.To
	}
	return Key{}
}
