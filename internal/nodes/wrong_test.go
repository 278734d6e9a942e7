package nodes

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

const (
	separate      = "each node has sessions of its own"
	caches        = "a node never loads a session again"
	losesDeletes  = "a deleted session stays"
	losesReasons  = "the reason why a session ended is lost"
	miscounts     = "the limit is enforced in several steps"
	forksReplace  = "each request revives a session again"
	overwrites    = "a save overwrites all values"
	keepsDetails  = "a save stores the values alone"
	resurrects    = "saving brings a session back"
	touchesBack   = "touching brings a session back"
	watchIsSilent = "a watcher gets no endings"
	losesFactors  = "how a user has logged in is lost"
	reportsTwice  = "two nodes get a session that they end at once"
	forgetsActors = "it is not stored who acts for a user"
)

// mistakes lists the mistakes that break a promise, by the promise's name.
var mistakes = map[string][]string{
	"a user who logs in on one node is logged in on the other":                                          {separate},
	"a logout on one node ends every copy of the cookie on the other":                                   {caches, losesDeletes},
	"a session ended on one node has ended on the other, which knows the reason":                        {losesReasons, caches},
	"a slow request on one node does not bring back a session logged out on the other":                  {resurrects, touchesBack},
	"100 logins on both nodes at once keep the session limit":                                           {miscounts},
	"50 requests on both nodes at once revive a remembered session once":                                {forksReplace},
	"sessions that both nodes end at once all end, and each is reported once":                           {reportsTwice, losesDeletes},
	"requests on two nodes that change different values are both saved":                                 {overwrites},
	"100 requests on both nodes at once that change one session are all saved":                          {overwrites},
	"100 requests on both nodes at once take a secret once":                                             {separate, miscounts},
	"a label set on one node stays through values, logins and revivals on both":                         {keepsDetails},
	"labels, values and logins that both nodes change at once are all kept":                             {keepsDetails},
	"a stream on one node is cut when its session ends on the other":                                    {watchIsSilent},
	"a login that begins on one node is completed on the other, with its factors and their times":       {losesFactors, separate},
	"acting for a user on one node ends on the other with the actor's own session":                      {losesDeletes, losesReasons, forgetsActors},
	"of 20 logins on both nodes at once that complete a pending one, one does":                          {losesDeletes, separate},
	"a session that is bound on one node needs its device on both, through values, logins and revivals": {keepsDetails, separate, losesDeletes},
	"of 20 registrations on both nodes at once for one login, one succeeds":                             {overwrites},
	"values that both nodes save while a session is bound are all kept, and so is the device":           {overwrites, keepsDetails},
}

// wrong returns a backend on a Memory, with one mistake. The guard takes it for a remote one.
func wrong(m *store.Memory, mistake string) *wrongNode {
	return &wrongNode{Memory: m, mistake: mistake, loaded: &sync.Map{}}
}

type wrongNode struct {
	*store.Memory
	mistake string
	loaded  *sync.Map // by key: the record last loaded
}

// travel takes the time of a network round trip, so that retries take time in a synctest
// bubble too.
func (*wrongNode) travel() { time.Sleep(time.Millisecond) }

func (w *wrongNode) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	w.travel()
	return w.Memory.LoadByID(ctx, owner, id)
}

func (w *wrongNode) ByOwner(ctx context.Context, owner, after string, max int) ([]store.Record, error) {
	w.travel()
	return w.Memory.ByOwner(ctx, owner, after, max)
}

func (w *wrongNode) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	w.travel()
	switch w.mistake {
	case reportsTwice, losesDeletes:
		found := make([]store.Record, len(ends))
		for i, end := range ends {
			found[i], _ = w.Memory.LoadByID(ctx, end.Owner, end.ID)
		}
		if w.mistake == losesDeletes {
			return found, nil
		}
		w.travel()
		_, err := w.Memory.DeleteByID(ctx, ends)
		return found, err
	case losesReasons:
		ends = slices.Clone(ends)
		for i := range ends {
			ends[i].Reason = store.ReasonLoggedOut
		}
	}
	return w.Memory.DeleteByID(ctx, ends)
}

func (w *wrongNode) Create(ctx context.Context, r store.Record, limit store.Limit) ([]store.Record, error) {
	w.travel()
	if w.mistake == losesFactors {
		session, details := *r.Session, r.Detail()
		details.Factors = nil
		session.Details, r.Session = &details, &session
	}
	if w.mistake == forgetsActors {
		session := *r.Session
		session.Details, r.Session = nil, &session
	}
	if w.mistake != miscounts || limit.Max == 0 {
		return w.Memory.Create(ctx, r, limit)
	}
	records, err := w.ByOwner(ctx, r.Owner, "", store.MaxPage)
	if err != nil {
		return nil, err
	}
	if limit.Refuse && len(records) >= limit.Max {
		return nil, store.ErrLimit
	}
	var ended []store.Record
	for i := 0; i <= len(records)-limit.Max; i++ {
		rec, err := w.Memory.Delete(ctx, records[i].Key, store.ReasonTooManySessions)
		if err != nil {
			return nil, err
		}
		ended = append(ended, rec)
	}
	w.travel()
	_, err = w.Memory.Create(ctx, r, store.Limit{})
	return ended, err
}

func (w *wrongNode) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	w.travel()
	if w.mistake == forksReplace && r.Revived() {
		if _, err := w.Memory.Load(ctx, old); err == nil {
			_, err = w.Memory.Create(ctx, r, store.Limit{})
			return err
		}
	}
	return w.Memory.Replace(ctx, old, version, r)
}

func (w *wrongNode) Load(ctx context.Context, key store.Key) (store.Record, error) {
	w.travel()
	if r, ok := w.loaded.Load(key); ok && w.mistake == caches {
		return r.(store.Record), nil
	}
	r, err := w.Memory.Load(ctx, key)
	if err == nil {
		w.loaded.Store(key, r)
	}
	return r, err
}

// recreate creates a session again that this node has loaded.
func (w *wrongNode) recreate(ctx context.Context, key store.Key) error {
	r, ok := w.loaded.Load(key)
	if !ok {
		return store.ErrNotFound
	}
	_, err := w.Memory.Create(ctx, r.(store.Record), store.Limit{})
	return err
}

func (w *wrongNode) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	err := w.Memory.Touch(ctx, key, seen)
	if w.mistake == touchesBack && errors.Is(err, store.ErrNotFound) {
		return w.recreate(ctx, key)
	}
	return err
}

func (w *wrongNode) Save(ctx context.Context, r store.Record) error {
	w.travel()
	if now, err := w.Memory.Load(ctx, r.Key); err == nil && w.mistake == keepsDetails {
		s := *r.Session
		s.Details = now.Details
		r.Session = &s
	}
	err := w.Memory.Save(ctx, r)
	if w.mistake == overwrites && errors.Is(err, store.ErrConflict) {
		return w.Memory.Save(ctx, atVersion(r, r.Version+1))
	}
	if w.mistake == resurrects && errors.Is(err, store.ErrNotFound) {
		return w.recreate(ctx, r.Key)
	}
	return err
}

// atVersion returns a copy of r with another Version.
func atVersion(r store.Record, version uint64) store.Record {
	s := *r.Session
	s.Version = version
	r.Session = &s
	return r
}

func (w *wrongNode) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	w.travel()
	switch w.mistake {
	case losesDeletes:
		return w.Memory.Load(ctx, key)
	case losesReasons:
		reason = store.ReasonLoggedOut
	}
	return w.Memory.Delete(ctx, key, reason)
}

func (w *wrongNode) Watch(ctx context.Context, ended func(store.Ending)) error {
	if w.mistake == watchIsSilent {
		return nil
	}
	return w.Memory.Watch(ctx, ended)
}
