package cookie

import (
	"net/http"
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
