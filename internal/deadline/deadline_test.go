package deadline

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

type key struct{}

// Both kinds of context must look the same, whether or not somebody waits for their end.
func TestItEndsAsAContextWithATimeoutDoes(t *testing.T) {
	for name, parent := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"no deadline": context.WithCancel,
		"an earlier deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 3*time.Second)
		},
		"a later deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Hour)
		},
		"never ends": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithoutCancel(ctx), func() {}
		},
	} {
		for _, waits := range []bool{false, true} {
			for what, end := range map[string]func(cancelParent, cancel func()){
				"nothing":              func(_, _ func()) {},
				"cancelled":            func(_, cancel func()) { cancel(); cancel() },
				"parent cancelled":     func(cancelParent, _ func()) { cancelParent() },
				"before its deadline":  func(_, _ func()) { time.Sleep(2 * time.Second) },
				"at its deadline":      func(_, _ func()) { time.Sleep(5 * time.Second) },
				"cancelled after that": func(_, cancel func()) { time.Sleep(6 * time.Second); cancel() },
			} {
				t.Run(name+", "+what, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						outer, cancelParent := parent(context.WithValue(t.Context(), key{}, "value"))
						defer cancelParent()
						mine, cancelMine := After(outer, 5*time.Second)
						defer cancelMine()
						theirs, cancelTheirs := context.WithTimeout(outer, 5*time.Second)
						defer cancelTheirs()
						if waits {
							require.NotNil(t, mine.Done())
						}
						end(cancelParent, func() { cancelMine(); cancelTheirs() })
						synctest.Wait()
						require.Equal(t, theirs.Err(), mine.Err())
						at, ok := mine.Deadline()
						want, _ := theirs.Deadline()
						require.True(t, ok)
						require.Equal(t, want, at)
						require.Equal(t, "value", mine.Value(key{}))
						select {
						case <-mine.Done():
							require.Error(t, theirs.Err())
						default:
							require.NoError(t, theirs.Err())
						}
						require.Equal(t, theirs.Err(), mine.Err())
					})
				})
			}
		}
	}
}

// Nobody has waited for the end, so that only Err has found it.
func TestItsErrorStaysWhateverHappensNext(t *testing.T) {
	for name, want := range map[string]error{"its deadline": context.DeadlineExceeded, "its parent": context.Canceled} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, cancelParent := context.WithCancel(t.Context())
				ctx, cancel := After(parent, 5*time.Second)
				if want == context.Canceled {
					cancelParent()
				} else {
					time.Sleep(5 * time.Second)
				}
				require.Equal(t, want, ctx.Err())
				cancelParent()
				time.Sleep(5 * time.Second)
				require.Equal(t, want, ctx.Err())
				<-ctx.Done()
				require.Equal(t, want, ctx.Err())
				cancel()
				require.Equal(t, want, ctx.Err())
			})
		})
	}
}

func TestWhatIsDerivedEndsWithItAndWithoutAGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := After(t.Context(), 5*time.Second)
		defer cancel()
		before := runtime.NumGoroutine()
		derived, cancelDerived := context.WithCancel(ctx)
		defer cancelDerived()
		require.Equal(t, before, runtime.NumGoroutine())
		require.NoError(t, derived.Err())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, context.DeadlineExceeded, derived.Err())
	})
}

func TestNobodyWaitsAtTheCostOfOneAllocation(t *testing.T) {
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		ctx, cancel := After(t.Context(), time.Second)
		_ = ctx.Err()
		cancel()
	}), 2.0)
}
