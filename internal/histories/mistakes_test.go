package histories

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/internal/histories/check"
	"github.com/sessionguard-go/sessionguard/store"
)

// A mistake is one that a backend could make.
type mistake string

const (
	cachesForever  mistake = "a node never loads a session again"
	lags           mistake = "a node reads what was true 50 ms ago"
	deletesLate    mistake = "an end is confirmed before it happens"
	deletesNothing mistake = "an end is confirmed although the server failed"
	retriesNothing mistake = "an end that has failed is not tried again"
	missesMoved    mistake = "a logout does not follow a session that has moved"
	missesOne      mistake = "of several sessions to end, one is missed"
	keepsOldToken  mistake = "a re-authentication leaves the old token valid"
	saveUpserts    mistake = "a save brings a session back"
	touchUpserts   mistake = "a touch brings a session back"
	replaceUpserts mistake = "a re-authentication brings a session back"
	lastWriterWins mistake = "a save overwrites all values"
	dropsConflicts mistake = "a save that conflicts is dropped"
	savesLate      mistake = "a save is confirmed before it happens"
	countsInTwo    mistake = "the limit is enforced in two steps"
	countsOneMore  mistake = "the limit counts a session that is not there"
	mixesUp        mistake = "a node returns another user's session"
	losesSessions  mistake = "a session is not found now and then"
	downIsNotFound mistake = "an unreachable server counts as no such session"
	createsNothing mistake = "a login is confirmed although the server failed"
	endsGoroutines mistake = "a call ends the goroutine of its request now and then"
)

// mistakes maps each mistake to a rule that a history must show broken, and to whether the
// server has to fail for that.
var mistakes = map[mistake]struct {
	rule   check.Rule
	faults bool
}{
	cachesForever:  {rule: check.EndIsFinal},
	lags:           {rule: check.EndIsFinal},
	deletesLate:    {rule: check.EndIsFinal},
	deletesNothing: {rule: check.EndIsFinal, faults: true},
	retriesNothing: {rule: check.EndIsFinal, faults: true},
	missesMoved:    {rule: check.EndIsFinal},
	missesOne:      {rule: check.EndIsFinal},
	keepsOldToken:  {rule: check.EndIsFinal},
	saveUpserts:    {rule: check.EndIsFinal},
	touchUpserts:   {rule: check.EndIsFinal},
	replaceUpserts: {rule: check.EndIsFinal},
	lastWriterWins: {rule: check.NothingLost},
	dropsConflicts: {rule: check.NothingLost},
	savesLate:      {rule: check.NothingLost},
	countsInTwo:    {rule: check.LimitHolds},
	countsOneMore:  {rule: check.NoLockout},
	mixesUp:        {rule: check.OwnPages},
	losesSessions:  {rule: check.NoEarlyEnd},
	downIsNotFound: {rule: check.NoEarlyEnd, faults: true},
	createsNothing: {rule: check.NoEarlyEnd, faults: true},
	endsGoroutines: {rule: check.GetsResponse},
}

// wrong returns a backend with the mistake of a node's configuration.
func wrong(b store.Backend, c nodeConfig) (store.Backend, error) {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: c.Redis, DisableCache: true})
	return &wrongBackend{Backend: b, mistake: c.Mistake, redis: client}, err
}

type wrongBackend struct {
	store.Backend
	mistake mistake
	redis   rueidis.Client
	loaded  sync.Map // by key: the loadedRecord that this node loaded last
	last    sync.Map // by 0: one of them
}

type loadedRecord struct {
	store.Record
	at time.Time
}

// late calls do a little later, and meanwhile pretends that all is well.
func late(do func(context.Context)) {
	time.AfterFunc(30*time.Millisecond, func() { do(context.Background()) })
}

func (w *wrongBackend) Load(ctx context.Context, key store.Key) (store.Record, error) {
	if before, ok := w.loaded.Load(key); ok {
		before := before.(loadedRecord)
		if w.mistake == cachesForever || w.mistake == lags && time.Since(before.at) < 50*time.Millisecond {
			return before.Record, nil
		}
	}
	r, err := w.Backend.Load(ctx, key)
	one := rand.IntN(200) == 0
	var moved *store.MovedError
	switch {
	case w.mistake == missesMoved && errors.As(err, &moved): // a logout asks before it deletes
		return store.Record{}, store.ErrNotFound
	case err == nil && w.mistake == losesSessions && one:
		return store.Record{}, store.ErrNotFound
	case err == nil && w.mistake == mixesUp && one:
		if other, ok := w.last.Load(0); ok {
			return other.(store.Record), nil
		}
	case w.mistake == endsGoroutines && one:
		runtime.Goexit()
	case err != nil && !errors.Is(err, store.ErrNotFound) && w.mistake == downIsNotFound:
		return store.Record{}, store.ErrNotFound
	}
	if err == nil {
		w.loaded.Store(key, loadedRecord{r, time.Now()})
		w.last.Store(0, r)
	}
	return r, err
}

// recreate creates a session again that this node has loaded, if need be at another key.
func (w *wrongBackend) recreate(ctx context.Context, key store.Key, change func(*store.Record)) error {
	before, ok := w.loaded.Load(key)
	if !ok {
		return store.ErrNotFound
	}
	r := before.(loadedRecord).Record
	session := *r.Session
	r.Session = &session
	change(&r)
	w.forget(ctx, r.Key)
	_, err := w.Backend.Create(ctx, r, store.Limit{})
	return err
}

// forget deletes what the server remembers of an ended session, and would keep anybody from
// creating it again.
func (w *wrongBackend) forget(ctx context.Context, key store.Key) {
	names, _ := w.redis.Do(ctx, w.redis.B().Keys().Pattern("*:s:*").Build()).AsStrSlice()
	for _, name := range names {
		if strings.HasSuffix(name, ":s:"+string(key[:])) {
			_ = w.redis.Do(ctx, w.redis.B().Del().Key(name).Build()).Error()
		}
	}
}

func (w *wrongBackend) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	err := w.Backend.Touch(ctx, key, seen)
	if errors.Is(err, store.ErrNotFound) && w.mistake == touchUpserts {
		return w.recreate(ctx, key, func(r *store.Record) { r.LastSeen = seen })
	}
	return err
}

func (w *wrongBackend) Save(ctx context.Context, r store.Record) error {
	if w.mistake == savesLate {
		late(func(ctx context.Context) { _ = w.Backend.Save(ctx, r) })
		return nil
	}
	err := w.Backend.Save(ctx, r)
	switch {
	case errors.Is(err, store.ErrConflict) && w.mistake == dropsConflicts:
		return nil
	case errors.Is(err, store.ErrConflict) && w.mistake == lastWriterWins:
		overwriting := *r.Session
		for errors.Is(err, store.ErrConflict) {
			overwriting.Version++
			err = w.Backend.Save(ctx, store.Record{Session: &overwriting})
		}
	case errors.Is(err, store.ErrNotFound) && w.mistake == saveUpserts:
		return w.recreate(ctx, r.Key, func(lost *store.Record) { lost.Session.Values = r.Values })
	}
	return err
}

func (w *wrongBackend) Create(ctx context.Context, r store.Record, limit store.Limit) ([]store.Record, error) {
	switch {
	case w.mistake == countsOneMore && limit.Max > 0:
		limit.Max--
	case w.mistake == countsInTwo && limit.Max > 0:
		live, err := w.ByOwner(ctx, r.Owner, "", store.MaxPage)
		if err != nil {
			return nil, err
		}
		if len(live) < limit.Max {
			time.Sleep(5 * time.Millisecond)
			limit = store.Limit{}
		}
	}
	ended, err := w.Backend.Create(ctx, r, limit)
	if err != nil && !errors.Is(err, store.ErrLimit) && w.mistake == createsNothing {
		err = nil
	}
	return ended, err
}

func (w *wrongBackend) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	if w.mistake == keepsOldToken && !r.Revived() {
		if _, err := w.Backend.Load(ctx, old); err == nil {
			_, err = w.Backend.Create(ctx, r, store.Limit{})
			return err
		}
	}
	err := w.Backend.Replace(ctx, old, version, r)
	var moved *store.MovedError
	if w.mistake == replaceUpserts && errors.Is(err, store.ErrNotFound) && !errors.As(err, &moved) {
		_, err = w.Backend.Create(ctx, r, store.Limit{})
	}
	return err
}

func (w *wrongBackend) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	if w.mistake == deletesLate {
		late(func(ctx context.Context) { _, _ = w.Backend.Delete(ctx, key, reason) })
		return store.Record{}, nil
	}
	if w.mistake == retriesNothing && isRetry(ctx) {
		return store.Record{}, nil
	}
	r, err := w.Backend.Delete(ctx, key, reason)
	var moved *store.MovedError
	if err != nil && (w.mistake == deletesNothing || w.mistake == missesMoved && errors.As(err, &moved)) {
		return store.Record{}, nil
	}
	return r, err
}

func (w *wrongBackend) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	if w.mistake == retriesNothing && isRetry(ctx) {
		return make([]store.Record, len(ends)), nil
	}
	if w.mistake == missesOne && len(ends) > 1 {
		ended, err := w.Backend.DeleteByID(ctx, ends[1:])
		return append([]store.Record{{}}, ended...), err
	}
	return w.Backend.DeleteByID(ctx, ends)
}

// isRetry reports whether a call is not made for a request.
func isRetry(ctx context.Context) bool { return ctx.Value(loginNoteKey{}) == nil }
