package cookie

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// K2, RFC 6265bis section 5.6
func TestCookiesAreFoundByTheirExactName(t *testing.T) {
	for _, c := range []struct {
		headers []string
		values  []string
		unique  string
	}{
		{nil, nil, ""},
		{[]string{""}, nil, ""},
		{[]string{"s=1"}, []string{"1"}, "1"},
		{[]string{"a=b; s=1; c=d"}, []string{"1"}, "1"},
		{[]string{"a=b;s=1;c=d"}, []string{"1"}, "1"},
		{[]string{" \ts\t=\t1 \t"}, []string{"1"}, "1"},
		{[]string{"a=b", "s=1"}, []string{"1"}, "1"},
		{[]string{"s=1=2"}, []string{"1=2"}, "1=2"},
		{[]string{`s="1"`}, []string{"1"}, "1"},
		{[]string{`s=" 1 "`}, []string{" 1 "}, " 1 "},
		{[]string{`s=""1""`}, []string{`"1"`}, `"1"`},
		{[]string{`s="1; s=2"`}, []string{`"1`, `2"`}, ""},
		{[]string{`s="`, `s=""`}, []string{`"`, ""}, ""},
		{[]string{"s=1 2"}, []string{"1 2"}, "1 2"},
		{[]string{"s=1,s=2"}, []string{"1,s=2"}, "1,s=2"},
		{[]string{"s=1; S=2; s\u00a0=3; \u2003s=4; \vs=5; ss=6; s s=7"}, []string{"1"}, "1"},
		{[]string{"s=\v1\u00a0"}, []string{"\v1\u00a0"}, "\v1\u00a0"},
		{[]string{"s"}, nil, ""},
		{[]string{"=s"}, nil, ""},
		{[]string{"=s=1"}, nil, ""},
		{[]string{"s="}, []string{""}, ""},
		{[]string{"s=; s=1"}, []string{"", "1"}, ""},
		{[]string{"s=1; s="}, []string{"1", ""}, ""},
		{[]string{"s=1; s=1"}, []string{"1", "1"}, "1"},
		{[]string{"s=1", "s=1"}, []string{"1", "1"}, "1"},
		{[]string{"s=1;;;", ";s=2"}, []string{"1", "2"}, ""},
		{[]string{"s=1; s=2; s=3"}, []string{"1", "2", "3"}, ""},
		{[]string{"s=1; s; t=2"}, []string{"1"}, "1"},
	} {
		h := http.Header{"Cookie": c.headers, "cookie": {"s=9"}}
		require.Equal(t, c.values, slices.Collect(Values(Header(h), "s")), "%q", c.headers)
		unique, count := Unique(Header(h), "s")
		require.Equal(t, c.unique, unique, "%q", c.headers)
		different := map[string]bool{}
		for _, value := range c.values {
			different[value] = true
		}
		require.Equal(t, min(len(different), 2), count, "%q", c.headers)
	}
}

func TestValuesStopsWhenItsCallerDoes(t *testing.T) {
	h := http.Header{"Cookie": {"s=1; s=2", "s=3"}}
	for stop := 1; stop <= 3; stop++ {
		var got []string
		for value := range Values(Header(h), "s") {
			if got = append(got, value); len(got) == stop {
				break
			}
		}
		require.Equal(t, []string{"1", "2", "3"}[:stop], got)
	}
}

// A request without our cookies, or with one of them, costs no memory.
func TestReadingCookiesAllocatesNothing(t *testing.T) {
	h := http.Header{"Cookie": {"a=b; __Host-Http-session=x; c=d; __Host-Http-session=y"}}
	require.Zero(t, testing.AllocsPerRun(100, func() { Unique(Header(h), "__Host-Http-session") }))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for range Values(Header(h), "__Host-Http-session") {
		}
	}))
}

func TestLastCookies(t *testing.T) {
	h := http.Header{"Cookie": {"s=1; t=0; s=2", "s=3; s="}}
	for n, want := range [][]string{nil, {""}, {"3", ""}, {"2", "3", ""}, {"1", "2", "3", ""}, {"1", "2", "3", ""}} {
		if n > 0 {
			require.Equal(t, want, Last(Header(h), "s", n))
		}
	}
	h = http.Header{"Cookie": {strings.Repeat("s=1; ", 100_000)}}
	require.LessOrEqual(t, testing.AllocsPerRun(3, func() { Last(Header(h), "s", 8) }), 5.0)
}
