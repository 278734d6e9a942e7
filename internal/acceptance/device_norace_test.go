//go:build !race

package acceptance

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// Under the race detector a sync.Pool drops some of what it holds.
func TestBoundRequestAllocatesNoMore(t *testing.T) {
	s, bound, unbound := bindingSite(t)
	w := &benchWriter{header: http.Header{}}
	allocations := func(h http.Handler, r *http.Request) float64 {
		return testing.AllocsPerRun(1000, func() { w.reset(); h.ServeHTTP(w, r) })
	}
	gate := s.guard.RequireLogin(benchPage)
	require.Equal(t, allocations(gate, unbound), allocations(gate, bound))
	require.Equal(t, allocations(gate, unbound), allocations(s.guard.RequireBound(0)(benchPage), bound))
	require.Equal(t, http.StatusOK, w.status)
}
