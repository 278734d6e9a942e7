package acceptance

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

// bindingSite returns a site with Config.DeviceProof, a request of a session that is bound, and
// one of a session that is not.
func bindingSite(tb testing.TB) (s *benchSite, bound, unbound *http.Request) {
	s = newBenchSite(tb, nil, func(c *sessionguard.Config[*user]) { c.DeviceProof = deviceProof })
	mux := http.NewServeMux()
	mux.Handle("POST /sessionguard/", s.guard.Script())
	mux.HandleFunc("POST /login", s.logIn)
	mux.Handle("GET /page", benchPage)
	b := testbrowser.New(tb, "https://example.com", testbrowser.HandlerTransport{Handler: s.guard.Handler(mux)})
	b.Device = testbrowser.NewDevice()
	b.Post("/login")
	b.Get("/page") // after which the device is proven for the first time
	var pairs []string
	for name, value := range b.Cookies() {
		pairs = append(pairs, name+"="+value)
	}
	require.Len(tb, pairs, 2)
	unbound = s.login(tb)
	bound = unbound.Clone(unbound.Context())
	bound.Header.Set("Cookie", strings.Join(pairs, "; "))
	return s, bound, unbound
}

// BenchmarkBoundRequest measures what the proof of a device costs a protected request. Compare
// "not bound" and "bound".
func BenchmarkBoundRequest(b *testing.B) {
	s, bound, unbound := bindingSite(b)
	off := newBenchSite(b, nil)
	for _, bench := range []struct {
		name string
		h    http.Handler
		r    *http.Request
	}{
		{"off", off.guard.RequireLogin(benchPage), off.login(b)},
		{"not bound", s.guard.RequireLogin(benchPage), unbound},
		{"bound", s.guard.RequireLogin(benchPage), bound},
		{"RequireBound", s.guard.RequireBound(0)(benchPage), bound},
	} {
		b.Run(bench.name, func(b *testing.B) {
			w := &benchWriter{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				w.reset()
				bench.h.ServeHTTP(w, bench.r)
			}
			require.Equal(b, http.StatusOK, w.status)
		})
	}
}
