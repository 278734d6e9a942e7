package app

import (
	"strconv"
	"time"
)

// A moment is a point in time, formatted for people and for programs.
type moment struct{ Words, Exact, Machine string }

// ago describes t by the time that has passed since then.
func ago(t, now time.Time) moment {
	m := date(t)
	past := now.Sub(t)
	for _, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute} {
		if past >= unit {
			m.Words = words(past.Truncate(unit)) + " ago"
			return m
		}
	}
	m.Words = "just now"
	return m
}

// date describes t by its date.
func date(t time.Time) moment {
	t = t.UTC()
	exact := t.Format("2 January 2006, 15:04 UTC")
	return moment{exact, exact, t.Format(time.RFC3339)}
}

// words formats d in the largest unit of which it is a multiple.
func words(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{
		{7 * 24 * time.Hour, "week"}, {24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"},
	} {
		switch n := d / unit.length; {
		case d%unit.length != 0 || n == 0:
		case n == 1:
			return "1 " + unit.name
		default:
			return strconv.FormatInt(int64(n), 10) + " " + unit.name + "s"
		}
	}
	return d.String()
}
