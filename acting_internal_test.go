package sessionguard

import (
	"testing"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// A login as the user whom somebody acts for is a new session, whatever the kinds of their
// owners: it must not get the actor's session's ID and values.
func TestALoginIsNoReauthenticationOfWhoActs(t *testing.T) {
	rec := func(actor *store.Actor) store.Record {
		return store.Record{Session: &store.Session{Owner: "session:ada", Details: &store.Details{Actor: actor}}}
	}
	l := &locked{rec: rec(nil)}
	require.True(t, l.isReauthentication(rec(nil)))
	l.rec = rec(&store.Actor{Owner: "session=grace", ID: "id"})
	require.False(t, l.isReauthentication(rec(nil)))
}
