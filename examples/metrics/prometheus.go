package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sessionguard-go/sessionguard"
)

// observe counts the guard's events and times its backend. It comes before New.
func observe(registry prometheus.Registerer, config *sessionguard.Config[User]) {
	calls := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "sessionguard_backend_call_duration_seconds", Help: "Calls of the session backend.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9), // to 6.5 seconds
	}, []string{"method", "result"})
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sessionguard_events_total", Help: "Entries of the audit trail.",
	}, []string{"event", "reason", "code"})
	registry.MustRegister(calls, events)
	log := cmp.Or(config.Logger, slog.Default())

	config.OnBackendCall = func(method string, took time.Duration, err error) {
		calls.WithLabelValues(method, result(err)).Observe(took.Seconds())
	}
	config.OnEvent = func(ctx context.Context, e sessionguard.Event) {
		code := e.Code
		if e.Name != sessionguard.EventRefused { // elsewhere it is not one of a few
			code = ""
		}
		events.WithLabelValues(string(e.Name), string(e.Reason), code).Add(float64(max(e.Count, 1)))
		e.Log(ctx, log) // as without an OnEvent
	}
}

// result is a label. Any client can cancel calls by disconnecting: alert on those that failed.
func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "failed"
}

// meter adds what the guard is asked for at each scrape. sessionguard_sessions is the same on
// all nodes that share a backend: take its maximum, not its sum.
func meter(registry prometheus.Registerer, guard *sessionguard.Guard[User]) {
	gauge := func(name, help string, value func() float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("sessionguard_sessions", "Logins that are live, on all nodes.", func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		n, err := guard.CountSessions(ctx)
		if err != nil {
			return math.NaN()
		}
		return float64(n)
	})
	gauge("sessionguard_open_streams", "Open responses that end with their session, on this node.", func() float64 {
		return float64(guard.Stats().OpenStreams)
	})
	gauge("sessionguard_unfinished_ends", "Ends of sessions that this node goes on trying.", func() float64 {
		return float64(guard.Stats().UnfinishedEnds)
	})
}
