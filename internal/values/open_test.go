package values

import (
	"context"
	"strings"
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
	return changes.ReplaceIn(Bag{})
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
	require.ErrorIs(t, s.Fill(Bag{"app": Entries{{Key: "?", Value: "?"}}}), ErrUndecodable)

	var o OpenSessions
	s.Err = context.Canceled
	require.ErrorIs(t, s.Save(s.Session, noCheck), context.Canceled)
	o.Add(s)
	s.Session.Values["k"] = 1
	require.Empty(t, changed(t, &o, false), "what could not be opened is never saved")
}

// What cannot be decoded is replaced only where Save says so.
func TestSaveReplacesWhatCannotBeDecoded(t *testing.T) {
	corrupt := []byte{version + 1}
	for name, test := range map[string]struct {
		open func(s *OpenSession)
		want map[any]any // of the session; nil: an error
	}{
		"nothing else is opened": {func(s *OpenSession) {}, nil},
		"not saved":              {func(s *OpenSession) { s.Err = s.FillFailed(errCorrupt) }, nil},
		"saved": {func(s *OpenSession) {
			s.Err = s.FillFailed(errCorrupt)
			s.Session.Values["k"] = 1
			require.NoError(t, s.Save(s.Session, noCheck))
		}, map[any]any{"k": 1}},
		"removed": {func(s *OpenSession) {
			s.Err = s.FillFailed(errCorrupt)
			s.Session.Options = &sessions.Options{MaxAge: -1}
			require.NoError(t, s.Save(s.Session, noCheck))
		}, map[any]any{}},
	} {
		var o OpenSessions
		s := NewOpenSession(nil, "app")
		test.open(s)
		o.Add(s)
		openStored(t, &o, "other", nil).Session.Values["k"] = 2 // cannot happen in one request
		changes, err := o.Changes(false)
		require.NoError(t, err)
		merged, err := changes.Merge(corrupt, 1000)
		if test.want == nil {
			require.ErrorIs(t, err, ErrUnsaveable, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, test.want, decodeStored(t, merged, "app"), name)
		require.Equal(t, map[any]any{"k": 2}, decodeStored(t, merged, "other"), name)
		changes.Stored()
		again, err := o.Changes(false)
		require.NoError(t, err)
		require.Empty(t, again, "once")
	}
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

func noCheck() error { return nil }

// decodeStored returns the values of the session name in a stored bag.
func decodeStored(t *testing.T, stored []byte, name string) map[any]any {
	t.Helper()
	bag, err := Unmarshal(stored)
	require.NoError(t, err)
	m, err := bag[name].Decode()
	require.NoError(t, err)
	return m
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
	stored, err := changes.Merge(Bag{"app": latest}.Marshal(), 1000)
	require.NoError(t, err)
	require.Equal(t, map[any]any{"mine": 2, "theirs": 9}, decodeStored(t, stored, "app"))

	_, err = changes.Merge([]byte("damaged"), 1000)
	require.ErrorIs(t, err, ErrUnsaveable)
}

func TestSaveTakesAnotherSessionOfTheSameName(t *testing.T) {
	var o OpenSessions
	s := openStored(t, &o, "app", map[any]any{"k": 1})
	own := sessions.NewSession(nil, "app")
	own.Values["k"] = 3
	require.NoError(t, s.Save(own, noCheck))
	m, err := changed(t, &o, false)["app"].Decode()
	require.NoError(t, err)
	require.Equal(t, map[any]any{"k": 3}, m)

	own.Options = &sessions.Options{MaxAge: -1}
	require.NoError(t, s.Save(own, noCheck))
	bag := changed(t, &o, false)
	require.Contains(t, bag, "app")
	require.Empty(t, bag["app"], "MaxAge < 0 removes everything")

	own.Options, own.Values["c"] = nil, make(chan int)
	require.ErrorIs(t, s.Save(own, noCheck), ErrUnsaveable)
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
			require.NoError(t, s.Save(s.Session, noCheck))
			s.Session.Values["k"] = 3
			m, err := changed(t, &o, timedOut)["app"].Decode()
			require.NoError(t, err)
			require.Equal(t, map[any]any{"k": 2}, m)
			cancel()
		})
	}
}

func TestMergeKeepsTheLimit(t *testing.T) {
	large := func(n int) string { return strings.Repeat("x", n) }
	stored := func(m map[any]any) []byte { return Bag{"app": encode(t, m)}.Marshal() }
	for name, test := range map[string]struct{ stored, changed, want map[any]any }{ // want nil: ErrTooLarge
		"values that fit":             {nil, map[any]any{"a": large(900)}, map[any]any{"a": large(900)}},
		"values that do not":          {nil, map[any]any{"a": large(1100)}, nil},
		"many small values":           {nil, map[any]any{"a": large(500), "b": large(500)}, nil},
		"a list under another key":    {nil, map[any]any{"list": []any{large(500), large(500)}}, nil},
		"flashes: the oldest go":      {map[any]any{"_flash": []any{large(500), "2"}}, map[any]any{"_flash": []any{large(500), "2", large(600)}}, map[any]any{"_flash": []any{"2", large(600)}}},
		"flashes go before values":    {map[any]any{"_flash": []any{large(500)}}, map[any]any{"_flash": []any{large(500)}, "a": large(900)}, map[any]any{"a": large(900)}},
		"a flash that does not fit":   {map[any]any{"a": 1}, map[any]any{"a": 1, "_flash": []any{large(2000)}}, map[any]any{"a": 1}},
		"stored under a higher limit": {map[any]any{"a": large(2000), "b": 1}, map[any]any{"a": large(2000), "b": 2}, map[any]any{"a": large(2000), "b": 2}},
		"which shrinks":               {map[any]any{"a": large(2000)}, map[any]any{"a": large(1500)}, map[any]any{"a": large(1500)}},
		"but does not grow":           {map[any]any{"a": large(2000)}, map[any]any{"a": large(2001)}, nil},
		"and has no flashes":          {map[any]any{"a": large(2000), "_flash": []any{"1"}}, map[any]any{"a": large(2000), "_flash": []any{"1", "2"}}, map[any]any{"a": large(2000)}},
	} {
		t.Run(name, func(t *testing.T) {
			var o OpenSessions
			s := openStored(t, &o, "app", test.stored)
			s.Session.Values = test.changed
			changes, err := o.Changes(false)
			require.NoError(t, err)
			merged, err := changes.Merge(stored(test.stored), 1000)
			require.Equal(t, err, changes.Fit(stored(test.stored), 1000))
			if test.want == nil {
				require.ErrorIs(t, err, ErrTooLarge)
				require.ErrorIs(t, err, ErrUnsaveable)
				require.ErrorContains(t, err, "Config.MaxValuesBytes is 1000")
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, decodeStored(t, merged, "app"))
		})
	}
}

// W2: what Save refused is not what an abandoned handler saved.
func TestASaveThatIsRefusedLeavesTheOneBefore(t *testing.T) {
	var o OpenSessions
	s := openStored(t, &o, "app", map[any]any{"k": 1})
	refuse := func() error { return ErrTooLarge }
	s.Session.Values["k"] = 2
	require.ErrorIs(t, s.Save(s.Session, refuse), ErrTooLarge)
	require.Empty(t, changed(t, &o, true))

	require.NoError(t, s.Save(s.Session, noCheck))
	s.Session.Values["k"] = 3
	require.ErrorIs(t, s.Save(s.Session, refuse), ErrTooLarge)
	require.Equal(t, map[any]any{"k": 2}, decode(t, changed(t, &o, true)["app"]))
}

// A change is stored by other requests, while its own may have gone on.
func TestAChangeStaysAsItWas(t *testing.T) {
	var o OpenSessions
	s := openStored(t, &o, "app", map[any]any{"k": 1})
	s.Session.Values["k"] = 2
	changes, err := o.Changes(false)
	require.NoError(t, err)
	before, err := changes.Merge(nil, 1000)
	require.NoError(t, err)
	s.Session.Values["other"] = 3
	o.Clear(false)
	after, err := changes.Merge(nil, 1000)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// I1: another user's values are gone from the handler's hands, and never saved.
func TestClearEmptiesSessionsInPlace(t *testing.T) {
	var o OpenSessions
	s := openStored(t, &o, "app", map[any]any{"k": 1})
	m, session := s.Session.Values, s.Session
	session.Values["secret"] = true
	require.NoError(t, s.Save(session, noCheck))
	o.Clear(false)
	require.Empty(t, m, "the map that the handler holds")
	require.Same(t, session, s.Session)
	require.True(t, session.IsNew)
	require.Empty(t, changed(t, &o, false))
	require.Empty(t, changed(t, &o, true), "what was saved before is not saved either")
}

func TestAStreamThatUsesASessionWithManyContextsKeepsOne(t *testing.T) {
	s := NewOpenSession(nil, "s")
	for range 1000 {
		ctx, cancel := context.WithCancel(t.Context())
		s.RecordContext(ctx.Done())
		cancel()
	}
	require.Len(t, s.given, 1)
	require.True(t, s.mayStillRun())
}
