package main

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/sessionguard-go/sessionguard"
)

// observeOTel is [observe] for OpenTelemetry.
func observeOTel(m metric.Meter, config *sessionguard.Config[User]) error {
	calls, err := m.Float64Histogram("sessionguard.backend.call.duration", metric.WithUnit("s"))
	if err != nil {
		return err
	}
	config.OnBackendCall = func(method string, took time.Duration, err error) {
		calls.Record(context.Background(), took.Seconds(), metric.WithAttributes(
			attribute.String("method", method), attribute.String("result", result(err))))
	}
	return nil
}

// meterOTel is [meter] for OpenTelemetry.
func meterOTel(m metric.Meter, guard *sessionguard.Guard[User]) error {
	sessions, err := m.Int64ObservableGauge("sessionguard.sessions")
	if err != nil {
		return err
	}
	streams, err := m.Int64ObservableGauge("sessionguard.open_streams")
	if err != nil {
		return err
	}
	_, err = m.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		o.ObserveInt64(streams, int64(guard.Stats().OpenStreams))
		n, err := guard.CountSessions(ctx)
		if err == nil {
			o.ObserveInt64(sessions, int64(n))
		}
		return err
	}, sessions, streams)
	return err
}
