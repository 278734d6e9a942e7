package cookie

import (
	"context"
	"errors"
	"slices"

	"github.com/sessionguard-go/sessionguard/internal/owner"
	"github.com/sessionguard-go/sessionguard/store"
)

// MaxPresented is how many cookies of one name count. A browser sends those with longer
// paths first (RFC 6265 section 5.4), and ours has the path "/", where one host can have only
// one other for each of its parent domains. So ours is among the last few, and more than
// these are sent only to keep a backend busy.
const MaxPresented = 8

// ErrSeveral is returned for cookies of one name of which several could count.
var ErrSeveral = errors.New("several cookies of one name")

// distinct returns the different values, of shortest to longest bytes, of the
// cookies with that name. If there are more than MaxPresented, it returns [ErrSeveral].
func distinct(cookies *string, name string, shortest, longest int) (values []string, err error) {
	for value := range Values(cookies, name) {
		if len(value) < shortest || len(value) > longest || slices.Contains(values, value) {
			continue
		}
		if len(values) == MaxPresented {
			return nil, ErrSeveral
		}
		values = append(values, value)
	}
	return values, nil
}

// Choose returns which of several session cookies counts: the one that we signed and that
// names a live session of one of owners. Another host of the same domain may
// have set the others. If two of them name live sessions, one may have been planted and
// nothing shows which: Choose returns [ErrSeveral]. A token that a revival has superseded
// names its session too, but never in place of the current one.
//
// If no session lives, Choose returns the last cookie that we signed, whose end is that of
// the session, or "". Other errors are the backend's, which is called at most twice for each
// of MaxPresented cookies.
func (c *Codec) Choose(ctx context.Context, backend store.Backend, owners owner.Names, now store.Time, cookies *string) (string, error) {
	values, err := distinct(cookies, c.Session.Name, tokenLength, tokenLength)
	if err != nil {
		return "", err
	}
	signed := slices.DeleteFunc(values, func(value string) bool { return !c.Verify(value) })
	if len(signed) == 1 {
		return signed[0], nil
	}
	chosen, live := "", ""
	for _, value := range signed {
		rec, moved, err := load(ctx, backend, c.Key(value))
		if err != nil {
			return "", err
		}
		lives := rec.Session != nil && owners.Has(rec.Owner) && now < rec.GoneAt()
		switch {
		case !lives && live == "":
			chosen = value
		case lives && live == "", lives && live == rec.ID && !moved:
			chosen, live = value, rec.ID
		case lives && live != rec.ID:
			return "", ErrSeveral
		}
	}
	return chosen, nil
}

// load returns the session that a key names, or a zero Record, and reports whether a
// revival has moved it to another key.
func load(ctx context.Context, backend store.Backend, key store.Key) (rec store.Record, moved bool, err error) {
	rec, err = backend.Load(ctx, key)
	if m := new(store.MovedError); errors.As(err, &m) && m.Revived {
		moved = true
		rec, err = backend.LoadByID(ctx, m.Owner, m.ID)
	}
	if errors.Is(err, store.ErrNotFound) {
		return store.Record{}, false, nil
	}
	return rec, moved, err
}
