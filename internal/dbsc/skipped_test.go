package dbsc

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestABrowserThatWillRetrySaysSoOfThatSession(t *testing.T) {
	c := newTestCodec()
	const named = `;session_identifier="` + madeIdentifier + `"`
	other := `;session_identifier="` + c.SealIdentifier("s=grace", testID) + `"`
	another := `;session_identifier="` + c.SealIdentifier("s=ada", "B") + `"`
	stranger := `;session_identifier="` + New([][]byte{keyOf("x")}, [][]byte{keyOf("x")}).SealIdentifier("s=ada", testID) + `"`
	for _, test := range []struct {
		lines []string
		want  bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{"server_error"}, false},
		{[]string{"unreachable"}, false},
		{[]string{"server_error" + named}, true},
		{[]string{"unreachable" + named}, true},
		{[]string{"unreachable;session_identifier=" + madeIdentifier}, true},
		{[]string{"\tunreachable; session_identifier=" + madeIdentifier + " \t"}, true},
		{[]string{"unreachable;new" + named + `;attempts=3;at=@17;why="a, \"b\"; \\";b=:YQ==:;c=?1`}, true},
		{[]string{"unreachable" + other}, false},
		{[]string{"unreachable" + another}, false},
		{[]string{"unreachable" + stranger}, false},
		{[]string{`server_error;session_identifier="x"`}, false},
		{[]string{`server_error;session_identifier=""`}, false},
		{[]string{`server_error;session_identifier`}, false},
		{[]string{"unreachable;session_identifiers=" + madeIdentifier}, false},
		{[]string{"unreachable;session_identifier=" + madeIdentifier[1:]}, false},
		{[]string{"quota_exceeded" + named}, false},
		{[]string{"something_new" + named}, false},
		{[]string{"server_errors" + named}, false},
		{[]string{"Unreachable" + named}, false},
		{[]string{"no_unreachable" + named}, false},
		{[]string{`"unreachable"` + named}, false},
		// Several sessions.
		{[]string{"unreachable" + other + ", server_error" + named}, true},
		{[]string{"unreachable" + named + ",server_error" + stranger}, true},
		{[]string{"unreachable" + stranger, "server_error" + named}, true},
		{[]string{"quota_exceeded" + named + ", unreachable" + other}, false},
		{[]string{"quota_exceeded" + named + ", unreachable"}, false},
		{[]string{"unreachable, quota_exceeded" + named}, false},
		{[]string{"unreachable" + named + `;session_identifier="x"`}, false}, // the last one counts
		{[]string{`unreachable;session_identifier="x"` + named}, true},
		// What looks like it within a string.
		{[]string{`quota_exceeded;why="a, unreachable;session_identifier=` + madeIdentifier + `"`}, false},
		{[]string{`quota_exceeded;why="\", unreachable;session_identifier=` + madeIdentifier + `"`}, false},
		{[]string{`quota_exceeded;why="a`, `unreachable;session_identifier=` + madeIdentifier + `"`}, false},
		// No list, so that no part of it counts.
		{[]string{"unreachable" + named + ","}, false},
		{[]string{"unreachable" + named + ",,server_error"}, false},
		{[]string{"unreachable" + named + " server_error"}, false},
		{[]string{"unreachable" + named + `;a="`}, false},
		{[]string{"unreachable" + named, `a;b="\c"`}, false},
		{[]string{"unreachable" + named + ";;"}, false},
		{[]string{"unreachable" + named + ";A=1"}, false},
		{[]string{"unreachable" + named + ", (a b)"}, false},
		{[]string{"unreachable" + named + ", \x00"}, false},
		{[]string{"unreachable" + named + ", ä"}, false},
		{[]string{"unreachable ;session_identifier=" + madeIdentifier}, false},
		// Long ones.
		{[]string{strings.Repeat("a, ", 5000) + "unreachable" + named}, true},
		{[]string{strings.Repeat("a, ", 6000) + "unreachable" + named}, false},
	} {
		require.Equal(t, test.want, c.WillRetry(http.Header{HeaderSkipped: test.lines}, "s=ada", testID), "%q", test.lines)
	}
}

// No text says anything of a session whose identifier it does not have.
func FuzzWillRetry(f *testing.F) {
	c := newTestCodec()
	for _, text := range []string{
		"", "unreachable", "server_error;session_identifier=" + madeIdentifier, `unreachable;session_identifier="` + madeIdentifier + `"`,
		`quota_exceeded;session_identifier="` + madeIdentifier + `", unreachable;session_identifier="x"`,
		`a;b="\", unreachable;session_identifier=` + madeIdentifier + `"`, "unreachable;session_identifier=" + madeOffer, "a;b=1;c, d;*=?1,",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		says := func(text, owner string) bool {
			return c.WillRetry(http.Header{HeaderSkipped: {text}}, owner, testID)
		}
		if says(text, "s=grace") {
			t.Fatalf("%q speaks of another session", text)
		}
		if !says(text, "s=ada") {
			return
		}
		if !strings.Contains(text, madeIdentifier) || !strings.Contains(text, "unreachable") && !strings.Contains(text, "server_error") {
			t.Fatalf("%q does not say it", text)
		}
		if !says("a, "+text, "s=ada") || says(text+`;a="`, "s=ada") || says(text+",", "s=ada") {
			t.Fatalf("%q is no list", text)
		}
	})
}
