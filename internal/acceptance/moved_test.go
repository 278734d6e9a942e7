package acceptance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// What a request found out about the old token says nothing of a session that was moved to
// a new one meanwhile, by a login with the user as the user is now. Only a logout, another
// login and suspected theft follow it: TestTheftEndsSessionThatMovesMeanwhile.
func TestEndOfAnOutdatedSessionSparesTheNewLogin(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*user)
		reason string
	}{
		"deactivated":           {func(u *user) { u.Inactive = true }, "deactivated"},
		"a stamp that reverted": {func(u *user) { u.Stamp = "new" }, "credentials_changed"},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := remoteSite(t)
				b := s.browse()
				b.login("ada")
				old := s.copyOf(b)
				s.events.take()
				was := s.users.users["ada"]
				s.users.change("ada", test.change)
				backend.beforeCall("Delete", func() {
					backend.beforeCall("Delete", nil)
					s.users.change("ada", func(u *user) { *u = was })
					b.login("ada")
				})
				require.Equal(t, "/login?next=%2Fhome&reason="+test.reason, old.Get("/home").Header.Get("Location"))
				require.True(t, b.loggedIn())
				require.Empty(t, s.events.take(sessionguard.EventEnded))
			})
		})
	}
}

// A forgetfulBackend keeps no trace of sessions that have moved, as a backend may once a
// minute has passed.
type forgetfulBackend struct{ store.Backend }

func (f forgetfulBackend) Load(ctx context.Context, key store.Key) (store.Record, error) {
	rec, err := f.Backend.Load(ctx, key)
	var moved *store.MovedError
	if errors.As(err, &moved) {
		return rec, store.ErrNotFound
	}
	return rec, err
}

// The user logs in again on another node, which the backend does not report. The stream
// finds its session by the owner, and its end there as well.
func TestStreamFollowsASessionWhoseMoveIsForgotten(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		memory := store.NewMemory()
		_, b := streamingSite(t, forgetfulBackend{memory})
		there, other := streamingSite(t, forgetfulBackend{memory})
		live := b.openStream("/events")
		other.SetCookies(b.Cookies())
		other.login("ada")
		advance(10 * time.Minute)
		require.True(t, live.stillOpen(), "after some lookups")

		require.NoError(t, there.guard.EndUser(t.Context(), "ada"))
		live.requireEnds("ended: ended", 30*time.Second)
	})
}
