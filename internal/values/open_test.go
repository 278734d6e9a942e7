package values

import (
	"context"
	"testing"

	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/require"
)

// openStored opens a session of the values in m.
func openStored(t *testing.T, o *OpenSessions, name string, m map[any]any) *OpenSession {
	t.Helper()
	entries, err := Encode(m, nil)
	require.NoError(t, err)
	s := NewOpenSession(nil, name)
	require.NoError(t, s.Fill(Bag{name: entries, "other": nil}))
	o.Add(s)
	return s
}

func changed(t *testing.T, o *OpenSessions, timedOut bool) Bag {
	t.Helper()
	changes, err := o.Changes(timedOut)
	require.NoError(t, err)
	bag := Bag{}
	changes.ReplaceIn(bag)
	return bag
}

func TestAnOpenSessionIsEmptyOrWhatIsStored(t *testing.T) {
	var o OpenSessions
	s := NewOpenSession(nil, "cart")
	require.NoError(t, s.Fill(Bag{"other": nil}))
	require.True(t, s.Session.IsNew)
	require.Empty(t, s.Session.Values)
	require.Equal(t, "cart", s.Session.Name())
	require.Nil(t, o.Get("cart"))
	o.Add(s)
	require.Same(t, s, o.Get("cart"))
	require.Nil(t, o.Get("flash"))

	stored := openStored(t, &o, "app", map[any]any{"k": 1})
	require.False(t, stored.Session.IsNew)
	require.Equal(t, map[any]any{"k": 1}, stored.Session.Values)
	require.Empty(t, changed(t, &o, false), "nothing has changed")
}

func TestValuesThatDoNotDecodeAreAnErrorThatNamesTheSession(t *testing.T) {
	s := NewOpenSession(nil, "app")
	require.ErrorContains(t, s.Fill(Bag{"app": Entries{{Key: "?", Value: "?"}}}), `session "app"`)
	require.Empty(t, s.Session.Values)

	var o OpenSessions
	s.Err = context.Canceled
	o.Add(s)
	s.Session.Values["k"] = 1
	require.Empty(t, changed(t, &o, false), "what could not be opened is never saved")
}

func TestOnlyWhatDiffersIsAChange(t *testing.T) {
	var o OpenSessions
	same, other := openStored(t, &o, "same", map[any]any{"k": 1}), openStored(t, &o, "other", map[any]any{"k": 1})
	same.Session.Values["k"] = 1
	other.Session.Values["k"] = 2
	require.Equal(t, []string{"other"}, names(changed(t, &o, false)))

	changes, err := o.Changes(false)
	require.NoError(t, err)
	changes.Stored()
	require.Empty(t, changed(t, &o, false), "it has been stored")
}

func names(bag Bag) (all []string) {
	for name := range bag {
		all = append(all, name)
	}
	return all
}

// L4
func TestChangesAreMergedIntoWhatOthersHaveSaved(t *testing.T) {
	var o OpenSessions
	s := openStored(t, &o, "app", map[any]any{"mine": 1, "theirs": 1})
	s.Session.Values["mine"] = 2
	changes, err := o.Changes(false)
	require.NoError(t, err)
	latest, err := Encode(map[any]any{"mine": 1, "theirs": 9}, nil)
	require.NoError(t, err)
	bag := Bag{"app": latest}
	changes.MergeInto(bag)
	merged, err := bag["app"].Decode()
	require.NoError(t, err)
	require.Equal(t, map[any]any{"mine": 2, "theirs": 9}, merged)
}

func TestSaveTakesAnotherSessionOfTheSameName(t *testing.T) {
	var o OpenSessions
	s := openStored(t, &o, "app", map[any]any{"k": 1})
	own := sessions.NewSession(nil, "app")
	own.Values["k"] = 3
	require.NoError(t, s.Save(own))
	m, err := changed(t, &o, false)["app"].Decode()
	require.NoError(t, err)
	require.Equal(t, map[any]any{"k": 3}, m)

	own.Options = &sessions.Options{MaxAge: -1}
	require.NoError(t, s.Save(own))
	bag := changed(t, &o, false)
	require.Contains(t, bag, "app")
	require.Empty(t, bag["app"], "MaxAge < 0 removes everything")

	own.Options, own.Values["c"] = nil, make(chan int)
	require.ErrorIs(t, s.Save(own), ErrUnsaveable)
	_, err = o.Changes(false)
	require.ErrorIs(t, err, ErrUnsaveable)
	require.ErrorContains(t, err, `session "app"`)
	o.Forget()
	require.Empty(t, changed(t, &o, false), "forgotten")
}

// W2: a handler that was abandoned may still write to the map, so nobody reads it.
func TestOfAnAbandonedHandlerOnlyWhatItSavedCounts(t *testing.T) {
	for name, timedOut := range map[string]bool{"its context has ended": false, "http.TimeoutHandler has responded": true} {
		t.Run(name, func(t *testing.T) {
			var o OpenSessions
			s := openStored(t, &o, "app", map[any]any{"k": 1})
			ctx, cancel := context.WithCancel(t.Context())
			s.RecordContext(ctx.Done())
			s.RecordContext(ctx.Done())
			s.RecordContext(nil)
			require.Len(t, s.given, 1)

			s.Session.Values["k"] = 2
			require.Len(t, changed(t, &o, false), 1, "nobody was abandoned")
			if !timedOut {
				cancel()
			}
			require.Empty(t, changed(t, &o, timedOut), "not saved by the handler")
			require.NoError(t, s.Save(s.Session))
			s.Session.Values["k"] = 3
			m, err := changed(t, &o, timedOut)["app"].Decode()
			require.NoError(t, err)
			require.Equal(t, map[any]any{"k": 2}, m)
			cancel()
		})
	}
}

// I1: another user's values are gone from the handler's hands, and never saved.
func TestClearEmptiesSessionsInPlace(t *testing.T) {
	var o OpenSessions
	s := openStored(t, &o, "app", map[any]any{"k": 1})
	m, session := s.Session.Values, s.Session
	session.Values["secret"] = true
	require.NoError(t, s.Save(session))
	o.Clear()
	require.Empty(t, m, "the map that the handler holds")
	require.Same(t, session, s.Session)
	require.True(t, session.IsNew)
	require.Empty(t, changed(t, &o, false))
	require.Empty(t, changed(t, &o, true), "what was saved before is not saved either")
}
