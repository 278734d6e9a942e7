package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/sessionguard-go/sessionguard"
)

// browse returns a client that is logged in.
func browse(t *testing.T, pages http.Handler) (client *http.Client, address string) {
	t.Helper()
	server := httptest.NewServer(pages)
	t.Cleanup(server.Close)
	client = server.Client()
	client.Jar, _ = cookiejar.New(nil)
	resp, err := client.PostForm(server.URL+"/login", url.Values{"name": {"ada"}})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	return client, server.URL
}

func scrape(t *testing.T, metrics http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	metrics.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, http.StatusOK, w.Code)
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	app, err := newApp()
	require.NoError(t, err)
	require.Contains(t, scrape(t, app.metrics), "\nsessionguard_sessions 0\n")

	browse(t, app.pages)
	client, address := browse(t, app.pages)
	resp, err := client.Get(address + "/clock")
	require.NoError(t, err)
	page := scrape(t, app.metrics)
	for _, line := range []string{
		`sessionguard_sessions 2`,
		`sessionguard_open_streams 1`,
		`sessionguard_unfinished_ends 0`,
		`sessionguard_events_total{code="",event="sessionguard.logged_in",reason=""} 2`,
		`sessionguard_backend_call_duration_seconds_count{method="Create",result="ok"} 2`,
	} {
		require.Contains(t, page, "\n"+line+"\n")
	}

	out, err := client.Post(address+"/logout", "", nil)
	require.NoError(t, err)
	require.NoError(t, out.Body.Close())
	_, _ = io.ReadAll(resp.Body) // until the stream has ended
	require.NoError(t, resp.Body.Close())
	page = scrape(t, app.metrics)
	for _, line := range []string{
		`sessionguard_sessions 1`,
		`sessionguard_events_total{code="",event="sessionguard.logged_out",reason="logged_out"} 1`,
	} {
		require.Contains(t, page, "\n"+line+"\n")
	}
}

// Nobody raises an alarm by disconnecting.
func TestResults(t *testing.T) {
	for err, want := range map[error]string{
		nil: "ok", context.Canceled: "canceled", &url.Error{Err: context.Canceled}: "canceled",
		context.DeadlineExceeded: "failed", io.ErrUnexpectedEOF: "failed",
	} {
		require.Equal(t, want, result(err), err)
	}
}

func TestOpenTelemetry(t *testing.T) {
	reader := sdk.NewManualReader()
	m := sdk.NewMeterProvider(sdk.WithReader(reader)).Meter("sessionguard")
	config := sessionguard.Config[User]{FindUser: find}
	require.NoError(t, observeOTel(m, &config))
	guard, err := sessionguard.New(config)
	require.NoError(t, err)
	require.NoError(t, meterOTel(m, guard))

	w := httptest.NewRecorder()
	guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.NoError(t, guard.Login(w, r, User{}))
	})).ServeHTTP(w, httptest.NewRequest("POST", "https://app.example/login", nil))

	var collected metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &collected))
	got := map[string]int64{}
	for _, metric := range collected.ScopeMetrics[0].Metrics {
		switch data := metric.Data.(type) {
		case metricdata.Gauge[int64]:
			got[metric.Name] = data.DataPoints[0].Value
		case metricdata.Histogram[float64]:
			for _, point := range data.DataPoints {
				got[metric.Name] += int64(point.Count)
			}
		}
	}
	require.Equal(t, int64(1), got["sessionguard.sessions"])
	require.Contains(t, got, "sessionguard.open_streams")
	require.Positive(t, got["sessionguard.backend.call.duration"])
}

// The program serves both, and stops.
func TestProgramRuns(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	stopped := make(chan error, 1)
	go func() {
		stopped <- run(ctx, 0, 0, in)
		in.Close()
	}()
	lines := bufio.NewScanner(out)
	for _, test := range []struct{ name, path string }{{"Listening", "/login"}, {"Metrics", "/metrics"}} {
		require.True(t, lines.Scan())
		address, ok := strings.CutPrefix(lines.Text(), test.name+" on ")
		require.True(t, ok, lines.Text())
		resp, err := http.Get(address + test.path)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	stop()
	rest := ""
	for lines.Scan() {
		rest = lines.Text()
	}
	require.Equal(t, "Stopped.", rest)
	require.NoError(t, <-stopped)
}
