package sessionguard

import (
	"math"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

const noon = store.Time(1_800_000_000_000) // an arbitrary time

func recordOf(lastSeen, authenticated, expires store.Time, idle time.Duration) store.Record {
	return store.Record{LastSeen: lastSeen, Session: &store.Session{Authenticated: authenticated, Expires: expires, IdleTimeout: idle}}
}

// L1, L2, ASVS 7.3.1, 7.3.2
func TestSessionIsOverAtItsDeadline(t *testing.T) {
	const idle, absolute = 30 * time.Minute, 12 * time.Hour
	at := func(d time.Duration) store.Time { return noon.Add(d) }
	seen := func(d time.Duration) store.Record { return recordOf(at(d), noon, at(absolute), idle) }
	for name, test := range map[string]struct {
		record store.Record
		now    store.Time
		reason store.Reason
	}{
		"at the login":                          {seen(0), noon, ""},
		"a second before the idle deadline":     {seen(0), at(idle - time.Second), ""},
		"the last millisecond":                  {seen(0), at(idle - time.Millisecond), ""},
		"at the idle deadline":                  {seen(0), at(idle), store.ReasonIdle},
		"after the idle deadline":               {seen(0), at(idle + time.Second), store.ReasonIdle},
		"active":                                {seen(time.Hour), at(time.Hour + idle - 1), ""},
		"active, at the idle deadline":          {seen(time.Hour), at(time.Hour + idle), store.ReasonIdle},
		"active, before the absolute deadline":  {seen(absolute - time.Minute), at(absolute - time.Millisecond), ""},
		"active, at the absolute deadline":      {seen(absolute - time.Minute), at(absolute), store.ReasonAbsolute},
		"last seen after the absolute deadline": {seen(absolute + time.Hour), at(absolute + time.Hour), store.ReasonAbsolute},
		"both deadlines at once":                {seen(absolute - idle), at(absolute), store.ReasonAbsolute},
		"the clock was set back":                {seen(time.Minute), noon, ""},
		"no times at all":                       {recordOf(0, 0, 0, 0), noon, store.ReasonAbsolute},
		"no absolute deadline":                  {recordOf(noon, noon, 0, idle), noon, store.ReasonAbsolute},
		"never seen":                            {recordOf(0, noon, at(absolute), idle), noon, store.ReasonIdle},
		"no idle timeout":                       {recordOf(noon, noon, at(absolute), 0), noon, store.ReasonIdle},
		"a negative idle timeout":               {recordOf(noon, noon, at(absolute), -idle), noon, store.ReasonIdle},
		"an idle timeout under a millisecond":   {recordOf(noon, noon, at(absolute), 999*time.Microsecond), noon, store.ReasonIdle},
		"a deadline that overflows Time":        {recordOf(math.MaxInt64, noon, at(absolute), idle), noon, store.ReasonIdle},
		"a negative absolute deadline":          {recordOf(noon, noon, -1, idle), noon, store.ReasonAbsolute},
		"the longest timeouts":                  {recordOf(noon, noon, noon.Add(math.MaxInt64), math.MaxInt64), at(absolute), ""},
		"a record of the year 1970":             {recordOf(1, 1, 2, idle), noon, store.ReasonAbsolute},
	} {
		phase, reason := phaseAt(test.record, test.now)
		require.Equal(t, test.reason, reason, name)
		require.Equal(t, test.reason != "", phase == over, name)
		require.NotEqual(t, dormant, phase, name)
		require.Equal(t, phase == over, test.now >= test.record.Deadline() || test.record.LastSeen == math.MaxInt64, "%s: Record.Deadline agrees", name)
	}
}

// L1, L2: a remembered session is dormant between its idle deadline and RememberUntil.
func TestRememberedSessionIsDormantUntilRememberUntil(t *testing.T) {
	const idle, remember, absolute = 30 * time.Minute, 5 * time.Hour, 12 * time.Hour
	at := func(d time.Duration) store.Time { return noon.Add(d) }
	r := recordOf(noon, noon, at(absolute), idle)
	r.Details = &store.Details{RememberUntil: at(remember)}
	for _, test := range []struct {
		now    store.Time
		phase  phase
		reason store.Reason
	}{
		{at(idle - time.Millisecond), alive, ""},
		{at(idle), dormant, store.ReasonRemembered},
		{at(remember - time.Millisecond), dormant, store.ReasonRemembered},
		{at(remember), over, store.ReasonIdle},
		{at(absolute), over, store.ReasonAbsolute},
	} {
		phase, reason := phaseAt(r, test.now)
		require.Equal(t, test.phase, phase, test.now)
		require.Equal(t, test.reason, reason, test.now)
	}
	r.Details.RememberUntil = at(2 * absolute)
	phase, reason := phaseAt(r, at(absolute))
	require.Equal(t, over, phase, "the absolute timeout limits RememberUntil")
	require.Equal(t, store.ReasonAbsolute, reason)
}

// L1: a throttled touch ends a session early by at most 1/30 of its idle timeout.
func TestTouchIsDue(t *testing.T) {
	const idle = 30 * time.Minute
	for _, test := range []struct {
		since         time.Duration
		local, remote bool
	}{
		{-time.Hour, false, false}, // another node's clock
		{0, false, false},
		{time.Millisecond, true, false},
		{time.Minute - time.Millisecond, true, false},
		{time.Minute, true, true},
		{idle - time.Millisecond, true, true},
	} {
		r := recordOf(noon, noon, noon.Add(12*time.Hour), idle)
		require.Equal(t, test.local, touchDue(r, noon.Add(test.since), true), test.since)
		require.Equal(t, test.remote, touchDue(r, noon.Add(test.since), false), test.since)
	}
}

// I3, ASVS 7.5.1
func TestFreshIsTheAgeOfTheLastAuthentication(t *testing.T) {
	const age = 5 * time.Minute
	r := recordOf(noon.Add(time.Hour), noon, noon.Add(12*time.Hour), time.Hour)
	for _, test := range []struct {
		since, age time.Duration
		want       bool
	}{
		{0, age, true}, {age - time.Millisecond, age, true}, {age, age, false}, {age + time.Second, age, false},
		{0, 0, false}, {0, -age, false}, {time.Millisecond, time.Nanosecond, false},
	} {
		require.Equal(t, test.want, fresh(r, noon.Add(test.since), test.age), test)
	}
	require.False(t, fresh(recordOf(noon, 0, noon.Add(time.Hour), time.Hour), noon, 24*time.Hour), "a missing time is not fresh")
}

func TestCheckTimeouts(t *testing.T) {
	for _, test := range []struct {
		idle, absolute time.Duration
		err            string
	}{
		{time.Second, time.Second, ""},
		{30 * time.Minute, 12 * time.Hour, ""},
		{time.Second - 1, time.Hour, "shorter than a second"},
		{0, time.Hour, "shorter than a second"},
		{-time.Second, time.Hour, "must be positive"},
		{time.Second, -time.Hour, "must be positive"},
		{time.Hour, time.Hour - 1, "longer than the AbsoluteTimeout"},
		{time.Hour, 0, "longer than the AbsoluteTimeout"},
	} {
		err := checkTimeouts(test.idle, test.absolute)
		if test.err == "" {
			require.NoError(t, err, test)
		} else {
			require.ErrorContains(t, err, test.err, test)
		}
	}
}

// A zero is a mistake of the caller, not a request for the default.
func TestLoginOptionOfZeroIsNotTheDefault(t *testing.T) {
	for _, option := range []LoginOption{IdleTimeout(0), AbsoluteTimeout(0)} {
		limits := loginOptions{idle: defaultIdleTimeout, absolute: defaultAbsoluteTimeout}
		option(&limits)
		require.Error(t, checkTimeouts(limits.idle, limits.absolute))
	}
}
