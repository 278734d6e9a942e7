package storetest

import (
	"bytes"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// Memory moves sessions about all the time, and uses again what others have left. None of that
// shows: whatever is called in whatever order, it returns what two maps do.
func TestMemoryDoesWhatMapsDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, maps := store.NewMemory(), newMapBackend("")
		known := []store.Record{modelRecord()} // as stored at first
		for range 6000 {
			time.Sleep(time.Duration(1+mathrand.IntN(9)) * time.Millisecond) // in all less than Grace: nothing is swept
			r := known[max(0, len(known)-1-mathrand.IntN(200))]
			if current, err := maps.Load(t.Context(), r.Key); err == nil {
				r = current
			}
			call, stored := randomCall(t, r)
			want, wantErr := call(maps)
			got, err := call(memory)
			require.Equal(t, wantErr, err)
			require.Equal(t, append([]store.Record{}, want...), append([]store.Record{}, got...))
			if stored.Session != nil {
				known = append(known, stored)
			}
		}
		for _, r := range known {
			want, wantErr := maps.Load(t.Context(), r.Key)
			got, err := memory.Load(t.Context(), r.Key)
			require.Equal(t, wantErr, err)
			require.Equal(t, want, got)
		}
		require.ElementsMatch(t, mustList(t, maps, "session="), mustList(t, memory, "session="))
	})
}

// randomCall returns a call of some method, which has to do with a session that there is or was,
// and what it may store under another key.
func randomCall(t T, r store.Record) (call func(store.Backend) ([]store.Record, error), stored store.Record) {
	ctx, now := t.Context(), store.TimeOf(time.Now())
	reason := []store.Reason{store.ReasonLoggedOut, store.ReasonEnded}[mathrand.IntN(2)]
	version := r.Version + uint64(mathrand.IntN(5)/4)
	next := modelRecord()
	one := func(r store.Record, err error) ([]store.Record, error) { return []store.Record{r}, err }
	switch mathrand.IntN(10) {
	default:
		limit := store.Limit{Max: max(0, mathrand.IntN(200)-100), Refuse: mathrand.IntN(3) == 0}
		return func(b store.Backend) ([]store.Record, error) { return b.Create(ctx, next, limit) }, next
	case 3:
		next.Owner, next.ID = r.Owner, r.ID
		next.Key[31] = r.Key[31]
		return func(b store.Backend) ([]store.Record, error) { return nil, b.Replace(ctx, r.Key, version, next) }, next
	case 4:
		saved := withValues(atVersion(r, version), next.Values)
		return func(b store.Backend) ([]store.Record, error) { return nil, b.Save(ctx, saved) }, stored
	case 5:
		return func(b store.Backend) ([]store.Record, error) { return nil, b.Touch(ctx, r.Key, now) }, stored
	case 6:
		return func(b store.Backend) ([]store.Record, error) { return one(b.Delete(ctx, r.Key, reason)) }, stored
	case 7:
		ends := []store.End{{Owner: r.Owner, ID: r.ID, Reason: reason}, {Owner: next.Owner, ID: r.ID, Reason: reason}}
		return func(b store.Backend) ([]store.Record, error) { return b.DeleteByID(ctx, ends) }, stored
	case 8:
		return func(b store.Backend) ([]store.Record, error) { return one(b.LoadByID(ctx, next.Owner, r.ID)) }, stored
	case 9:
		return func(b store.Backend) ([]store.Record, error) { return b.ByOwner(ctx, next.Owner, r.ID, 20) }, stored
	}
}

// modelRecord returns a session of one of a few owners, in one of a few shards of Memory, with
// values that are long, short or missing.
func modelRecord() store.Record {
	r := newRecordFor("session="+strings.Repeat("a", mathrand.IntN(4)), 0)
	r.Key[0] %= 3
	r.IdleTimeout, r.Details.RememberUntil = time.Duration(mathrand.IntN(100))*time.Second, 0
	r.Values = bytes.Repeat(r.Values, mathrand.IntN(30))
	return r
}
