package migrate

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// Gorilla reads sessions of gorilla/sessions, from any of its stores.
type Gorilla struct {
	Store sessions.Store
	// Name is that of the session that says who is logged in, and Others those whose values
	// move along.
	Name   string
	Others []string
	// MaxAge is how long after it was last saved a session counts. Default: the store's
	// Options.MaxAge. Set it if the application gives some sessions a longer one.
	MaxAge time.Duration
}

// Read implements [Source].
func (g Gorilla) Read(r *http.Request) (*Old, error) {
	value, ok := oneCookie(r, g.Name)
	if !ok {
		return nil, nil
	}
	login, err := g.Store.New(r, g.Name)
	var bad securecookie.Error
	switch {
	case err == nil, errors.Is(err, os.ErrNotExist): // which FilesystemStore returns
	case errors.As(err, &bad) && bad.IsDecode():
		return nil, nil // not made with these keys, or too old
	default:
		return nil, err
	}
	contents := contentsOf(value)
	old := &Old{ID: g.Name + "=" + login.ID, Found: !login.IsNew, Values: map[string]map[any]any{}}
	if login.ID == "" {
		old.ID = g.Name + "=" + string(contents) // of a CookieStore, whose sessions are their cookies
	}
	if saved, maxAge := savedAt(contents), g.maxAge(login); !saved.IsZero() && maxAge > 0 {
		old.Deadline = saved.Add(maxAge)
	}
	all := []*sessions.Session{login}
	for _, name := range g.Others {
		if _, ok := oneCookie(r, name); !ok {
			continue
		}
		if s, err := g.Store.New(r, name); err == nil && !s.IsNew {
			all = append(all, s)
		}
	}
	for _, s := range all {
		old.Values[s.Name()] = s.Values
	}
	old.End = func(w http.ResponseWriter) error { return g.end(w, r, all) }
	return old, nil
}

func (g Gorilla) maxAge(s *sessions.Session) time.Duration {
	if g.MaxAge == 0 && s.Options != nil {
		return time.Duration(s.Options.MaxAge) * time.Second
	}
	return g.MaxAge
}

// end ends the sessions. Their values are not needed for that, and are left out: a CookieStore
// would sign them anew, in the very cookie that is to be deleted.
func (g Gorilla) end(w http.ResponseWriter, r *http.Request, all []*sessions.Session) error {
	for _, s := range all {
		empty := sessions.NewSession(g.Store, s.Name())
		options := *s.Options
		options.MaxAge = -1
		empty.ID, empty.Options = s.ID, &options
		if err := g.Store.Save(r, w, empty); err != nil {
			return err
		}
	}
	return nil
}

// contentsOf returns what a cookie's value encodes. The same contents can be encoded in
// several ways that securecookie accepts.
func contentsOf(value string) []byte {
	contents, err := base64.URLEncoding.DecodeString(value)
	if err != nil {
		return []byte(value) // a store that does not use securecookie
	}
	return contents
}

// savedAt returns when securecookie made a cookie that it has verified: contents begin with
// the seconds. It returns the zero time for another store's.
func savedAt(contents []byte) time.Time {
	date, _, ok := bytes.Cut(contents, []byte("|"))
	seconds, err := strconv.ParseInt(string(date), 10, 64)
	if !ok || err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
