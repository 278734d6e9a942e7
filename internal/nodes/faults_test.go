package nodes

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

func TestFaultsAcceptsBackendsThatFailSafely(t *testing.T) {
	require.Empty(t, failureUnder(t, "", Expect{Keeps: true}))
	require.Empty(t, failureUnder(t, forgetsAll, Expect{}))
	require.Empty(t, failureUnder(t, readsOn, Expect{Keeps: true, Caches: true}))
}

func TestFaultsFindsEveryUnsafeFailure(t *testing.T) {
	for mistake, complaint := range map[string]string{
		forgetsAll:       "a live session got 303",
		forgetsDeletes:   "an ended session was accepted",
		forgetsSaves:     "the stored number should be",
		forgetsDevices:   "a bound session was accepted without its device",
		saysNotFound:     "while the server was away",
		confirmsAlways:   "while the server was away",
		hangs:            "a save took",
		readsOn:          "got 200  while the server was away",
		staysAway:        "no recovery",
		failsNow:         "nothing was wrong",
		cannotBeKilled:   "while the server was away",
		undoesWhenLate:   "an ended session was accepted",
		refusesForAWhile: "a live session got 303",
	} {
		t.Run(mistake, func(t *testing.T) {
			require.Contains(t, failureUnder(t, mistake, Expect{Keeps: true}), complaint)
		})
	}
	require.Contains(t, failureUnder(t, "", Expect{Keeps: false}), "the server has kept sessions that a kill should lose")
}

func failureUnder(t *testing.T, mistake string, expect Expect) string {
	return failureOf(t, func(t T) {
		u := &unreliable{mistake: mistake, memory: store.NewMemory()}
		faults(t, u, u, u, expect, 6)
	})
}
