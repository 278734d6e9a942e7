package migrate

import (
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"
)

// SCS reads sessions of alexedwards/scs, from any of its stores.
type SCS struct {
	Manager *scs.SessionManager
	// Name is that of the gorilla session which the values go to.
	Name string
}

// Read implements [Source].
func (s SCS) Read(r *http.Request) (*Old, error) {
	token, ok := oneCookie(r, s.Manager.Cookie.Name)
	if !ok {
		return nil, nil
	}
	ctx, err := s.Manager.Load(r.Context(), token)
	if err != nil {
		return nil, err
	}
	values := map[any]any{}
	for _, key := range s.Manager.Keys(ctx) {
		values[key] = s.Manager.Get(ctx, key)
	}
	old := &Old{ID: s.Manager.Cookie.Name + "=" + token, Found: s.Manager.Token(ctx) != ""}
	if old.Found {
		old.Deadline, old.Values = s.Manager.Deadline(ctx), map[string]map[any]any{s.Name: values}
	}
	old.End = func(w http.ResponseWriter) error {
		if old.Found {
			if err := s.Manager.Destroy(ctx); err != nil {
				return err
			}
		}
		s.Manager.WriteSessionCookie(ctx, w, "", time.Time{})
		return nil
	}
	return old, nil
}
