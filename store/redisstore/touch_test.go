package redisstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

// createLongLived returns a session whose key lives long enough for any touch in place.
func createLongLived(t testing.TB, s *Store, change func(*store.Record)) store.Record {
	t.Helper()
	r := newSession(newOwner())
	change(&r)
	createRecord(t, s, r)
	keepLong(t, s, r)
	return r
}

func keepLong(t testing.TB, s *Store, r store.Record) {
	t.Helper()
	n, err := sendCommand(t, s, "PEXPIRE", s.sessionKey(r.Key), "100000000").AsInt64()
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

// lastSeen returns when the session under r's key was last seen.
func lastSeen(t testing.TB, s *Store, r store.Record) store.Time {
	t.Helper()
	got, err := s.Load(t.Context(), r.Key)
	require.NoError(t, err)
	require.Equal(t, r.Values, got.Values)
	require.Equal(t, r.Version, got.Version)
	return got.LastSeen
}

// Most touches execute three commands, and none of the index.
func TestMostTouchesChangeTheTimeAlone(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{}, server.Addr)
	const quarter, touches = 15, 14 // one a minute, and the idle timeout is an hour
	r := createSession(t, s)
	require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen.Add(quarter*time.Minute))) // this one lets the key live longer
	before := calledCommands(t, server)
	for i := range touches {
		require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen.Add(time.Duration(quarter+i+1)*time.Minute)))
	}
	after := calledCommands(t, server)
	for name, want := range map[string]int{
		"evalsha": touches, "getrange": touches, "pttl": touches, "setrange": touches, "get": 0, "exists": 0, "pexpire": 0, "zadd": 0,
	} {
		require.Equal(t, want, after[name]-before[name], name)
	}
	require.Equal(t, r.LastSeen.Add((quarter+touches)*time.Minute), lastSeen(t, s, r))
}

// However the touches come, the key and the index outlive the session, and the key hardly more
// than a quarter of the idle timeout.
func TestTouchedSessionIsKeptUntilItIsGone(t *testing.T) {
	now := store.TimeOf(time.Now())
	for name, change := range map[string]func(*store.Record){
		"idle timeout":     func(*store.Record) {},
		"absolute timeout": func(r *store.Record) { r.Expires = now.Add(90 * time.Minute) },
		"remembered":       func(r *store.Record) { r.Details = &store.Details{RememberUntil: now.Add(100 * time.Minute)} },
	} {
		t.Run(name, func(t *testing.T) {
			s, r := openAlone(t), newSession(newOwner())
			change(&r)
			createRecord(t, s, r)
			for _, minutes := range []time.Duration{0, 1, 2, 14, 15, 16, 17, 31, 32, 50, 51, 70, 85} {
				r.LastSeen = max(r.LastSeen, now.Add(minutes*time.Minute))
				require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen))
				require.Equal(t, r.LastSeen, lastSeen(t, s, r))
				index, err := sendCommand(t, s, "PTTL", s.indexKey(r.Key.Group())).AsInt64()
				require.NoError(t, err)
				ms, err := sendCommand(t, s, "PTTL", s.sessionKey(r.Key)).AsInt64()
				require.NoError(t, err)
				least := r.GoneAt().Sub(now) + store.Grace
				most := max(min(r.LastSeen.Add(r.IdleTimeout*5/4), r.Expires), r.Detail().RememberUntil).Sub(now) + store.Grace
				require.InDelta(t, (least+most).Milliseconds()/2, ms, float64((most-least).Milliseconds()/2+5000), "%d", minutes)
				require.GreaterOrEqual(t, index+10, ms) // Redis 7.0 reads the clock for each PEXPIRE of a script
			}
		})
	}
}

// A touch in place has the conditions of every other.
func TestTouchInPlaceIsConditional(t *testing.T) {
	s := openAlone(t)
	for name, c := range map[string]struct {
		change func(*store.Record)
		seen   func(store.Record) store.Time // relative to LastSeen
		want   error
	}{
		"later":                      {seen: func(r store.Record) store.Time { return r.LastSeen + 1 }},
		"just before the deadline":   {seen: func(r store.Record) store.Time { return r.Deadline() - 1 }},
		"at the idle deadline":       {seen: func(r store.Record) store.Time { return r.Deadline() }, want: store.ErrNotFound},
		"after it":                   {seen: func(r store.Record) store.Time { return r.Deadline() + 1 }, want: store.ErrNotFound},
		"earlier":                    {seen: func(r store.Record) store.Time { return r.LastSeen - 1 }},
		"at the same time":           {seen: func(r store.Record) store.Time { return r.LastSeen }},
		"at the absolute deadline":   {func(r *store.Record) { r.Expires = r.LastSeen + 1000 }, func(r store.Record) store.Time { return r.Expires }, store.ErrNotFound},
		"before it":                  {func(r *store.Record) { r.Expires = r.LastSeen + 1000 }, func(r store.Record) store.Time { return r.Expires - 1 }, nil},
		"remembered, after deadline": {func(r *store.Record) { r.Details = &store.Details{RememberUntil: r.Expires} }, func(r store.Record) store.Time { return r.Deadline() }, store.ErrNotFound},
	} {
		if c.change == nil {
			c.change = func(*store.Record) {}
		}
		r := createLongLived(t, s, c.change)
		seen := c.seen(r)
		require.Equal(t, c.want, s.Touch(t.Context(), r.Key, seen), name)
		want := r.LastSeen
		if c.want == nil {
			want = max(want, seen)
		}
		require.Equal(t, want, lastSeen(t, s, r), name)
	}
}

// What a session has left behind lives for a while, and looks like nothing that can be touched.
func TestTouchInPlaceBringsNothingBack(t *testing.T) {
	s := openAlone(t)
	for name, end := range map[string]func(store.Record) error{
		"logged out": func(r store.Record) error { _, err := s.Delete(t.Context(), r.Key, store.ReasonLoggedOut); return err },
		"ended": func(r store.Record) error {
			_, err := s.DeleteByID(t.Context(), []store.End{{Owner: r.Owner, ID: r.ID, Reason: store.ReasonEnded}})
			return err
		},
		"moved":   func(r store.Record) error { return s.Replace(t.Context(), r.Key, r.Version, successor(r)) },
		"expired": func(r store.Record) error { return sendCommand(t, s, "DEL", s.sessionKey(r.Key)).Error() },
	} {
		r := createLongLived(t, s, func(*store.Record) {})
		require.NoError(t, end(r), name)
		if name != "expired" {
			keepLong(t, s, r)
		}
		left, _ := sendCommand(t, s, "GET", s.sessionKey(r.Key)).ToString()
		require.Equal(t, store.ErrNotFound, s.Touch(t.Context(), r.Key, r.LastSeen+1), name)
		now, _ := sendCommand(t, s, "GET", s.sessionKey(r.Key)).ToString()
		require.Equal(t, left, now, name)
	}
}

// A touch in place changes nothing that it could not read.
func TestTouchInPlaceRefusesWhatIsCorrupt(t *testing.T) {
	s, other := openAlone(t), newSession(newOwner())
	for name, value := range map[string]func(r store.Record) string{
		"another session": func(store.Record) string { return encodeSession(other) },
		"only a header":   func(r store.Record) string { return encodeSession(r)[:headerSize] },
		"half a key":      func(r store.Record) string { return encodeSession(r)[:headerSize+20] },
		"no session":      func(r store.Record) string { return "X" + encodeSession(r)[1:] },
	} {
		r := newSession(newOwner())
		sendCommand(t, s, "SET", s.sessionKey(r.Key), value(r), "PX", "100000000")
		requireInconclusive(t, s.Touch(t.Context(), r.Key, r.LastSeen+1), name)
		got, err := sendCommand(t, s, "GET", s.sessionKey(r.Key)).ToString()
		require.NoError(t, err)
		require.Equal(t, value(r), got, name)
	}
}

// What a touch in place does not read stays as it is.
func TestTouchInPlaceOfHalfARecord(t *testing.T) {
	s, r := openAlone(t), newSession(newOwner())
	half := encodeSession(r)[:headerSize+50]
	sendCommand(t, s, "SET", s.sessionKey(r.Key), half, "PX", "100000000")
	require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen+1))
	got, err := sendCommand(t, s, "GET", s.sessionKey(r.Key)).ToString()
	require.NoError(t, err)
	require.Equal(t, half[9:], got[9:])
	_, err = s.Load(t.Context(), r.Key)
	requireInconclusive(t, err, "Load")
}

// The record of a session may be longer than what a touch in place reads.
func TestTouchOfALongRecord(t *testing.T) {
	s := openAlone(t)
	for _, long := range []func(*store.Record){
		func(r *store.Record) { r.Values = make([]byte, 5000) },
		func(r *store.Record) { r.Client = string(make([]byte, 5000)) },
	} {
		r := createLongLived(t, s, long)
		require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen+1))
		require.Equal(t, r.LastSeen+1, lastSeen(t, s, r))
	}
}

// A session that is kept longer than it needs to be does not count.
func TestCountLeavesOutWhatIsGone(t *testing.T) {
	s := openAlone(t)
	live := createLongLived(t, s, func(*store.Record) {})
	createLongLived(t, s, func(r *store.Record) { r.LastSeen = r.LastSeen.Add(-r.IdleTimeout - time.Second) })
	createLongLived(t, s, func(r *store.Record) { r.Expires = r.LastSeen.Add(-time.Second) })
	createLongLived(t, s, func(r *store.Record) { // counts: it can be revived
		r.LastSeen = r.LastSeen.Add(-2 * r.IdleTimeout)
		r.Details = &store.Details{RememberUntil: r.Expires}
	})
	n, err := s.Count(t.Context(), store.RealmOf(live.Owner))
	require.NoError(t, err)
	require.Equal(t, 2, n)
}

// A session that the index lacks could not be ended by its user's name.
func TestTouchThatFailsMovesNoExpiry(t *testing.T) {
	s, r := openAlone(t), newSession(newOwner())
	r.LastSeen = r.LastSeen.Add(-54 * time.Minute) // of an hour
	createRecord(t, s, r)
	sendCommand(t, s, "SET", s.indexKey(r.Key.Group()), "foreign")
	requireInconclusive(t, s.Touch(t.Context(), r.Key, r.LastSeen.Add(54*time.Minute)), "Touch")
	requireTTL(t, s, s.sessionKey(r.Key), 6*time.Minute+store.Grace)
	require.Equal(t, r.LastSeen, lastSeen(t, s, r))

	sendCommand(t, s, "DEL", s.indexKey(r.Key.Group()))
	require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen.Add(54*time.Minute)))
	records, err := s.ByOwner(t.Context(), r.Owner, "", store.MaxPage)
	require.NoError(t, err)
	require.Len(t, records, 1)
}
