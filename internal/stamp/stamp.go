// Package stamp reads the SessionStamp that an application's users may have.
package stamp

import (
	"fmt"
	"reflect"
)

// stamped is a user with a stamp.
type stamped interface{ SessionStamp() string }

// Of returns the stamp of a user, or "" if the user has none.
func Of(user any) string {
	if s, ok := user.(stamped); ok {
		return s.SessionStamp()
	}
	return ""
}

// Check returns an error if users of type t have a method SessionStamp that Of does not
// find: a changed stamp would end nothing.
func Check(t reflect.Type) error {
	if t.Implements(reflect.TypeFor[stamped]()) {
		return nil
	}
	if _, ok := t.MethodByName("SessionStamp"); ok {
		return fmt.Errorf("sessionguard: the method SessionStamp of %v is never called: its signature must be SessionStamp() string", t)
	}
	if t.Kind() != reflect.Interface && t.Kind() != reflect.Pointer {
		if _, ok := reflect.PointerTo(t).MethodByName("SessionStamp"); ok {
			return fmt.Errorf("sessionguard: the method SessionStamp of *%v is never called: users are %v, so its receiver must not be a pointer", t, t)
		}
	}
	return nil
}
