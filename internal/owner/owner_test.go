package owner

import (
	"testing"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	app := Names("app")
	for _, kind := range Kinds {
		owner := app.Of(kind, "ada:=")
		require.True(t, app.Has(owner))
		require.Equal(t, kind, app.KindOf(owner))
		require.Equal(t, "ada:=", app.UserID(owner))
		require.Equal(t, app.Realm(kind), store.RealmOf(owner))
		for _, other := range []Names{"ap", "app2", ""} {
			require.False(t, other.Has(owner), other)
		}
	}
	require.NotEqual(t, app.Of(Counted, "ada"), app.Of(Uncounted, "ada"))
	for _, none := range []string{app.Of(Taken, "ada"), "", "app", "app=", "app:", "app2=ada", "app!ada", "ap=ada"} {
		require.False(t, app.Has(none), none)
	}
}
