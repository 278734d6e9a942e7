package problem

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a member says cannot get out of its quotes.
func TestABodyIsJSONWhateverItSays(t *testing.T) {
	body := New(401, "Log in to continue.", "login_required")
	before := string(body)
	values := []string{"", "idle", "too_many_sessions", `a"b`, `back\slash`, "line\nbreak", "<script>", "é", "\xff", strings.Repeat("x", 1000)}
	for _, reason := range values {
		for _, factor := range values {
			got := map[string]any{}
			require.NoError(t, json.Unmarshal(With(body, "reason", reason, "factor", factor), &got), "%q %q", reason, factor)
			want := map[string]any{"title": "Unauthorized", "status": 401.0, "detail": "Log in to continue.", "error": "login_required"}
			for name, value := range map[string]string{"reason": reason, "factor": factor} {
				if value != "" {
					want[name] = strings.ToValidUTF8(value, "\uFFFD")
				}
			}
			require.Equal(t, want, got)
			require.Equal(t, before, string(body), "it is shared by all responses")
		}
	}
}
