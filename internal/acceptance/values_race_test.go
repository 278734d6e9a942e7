package acceptance

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// onAdd adds a route whose handler opens the session, waits until all n requests have, and
// then sets a value and adds a flash of its own.
func (s *site) onAdd(n int) {
	var opened sync.WaitGroup
	opened.Add(n)
	s.on("POST /add", func(_ http.ResponseWriter, r *http.Request) error {
		session, err := s.guard.Get(r, "app")
		opened.Done()
		opened.Wait()
		session.Values[r.FormValue("k")] = "v"
		session.AddFlash(r.FormValue("k"))
		return err
	})
	s.on("GET /added", func(w http.ResponseWriter, r *http.Request) error {
		session, err := s.guard.Get(r, "app")
		fmt.Fprint(w, len(session.Flashes()), len(session.Values))
		return err
	})
}

// addAtOnce sends n requests to /add from copies of b, in turns to the sites.
func addAtOnce(t *testing.T, b *browser, n int, sites ...*site) {
	t.Helper()
	var sending sync.WaitGroup
	statuses := make([]int, n)
	for i := range n {
		other := sites[i%len(sites)].copyOf(b)
		sending.Go(func() {
			if resp, err := other.Client.Do(other.Request("POST", fmt.Sprintf("/add?k=key%d", i))); err == nil {
				statuses[i] = resp.StatusCode
				resp.Body.Close()
			}
		})
	}
	sending.Wait()
	refused := 0
	for _, status := range statuses {
		if status != http.StatusOK {
			refused++
		}
	}
	require.Zero(t, refused, "requests that were not saved")
}

// takesTime makes backend calls take a millisecond.
func (f *failingBackend) takesTime() {
	for _, method := range []string{"Load", "Save"} {
		f.beforeCall(method, func() { time.Sleep(time.Millisecond) })
	}
}

// L4: requests that change one session at the same time are saved together. None is lost,
// and they do not cause each other's saves to be repeated.
func TestParallelSavesOfASessionAreNotLostAndCostFewBackendCalls(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		const requests = 200
		s, backend := remoteSite(t)
		s.onAdd(requests)
		b := s.browse()
		b.login("ada")
		backend.takesTime()
		begun := time.Now()
		addAtOnce(t, b, requests, s)
		calls := backend.callCounts()
		t.Logf("%d requests in %v: %v", requests, time.Since(begun), calls)
		require.LessOrEqual(t, calls["Save"], requests)
		require.LessOrEqual(t, calls["Load"]+calls["Save"], 2*requests)
		require.Equal(t, fmt.Sprint(requests, requests), b.Get("/added").Body)
	})
}

// L4: two nodes do not lose each other's changes either.
func TestParallelSavesOfASessionOnTwoNodesAreNotLost(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		const requests = 100
		one, backend := remoteSite(t)
		two := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		one.onAdd(requests / 2)
		two.onAdd(requests / 2)
		b := one.browse()
		b.login("ada")
		backend.takesTime()
		begun := time.Now()
		addAtOnce(t, b, requests, one, two)
		calls := backend.callCounts()
		t.Logf("%d requests in %v: %v", requests, time.Since(begun), calls)
		require.LessOrEqual(t, calls["Load"]+calls["Save"], 2*requests)
		require.Equal(t, fmt.Sprint(requests, requests), b.Get("/added").Body)
	})
}
