package acceptance

import (
	"crypto/fips140"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
)

// server is a TLS server on a network in memory.
type server struct {
	*httptest.Server
	network *testbrowser.PipeListener
}

// serve starts a server for h, which configure may change first.
func serve(t *testing.T, h http.Handler, configure ...func(*httptest.Server)) *server {
	t.Helper()
	s := &server{httptest.NewUnstartedServer(h), testbrowser.Listen("app.example:443")}
	s.Listener.Close()
	s.Listener = s.network
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	for _, c := range configure {
		c(s.Server)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// withFakeClock runs a test on a clock that advance moves. It waits for the end of what
// guards still try to do in the background: when the test has returned, the clock stands.
func withFakeClock(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if fips140.Enabled() { // otherwise inside the bubble: "failed to obtain initial entropy" (Go 1.26.8)
		cryptotest.SetGlobalRandom(t, 1)
	}
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { advance(15 * time.Minute) })
		test(t)
	})
}

// advance moves the clock of withFakeClock, after everything else has come to rest, and waits
// for all that is due by then.
func advance(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
