package sessionguard

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard/internal/clientaddr"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

func TestDiscardedEventAllocatesNothing(t *testing.T) {
	c := &core{log: slog.New(slog.DiscardHandler), owners: "session", clientAddr: clientaddr.OfConnection}
	req := &request{core: c, caller: httptest.NewRequest("GET", "/", nil)}
	rec := store.Record{Session: &store.Session{ID: "id", Owner: "session=ada"}}
	failed := errors.New("down")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		c.emit(req, Event{Name: EventRefused, Code: "forbidden"}, rec)
		c.emit(req, Event{Name: EventUnavailable, Err: failed}, rec)
		c.emitEnd(req, rec, store.ReasonIdle, "")
	}))
}

func TestEveryEventHasALogMessage(t *testing.T) {
	for _, name := range []EventName{
		EventLogin, EventLoginPending, EventReauthenticated, EventRevived, EventLogout, EventExpired, EventEnded,
		EventTheftSuspected, EventRefused, EventUnknownCookie, EventUnverifiedCookie, EventSeveralCookies, EventUnavailable, EventActing,
		EventDeviceBound, EventDeviceUnproven,
	} {
		require.NotEmpty(t, eventMessages[name], name)
	}
	require.Len(t, eventMessages, 16)
}

func TestThrottleCountsSuppressedEvents(t *testing.T) {
	var limit throttle
	now := store.Time(1)
	require.Equal(t, 1, limit.allow(now))
	for range 5 {
		require.Zero(t, limit.allow(now+999))
	}
	require.Equal(t, 6, limit.allow(now+1000))
	require.Zero(t, limit.allow(now+1001))
}

// The clock may be set back while events are suppressed. They must not stay so for as long.
func TestThrottleAllowsAnEventAfterTheClockWasSetBack(t *testing.T) {
	var limit throttle
	now := store.Time(10_000)
	require.Equal(t, 1, limit.allow(now))
	require.Zero(t, limit.allow(now+999))
	require.Zero(t, limit.allow(now), "by a little: this may be another goroutine's reading")
	require.Equal(t, 3, limit.allow(now-1))
	require.Zero(t, limit.allow(now+998))
	require.Equal(t, 2, limit.allow(now+999))
}

func TestAnEventOfTheApplicationsOwnIsLoggedByItsName(t *testing.T) {
	var log strings.Builder
	Event{Name: "app.exported"}.Log(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
	require.Contains(t, log.String(), `msg=app.exported event.name=app.exported`)
}
