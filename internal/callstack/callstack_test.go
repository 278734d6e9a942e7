package callstack

import (
	"testing"

	"github.com/stretchr/testify/require"
)

type caller struct{}

func (*caller) call(do func() bool) bool { return do() }

// deep calls do below depth more frames.
func deep(depth int, do func() bool) bool {
	if depth == 0 {
		return do()
	}
	return deep(depth-1, do)
}

func TestHasFindsAFunctionHoweverDeep(t *testing.T) {
	const methods = "github.com/sessionguard-go/sessionguard/internal/callstack.(*caller)."
	has := func() bool { return Has(methods) }
	c := new(caller)
	for _, depth := range []int{0, 1, 50, 60, 61, 62, 63, 64, 65, 200, 5000} {
		require.False(t, deep(depth, has), depth)
		require.True(t, c.call(func() bool { return deep(depth, has) }), depth)
		require.True(t, deep(depth, func() bool { return c.call(has) }), depth)
	}
	done := make(chan bool)
	require.False(t, c.call(func() bool {
		go func() { done <- has() }()
		return <-done
	}), "another goroutine has a stack of its own")
}

func panics() { panic("why") }

func TestRecoverReturnsWhyAndWhere(t *testing.T) {
	require.Nil(t, Recover(func() {}))
	p := Recover(panics)
	require.Equal(t, "why", p.Value)
	require.Contains(t, string(p.Stack), "callstack.panics")
}
