package turns

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var errTest = errors.New("test")

func TestTurnsAreTakenOneAtATimeAndPassOnWhatTheLastReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns Turns[string, int]
		busy, sum := false, 0
		take := func(i int) {
			err := turns.Do(t.Context(), "k", 100, func(latest int) (int, error) {
				if busy {
					t.Error("two have the turn")
				}
				busy = true
				time.Sleep(time.Second)
				busy = false
				if i%2 == 1 {
					return -1000, errTest
				}
				sum = latest + 1
				return sum, nil
			})
			if (i%2 == 1) != (err != nil) {
				t.Error(i, err)
			}
		}
		begun := time.Now()
		for i := range 10 {
			go take(i)
		}
		synctest.Wait()
		require.NoError(t, turns.Do(t.Context(), "other", 7, func(latest int) (int, error) {
			require.Equal(t, 7, latest)
			require.Zero(t, time.Since(begun), "another key waits for nobody")
			return 0, nil
		}))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 105, sum)
		require.Empty(t, turns.lines)
	})
}

func TestWhoGivesUpOrPanicsKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns Turns[string, int]
		go func() {
			defer func() { _ = recover() }()
			_ = turns.Do(t.Context(), "k", 1, func(int) (int, error) { time.Sleep(time.Minute); panic("test") })
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, turns.Do(ctx, "k", 2, nil), context.DeadlineExceeded)
		require.NoError(t, turns.Do(t.Context(), "k", 3, func(latest int) (int, error) {
			require.Equal(t, 1, latest)
			return 0, nil
		}))
		synctest.Wait()
		require.Empty(t, turns.lines)
	})
}

func TestBackOffWaitsForARandomBoundedTimeAfterTheFirstAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for attempts, most := range map[int]time.Duration{0: 0, 1: 0, 2: 2 * firstPause, 5: 16 * firstPause, 1000: maxPause} {
			waits := map[time.Duration]bool{}
			for range 50 {
				begun := time.Now()
				BackOff(t.Context(), attempts)
				waits[time.Since(begun)] = true
				require.LessOrEqual(t, time.Since(begun), most)
			}
			require.Equal(t, attempts > 1, len(waits) > 10)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		BackOff(ctx, 1000)
		require.Zero(t, time.Since(begun))
	})
}
