package sqlstore

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

func TestPayloadsRoundTripAndFitNotify(t *testing.T) {
	for _, e := range []store.Ending{
		{}, {ID: "id", Reason: store.ReasonEnded}, {ID: "a b", Reason: "c d"}, {ID: "\x00\xff", Reason: "\n'"},
		{ID: rand.Text(), Reason: store.Reason(strings.Repeat("x", 5000))},
	} {
		payload := encodeEnding(e)
		require.LessOrEqual(t, len(payload), 7999)
		require.NotContains(t, payload, "'")
		got, ok := decodeEnding(payload)
		require.True(t, ok)
		require.Equal(t, e, got)
	}
	for _, tooLong := range []store.Ending{
		{ID: "id", Reason: store.Reason(strings.Repeat("x", 8000))},
		{ID: strings.Repeat("x", 100000)},
	} {
		got, ok := decodeEnding(encodeEnding(tooLong))
		require.True(t, ok)
		require.Equal(t, store.Ending{}, got)
	}
	for _, foreign := range []string{"", "1", "1 ", "2 YQ Yg", "1 YQ", "1 ? Yg", "1 YQ ?", "hello", "{}"} {
		_, ok := decodeEnding(foreign)
		require.False(t, ok, foreign)
	}
}

func TestWatchReconnectsHoweverItWasLost(t *testing.T) {
	s := (&fakeDriver{}).newStore(t, Config{Timeout: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	attempts := 0
	l, err := Listening(s, func(ctx context.Context, _ string, ready func(), notify func(string)) error {
		attempts++
		switch attempts {
		case 1:
			ready()
			return io.EOF
		case 2: // never becomes ready
			<-ctx.Done()
			return ctx.Err()
		case 3:
			return nil
		case 4:
			ready()
			panic("lost")
		}
		ready()
		notify("1 YQ Yg")
		<-ctx.Done()
		return ctx.Err()
	})
	require.NoError(t, err)
	endings := make(chan store.Ending, 10)
	require.NoError(t, l.Watch(t.Context(), func(e store.Ending) { endings <- e }))
	for _, want := range []store.Ending{{}, {}, {ID: "a", Reason: "b"}} {
		select {
		case got := <-endings:
			require.Equal(t, want, got)
		case <-time.After(10 * time.Second):
			t.Fatal("no ending was reported")
		}
	}
}
