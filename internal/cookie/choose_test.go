package cookie

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// counting counts the calls of a backend, and fails if broken is set.
type counting struct {
	*store.Memory
	calls  int
	broken error
}

func (c *counting) Load(ctx context.Context, key store.Key) (store.Record, error) {
	if c.calls++; c.broken != nil {
		return store.Record{}, c.broken
	}
	return c.Memory.Load(ctx, key)
}

func (c *counting) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	if c.calls++; c.broken != nil {
		return store.Record{}, c.broken
	}
	return c.Memory.LoadByID(ctx, owner, id)
}

// jar makes cookies and their sessions.
type jar struct {
	*testing.T
	Codec
	*counting
	now store.Time
}

func newJar(t *testing.T) *jar {
	return &jar{t, newTestCodec(t), &counting{Memory: store.NewMemory()}, store.TimeOf(time.Now())}
}

// session returns the cookie of a new session that was last seen ago.
func (j *jar) session(owner string, ago time.Duration, remembered bool) string {
	value := newTestToken(j.T, j.Codec)
	login := j.now.Add(-ago)
	s := &store.Session{Key: j.Key(value), ID: value, Owner: owner, Authenticated: login,
		IdleTimeout: time.Minute, Expires: login.Add(time.Hour), Created: login, Details: &store.Details{}}
	if remembered {
		s.Details.RememberUntil = s.Expires
	}
	_, err := j.Create(j.Context(), store.Record{LastSeen: login, Session: s}, store.Limit{})
	require.NoError(j, err)
	return value
}

// move moves a session to a new cookie, by a revival or a login.
func (j *jar) move(from string, revived bool) string {
	value := newTestToken(j.T, j.Codec)
	rec, err := j.Memory.Load(j.Context(), j.Key(from))
	require.NoError(j, err)
	s, details := *rec.Session, rec.Detail()
	if details.Rotated = j.now; !revived {
		s.Authenticated = j.now
	}
	s.Key, s.Details = j.Key(value), &details
	require.NoError(j, j.Replace(j.Context(), j.Key(from), rec.Version, store.Record{LastSeen: j.now, Session: &s}))
	return value
}

func (j *jar) choose(values ...string) (string, error) {
	header := strings.Join(values, "; "+j.Session.Name+"=")
	header = j.Session.Name + "=" + header
	j.calls = 0
	return j.Choose(j.Context(), j, "app", j.now, &header)
}

// K2: of several cookies the one of a live session counts; of several such, none.
func TestChoose(t *testing.T) {
	j := newJar(t)
	live, other, dormant := j.session("app=ada", 0, false), j.session("app=eve", 0, false), j.session("app=eve", 2*time.Minute, true)
	idle, ended, foreign := j.session("app=ada", 2*time.Minute, false), j.session("app=ada", 0, false), j.session("staff=ada", 0, false)
	_, err := j.Delete(t.Context(), j.Key(ended), store.ReasonEnded)
	require.NoError(t, err)
	unknown := newTestToken(t, j.Codec)
	superseded := j.session("app=ada", 2*time.Minute, true)
	current := j.move(superseded, true)
	replaced := j.session("app=ada", 0, false)
	again := j.move(replaced, false)
	long := j.session("app=ada", 2*time.Minute, true)
	longEnded := j.move(long, true)
	_, err = j.Delete(t.Context(), j.Key(longEnded), store.ReasonEnded)
	require.NoError(t, err)
	staging, err := New([][]byte{[]byte(strings.Repeat("s", 32))}, time.Minute, http.Cookie{Secure: true})
	require.NoError(t, err)
	forged := newTestToken(t, staging)

	for what, test := range map[string]struct {
		values []string
		want   string // "": ErrSeveral
	}{
		"one that others signed":                 {[]string{live, forged, "x", ""}, live},
		"a session of a live and an ended one":   {[]string{live, ended}, live},
		"an idle one":                            {[]string{live, idle}, live},
		"another guard's":                        {[]string{live, foreign}, live},
		"one that is unknown":                    {[]string{live, unknown}, live},
		"a token that a login has replaced":      {[]string{replaced, again}, again},
		"its own token, superseded":              {[]string{superseded, current}, current},
		"superseded, of a session that ended":    {[]string{live, long, longEnded}, live},
		"superseded, and no other":               {[]string{superseded, ended}, superseded},
		"one that may be revived":                {[]string{dormant, ended}, dormant},
		"all of these":                           {[]string{live, forged, ended, idle, foreign, unknown, replaced, long}, live},
		"none lives: the last that we signed":    {[]string{idle, ended, forged}, ended},
		"two":                                    {[]string{live, other}, ""},
		"two, and others":                        {[]string{ended, live, forged, other}, ""},
		"two, of which one may be revived":       {[]string{live, dormant}, ""},
		"two, of which one is superseded":        {[]string{live, superseded}, ""},
		"three, of which two are of one session": {[]string{live, superseded, current}, ""},
	} {
		for range 2 {
			got, err := j.choose(test.values...)
			if test.want == "" {
				require.ErrorIs(t, err, ErrSeveral, what)
			} else {
				require.NoError(t, err, what)
			}
			require.Equal(t, test.want, got, what)
			require.LessOrEqual(t, j.calls, 2*len(test.values), what)
			slices.Reverse(test.values)
			if what == "none lives: the last that we signed" {
				break
			}
		}
	}
}

// K2: the backend is not called where there is nothing to choose, and never often.
func TestChooseCallsTheBackendOnlyToChoose(t *testing.T) {
	j := newJar(t)
	live := j.session("app=ada", 0, false)
	value, err := j.choose(live, withOtherCharacter(live, 40), "x")
	require.NoError(t, err)
	require.Equal(t, live, value)
	require.Zero(t, j.calls)
	value, err = j.choose(withOtherCharacter(live, 40), withOtherCharacter(live, 41))
	require.NoError(t, err)
	require.Empty(t, value)
	require.Zero(t, j.calls)

	var superseded []string
	for range MaxPresented {
		old := j.session("app=ada", 2*time.Minute, true)
		current := j.move(j.move(old, true), true)
		_, err := j.Delete(t.Context(), j.Key(current), store.ReasonEnded)
		require.NoError(t, err)
		superseded = append(superseded, old)
	}
	value, err = j.choose(superseded...)
	require.NoError(t, err)
	require.Equal(t, superseded[7], value)
	require.Equal(t, 2*MaxPresented, j.calls)
	_, err = j.choose(append(superseded, live)...)
	require.ErrorIs(t, err, ErrSeveral)
	require.Zero(t, j.calls)
	value, err = j.choose(slices.Repeat([]string{live, superseded[0]}, 100)...)
	require.NoError(t, err)
	require.Equal(t, live, value)
	require.LessOrEqual(t, j.calls, 3)
}

// L5: what the backend does not know, nobody does.
func TestChooseFailsWithTheBackend(t *testing.T) {
	j := newJar(t)
	one, two := j.session("app=ada", 0, false), j.session("app=ada", 2*time.Minute, false)
	j.broken = errors.New("down")
	_, err := j.choose(one, two)
	require.ErrorIs(t, err, j.broken)
}
