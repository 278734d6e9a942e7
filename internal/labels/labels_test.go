package labels

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClean(t *testing.T) {
	for label, want := range map[string]string{
		"":                             "",
		" \t\r\n\u00a0":                "",
		"work laptop":                  "work laptop",
		" work  laptop\n":              "work  laptop",
		"Jürgens Gerät №1 <b>\"&'":     "Jürgens Gerät №1 <b>\"&'",
		"李小龙 的 手机":                     "李小龙 的 手机",
		"العمل":                        "العمل",
		"\u0645\u06cc\u200c\u062e":     "\u0645\u06cc\u200c\u062e", // Persian
		"👩\u200d💻 🏳️\u200d🌈":           "👩\u200d💻 🏳️\u200d🌈",
		strings.Repeat("🦊", 100):       strings.Repeat("🦊", 100),
		strings.Repeat("a", 100) + " ": strings.Repeat("a", 100),
	} {
		got, err := Clean(label)
		require.NoError(t, err, "%q", label)
		require.Equal(t, want, got)
	}
}

func TestCleanRefuses(t *testing.T) {
	for _, label := range []string{
		"\xff", "a\xc3", "\xed\xa0\x80", // not UTF-8
		strings.Repeat("a", 101), strings.Repeat("🦊", 101),
		"a\x00b", "a\nb", "a\rb", "a\tb", "a\x7fb", "a\u0085b", "a\x1b[31m", // control characters
		"a\u2028b", "a\u2029b", "a\u00a0b", "a\u3000b", // lines and spaces that look like others
		"a\u202eb", "\u202ab", "a\u202db", "a\u2066b", "a\u2069", "a\u200fb", "a\u200eb", "a\u061cb", // direction
		"a\u200bb", "a\ufeffb", "a\u00adb", "a\u2060b", // that nobody sees
		"\u200db", "a \u200db", "a\u200d\u200db", "a\u200c\u200d", "\u200c",
		"a\U000e0041b", "a\ue000b", "a\uffffb", "a\U0010ffff", // tags, private use, no characters
	} {
		got, err := Clean(label)
		require.ErrorIs(t, err, ErrInvalid, "%q", label)
		require.Empty(t, got)
	}
}
