package sessionguard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// What a metrics page shows. examples/metrics does it with Prometheus and OpenTelemetry.
func ExampleGuard_Stats() {
	calls := map[string]int{}
	guard, err := sessionguard.New(sessionguard.Config[*User]{
		FindUser:      find,
		OnBackendCall: func(method string, took time.Duration, err error) { calls[method]++ },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	login := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := guard.Login(w, r, people["ada"]); err != nil {
			http.Error(w, "You cannot log in.", http.StatusForbidden)
		}
	}))
	r := httptest.NewRequest("POST", "https://app.example/login", nil)
	login.ServeHTTP(httptest.NewRecorder(), r)

	n, err := guard.CountSessions(r.Context())
	fmt.Println("sessions:", n, err)
	fmt.Println("open streams:", guard.Stats().OpenStreams)
	fmt.Println("ends that are tried again:", guard.Stats().UnfinishedEnds)
	fmt.Println("calls of Create:", calls["Create"])
	// Output:
	// sessions: 1 <nil>
	// open streams: 0
	// ends that are tried again: 0
	// calls of Create: 1
}
