package testhook_test

import (
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/testhook"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

func TestOfChangesACopyAndNoActivityComesAfterTheEnd(t *testing.T) {
	record := func() store.Record {
		return store.Record{LastSeen: 5000, Session: &store.Session{Authenticated: 1000, Expires: 9000,
			Created: 1000, Details: &store.Details{RememberUntil: 20000, Rotated: 2000, SuccessorToken: []byte("x"), Factors: []store.Factor{{Name: "pwd", At: 1000}}}}}
	}
	before := record()
	got := testhook.Shift{By: 6 * time.Second, Active: true}.Of(before)
	require.Equal(t, record(), before) // a backend may share it
	require.Equal(t, store.Record{LastSeen: 2999, Session: &store.Session{Authenticated: -5000, Expires: 3000,
		Created: -5000, Details: &store.Details{RememberUntil: 14000, Rotated: -4000, Factors: []store.Factor{{Name: "pwd", At: -5000}}}}}, got)
	never := testhook.Shift{By: time.Second}.Of(store.Record{LastSeen: 5000, Session: &store.Session{Expires: 9000}})
	require.Zero(t, never.Detail()) // a session that is not remembered was not remembered a second ago either
	require.EqualValues(t, -1000, testhook.Shift{By: 6 * time.Second}.Of(before).LastSeen)
}
