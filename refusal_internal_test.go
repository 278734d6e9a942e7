package sessionguard

import (
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// R3: a verdict without a row would be refused with status 0, or with no event.
func TestEveryVerdictIsComplete(t *testing.T) {
	codes := map[string]bool{}
	for v := allow + 1; v < verdicts; v++ {
		r := refusals[v]
		require.GreaterOrEqual(t, r.status, 400, v)
		require.NotEmpty(t, http.StatusText(r.status), v)
		require.NotEmpty(t, r.code, v)
		require.NotEmpty(t, r.detail, r.code)
		require.False(t, codes[r.code], r.code)
		codes[r.code] = true
		require.Equal(t, r.status < 500, r.event, "%s: a refusal is in the audit trail; a failure has an event of its own", r.code)
		if r.event {
			e := Event{Name: EventRefused, Code: r.code}
			require.Equal(t, r.level, e.level(), r.code)
		} else {
			require.Nil(t, r.often, r.code)
		}
		if r.next {
			require.NotNil(t, r.page, "%s: next goes to a page", r.code)
		}
	}
	require.Zero(t, refusals[allow].status)
	login := Event{Name: EventRefused, Code: "too_many_sessions"}
	require.Equal(t, slog.LevelWarn, login.level())
}
