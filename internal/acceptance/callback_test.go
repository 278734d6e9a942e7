package acceptance

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// onCallback is called by each callback below with its name.
var onCallback = func(string) {}

// callbackUser is a user whose methods are callbacks.
type callbackUser struct{ id string }

func (u *callbackUser) UserID() string       { onCallback("UserID"); return u.id }
func (u *callbackUser) IsActive() bool       { onCallback("IsActive"); return true }
func (u *callbackUser) SessionStamp() string { onCallback("SessionStamp"); return "" }
func (u *callbackUser) HasRole(string) bool  { onCallback("HasRole"); return true }

// binaryValue and gobValue are values whose encoders are callbacks.
type (
	binaryValue struct{ N byte }
	gobValue    struct{ N byte }
)

func (v binaryValue) MarshalBinary() ([]byte, error) {
	onCallback("MarshalBinary")
	return []byte{v.N}, nil
}
func (v *binaryValue) UnmarshalBinary(b []byte) error {
	onCallback("UnmarshalBinary")
	v.N = b[0]
	return nil
}
func (v gobValue) GobEncode() ([]byte, error) { onCallback("GobEncode"); return []byte{v.N}, nil }
func (v *gobValue) GobDecode(b []byte) error  { onCallback("GobDecode"); v.N = b[0]; return nil }
func init()                                   { gob.Register(binaryValue{}); gob.Register(gobValue{}) }

// callbackLogger is a handler for Config.Logger that is a callback.
type callbackLogger struct{ slog.Handler }

func (callbackLogger) Enabled(context.Context, slog.Level) bool { return true }
func (callbackLogger) Handle(context.Context, slog.Record) error {
	onCallback("Logger")
	return nil
}

// callbackSite is an application in which every function that the guard calls is a callback.
type callbackSite struct {
	t     *testing.T
	guard *sessionguard.Guard[*callbackUser]

	// Of the request that is being served:
	w     http.ResponseWriter
	r     *http.Request
	using bool // a callback is using the guard: those that this calls do not use it again

	refused map[string]bool // callbacks to which the guard returned ErrInCallback
}

func newCallbackSite(t *testing.T, ownEvents bool) *callbackSite {
	s := &callbackSite{t: t, refused: map[string]bool{}}
	config := sessionguard.Config[*callbackUser]{
		FindUser: func(_ context.Context, id string) (*callbackUser, error) {
			onCallback("FindUser")
			return &callbackUser{id}, nil
		},
		MaxSessions: func(*callbackUser) store.Limit { onCallback("MaxSessions"); return store.Limit{} },
		Factors:     func(*callbackUser) []string { onCallback("Factors"); return nil },
		FactorPath:  "/factor",
		ClientAddr:  func(*http.Request) string { onCallback("ClientAddr"); return "192.0.2.1" },
		Logger:      slog.New(callbackLogger{slog.DiscardHandler}),
		Keys:        testKeys,
	}
	if ownEvents {
		config.OnEvent = func(context.Context, sessionguard.Event) { onCallback("OnEvent") }
	}
	var err error
	s.guard, err = sessionguard.New(config)
	require.NoError(t, err)
	onCallback = s.use
	t.Cleanup(func() { onCallback = func(string) {} })
	return s
}

// use tries every way to use the guard for the request that is being served.
func (s *callbackSite) use(name string) {
	if s.r == nil || s.using {
		return
	}
	s.using = true
	defer func() { s.using = false }()
	g, w, r, ctx := s.guard, s.w, s.r, s.r.Context()
	session, err := g.Get(r, "app")
	if !errors.Is(err, sessionguard.ErrInCallback) {
		return // it was called outside of the lock, and may use the guard
	}
	s.refused[name] = true
	require.NotNil(s.t, session, name)
	_, listed := g.Sessions(ctx, "ada")
	for use, err := range map[string]error{
		"Save":       g.Save(r, w, session),
		"Login":      g.Login(w, r, &callbackUser{"eve"}),
		"End":        g.End(w, r),
		"EndOthers":  g.EndOthers(r),
		"EndUser":    g.EndUser(ctx, "ada"),
		"EndSession": g.EndSession(ctx, "ada", "id"),
		"EndAll":     g.EndAll(ctx),
		"Sessions":   listed,
	} {
		require.ErrorIs(s.t, err, sessionguard.ErrInCallback, "%s in %s", use, name)
	}
	_, ok := g.User(r)
	require.False(s.t, ok, name)
	_, ok = g.Session(r)
	require.False(s.t, ok, name)
	_, _, ok = g.Pending(r)
	require.False(s.t, ok, name)
	require.Empty(s.t, g.EndReason(r), name)
	require.NotContains(s.t, g.ScriptTag(r), "data-session", name)
	for wrapper, h := range map[string]http.Handler{
		"RequireLogin": g.RequireLogin(http.NotFoundHandler()),
		"Passive":      g.Passive(http.NotFoundHandler()),
		"CancelOnEnd":  g.CancelOnEnd(http.NotFoundHandler()),
		"Status":       g.Status(),
		"Logout":       g.Logout("/"),
	} {
		require.PanicsWithError(s.t, sessionguard.ErrInCallback.Error(), func() { h.ServeHTTP(w, r) }, "%s in %s", wrapper, name)
	}
}

func (s *callbackSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.w, s.r = w, r
	if r.Method == http.MethodPost {
		require.NoError(s.t, s.guard.Login(w, r, &callbackUser{"ada"}))
	}
	user, ok := s.guard.User(r)
	session, err := s.guard.Get(r, "app")
	require.NoError(s.t, err)
	binary, _ := session.Values["binary"].(binaryValue)
	other, _ := session.Values["gob"].(gobValue)
	session.Values["binary"], session.Values["gob"] = binaryValue{binary.N + 1}, gobValue{other.N + 1}
	require.NoError(s.t, session.Save(r, w))
	if ok {
		fmt.Fprintf(w, "%s %d %d", user.id, binary.N, other.N)
	}
}

// A callback that uses the guard for its own request gets an error: nothing deadlocks, and
// the request goes on undisturbed.
func TestACallbackThatUsesTheGuardGetsAnError(t *testing.T) {
	want := []string{
		"ClientAddr", "Factors", "FindUser", "GobDecode", "GobEncode", "IsActive", "MarshalBinary", "MaxSessions",
		"SessionStamp", "UnmarshalBinary", "UserID",
	}
	for last, ownEvents := range map[string]bool{"Logger": false, "OnEvent": true} {
		t.Run(last, func(t *testing.T) {
			s := newCallbackSite(t, ownEvents)
			b := browse(t, serve(t, s.guard.Handler(s)))
			done := make(chan struct{})
			go func() {
				defer close(done)
				require.Equal(t, "ada 0 0", b.Post("/").Body)
				require.Equal(t, "ada 1 1", b.Get("/").Body)
				require.Equal(t, "ada 2 2", b.Get("/").Body)
			}()
			select {
			case <-done:
			case <-time.After(time.Minute):
				require.Fail(t, "a callback waits for itself")
			}
			for _, name := range append(slices.Clone(want), last) {
				require.True(t, s.refused[name], "%s never used the guard under its lock", name)
			}
			require.False(t, s.refused["HasRole"], "gates decide without the lock")
		})
	}
}

// What tryLock cannot notice: a goroutine that a callback starts waits until the callback
// returns.
func TestAGoroutineOfACallbackWaitsForTheCallback(t *testing.T) {
	var guard *sessionguard.Guard[*callbackUser]
	started, result := make(chan struct{}), make(chan error, 1)
	returned := false
	guard, err := sessionguard.New(sessionguard.Config[*callbackUser]{
		Keys: testKeys,
		FindUser: func(ctx context.Context, id string) (*callbackUser, error) {
			if returned {
				return &callbackUser{id}, nil
			}
			go func() {
				close(started)
				_, err := guard.Sessions(ctx, id)
				if !returned {
					err = errors.New("FindUser had not returned")
				}
				result <- err
			}()
			<-started
			returned = true
			return &callbackUser{id}, nil
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	b := browse(t, serve(t, guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			require.NoError(t, guard.Login(w, r, &callbackUser{"ada"}))
			return
		}
		_, ok := guard.User(r)
		require.True(t, ok)
		require.NoError(t, <-result)
	}))))
	b.Post("/")
	require.Equal(t, http.StatusOK, b.Get("/").StatusCode)
}
