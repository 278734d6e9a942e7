package factor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	for _, name := range []string{"pwd", "otp", "hwk", "x", "A.b_c-9", strings.Repeat("x", 32)} {
		require.NoError(t, Check([]string{name}), name)
	}
	for _, name := range []string{"", " ", "a b", "é", "a\x00", "a,b", "a/b", strings.Repeat("x", 33), "\xff"} {
		require.Error(t, Check([]string{"pwd", name}), "%q", name)
	}
	require.NoError(t, Check(nil))
	require.NoError(t, Check(make8()))
	require.Error(t, Check(append(make8(), "more")))
}

func make8() (names []string) {
	for i := range Max {
		names = append(names, fmt.Sprint("f", i))
	}
	return names
}

func TestAddKeepsTheNewerAndDropsTheOldest(t *testing.T) {
	old := Add(nil, []string{"pwd", "otp", "pwd"}, 1)
	require.Equal(t, []store.Factor{{Name: "pwd", At: 1}, {Name: "otp", At: 1}}, old)
	require.Equal(t, []store.Factor{{Name: "otp", At: 1}, {Name: "pwd", At: 2}}, Add(old, []string{"pwd"}, 2))
	require.Equal(t, []store.Factor{{Name: "pwd", At: 1}, {Name: "otp", At: 1}}, old, "which others share")
	require.Empty(t, Add(nil, nil, 1))

	full := Add(old, make8(), 3)
	require.Len(t, full, Max)
	require.Equal(t, make8(), Names(full))
	require.Equal(t, append(make8()[1:], "pwd"), Names(Add(full, []string{"pwd"}, 4)))
}

func TestWhatIsMissingOrStale(t *testing.T) {
	factors := []store.Factor{{Name: "pwd", At: 1000}, {Name: "otp", At: 2000}}
	require.Equal(t, []string{"hwk"}, Missing(factors, []string{"otp", "hwk", "hwk", "pwd"}))
	require.Nil(t, Missing(factors, []string{"otp"}))
	require.Nil(t, Missing(nil, nil))
	require.Zero(t, testing.AllocsPerRun(100, func() { Missing(factors, []string{"pwd", "otp"}) }))

	require.Equal(t, factors, Recent(factors, 2999, 2*time.Second))
	require.Equal(t, factors[1:], Recent(factors, 3000, 2*time.Second))
	require.Equal(t, "", Stale(factors, []string{"pwd", "otp"}, 2999, 2*time.Second))
	require.Equal(t, "pwd", Stale(factors, []string{"otp", "pwd"}, 3000, 2*time.Second))
	require.Equal(t, "hwk", Stale(factors, []string{"hwk"}, 2000, time.Hour))
	require.Equal(t, "pwd", Stale(factors, []string{"pwd"}, 1000, 0))
	require.Equal(t, "", Stale(nil, nil, 1, time.Second))
}
