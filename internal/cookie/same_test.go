package cookie

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Only the two cookies of the codec count, whatever the lines they are in.
func TestSameComparesOurCookiesOnly(t *testing.T) {
	c := newTestCodec(t)
	s, v := c.Session.Name, c.Visitor.Name
	ours := []string{s + "=1; " + v + "=2"}
	for name, test := range map[string]struct {
		before, after []string
		want          bool
	}{
		"none":                   {nil, nil, true},
		"the same":               {ours, ours, true},
		"in two lines":           {ours, []string{s + "=1", v + "=2"}, true},
		"from two lines":         {[]string{s + "=1", v + "=2"}, ours, true},
		"two lines":              {[]string{s + "=1", v + "=2"}, []string{s + "=1", v + "=2"}, true},
		"another one is added":   {ours, []string{"a=b; " + ours[0] + "; c=d"}, true},
		"another one is removed": {[]string{"a=b; " + ours[0]}, ours, true},
		"only others":            {[]string{"a=b"}, nil, true},
		"another session":        {ours, []string{s + "=3; " + v + "=2"}, false},
		"another visitor":        {ours, []string{s + "=1; " + v + "=3"}, false},
		"without the session":    {ours, []string{v + "=2"}, false},
		"without cookies":        {ours, nil, false},
		"with a session":         {nil, ours, false},
		"with a second session":  {ours, []string{ours[0], s + "=3"}, false},
		"in three lines":         {[]string{"a=b", s + "=1", v + "=2"}, []string{"a=b", s + "=1", v + "=2"}, true},
		"one of three lines":     {[]string{"a=b", s + "=1", v + "=2"}, []string{"a=b", s + "=1"}, false},
		"a line longer":          {[]string{"a=b", s + "=1"}, []string{"a=b", s + "=12"}, false},
		"in another order":       {[]string{s + "=1; " + s + "=2"}, []string{s + "=2; " + s + "=1"}, false},
	} {
		require.Equal(t, test.want, c.Same(Header(http.Header{"Cookie": test.before}), http.Header{"Cookie": test.after}), name)
	}
}

func TestHeaderStaysWhenTheCookiesAreReplaced(t *testing.T) {
	h := http.Header{"Cookie": {"a=1"}}
	before := Header(h)
	h.Set("Cookie", "a=2")
	require.Equal(t, "a=1", *before)
}

// K2: a header of a megabyte with our names is compared whenever a handler uses the guard.
func TestManyCookiesAreComparedWithoutAllocations(t *testing.T) {
	c := newTestCodec(t)
	one := strings.Repeat(c.Session.Name+"=1; "+c.Visitor.Name+"=2; ", 20_000)
	other := "a=b; " + one
	for name, test := range map[string]struct{ before, after []string }{
		"one line":                  {[]string{one}, []string{one}},
		"two lines":                 {[]string{one, one}, []string{one, one}},
		"another one is added":      {[]string{one}, []string{other}},
		"another one, in two lines": {[]string{one, one}, []string{one, other}},
	} {
		before, after := Header(http.Header{"Cookie": test.before}), http.Header{"Cookie": test.after}
		require.True(t, c.Same(before, after), name)
		require.Zero(t, testing.AllocsPerRun(3, func() { c.Same(before, after) }), name)
	}
}
