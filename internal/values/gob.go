package values

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"reflect"
	"strings"
)

// appendGob appends v to b, which ends with its tag. Gob writes maps in random order and
// numbers types in the order a process meets them, so equal values may have different
// bytes. If old decodes to the same value, appendGob appends old instead.
func appendGob(b []byte, v any, old string) ([]byte, error) {
	start := len(b) - 1
	w := bytes.NewBuffer(b)
	if err := gob.NewEncoder(w).Encode(&v); err != nil {
		return nil, fmt.Errorf("a %T cannot be stored; give its type to gob.Register: %w", v, err)
	}
	b = w.Bytes()
	if equalGob(old, string(b[start:])) {
		b = append(b[:start], old...)
	}
	return b, nil
}

// equalGob reports whether two encoded values are equal. Two that are stored by gob are
// compared by what they decode to, since that is what the application gets back. The value
// before encoding may differ from it in what gob drops, such as unexported fields.
func equalGob(a, b string) bool {
	if a == b || a == "" || b == "" || a[0] != tagGob || b[0] != tagGob {
		return a == b
	}
	va, erra := decodeGob(a[1:])
	vb, errb := decodeGob(b[1:])
	return erra == nil && errb == nil && reflect.DeepEqual(va, vb)
}

// decodeGob decodes a gob stream. It turns a panic into an error: gob panics if a corrupt
// stream gives a map with interface keys a key that cannot be hashed, and the application's
// UnmarshalBinary methods may panic.
//
// It cannot prevent that, up to Go 1.26, a map of a registered type in a forged stream of
// 30 bytes makes gob allocate gigabytes (go.dev/issue/79539). Forging one takes the keys
// that sign cookies, or write access to the store.
func decodeGob(s string) (v any, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = nil, fmt.Errorf("%w: gob: %v", errCorrupt, p)
		}
	}()
	r := strings.NewReader(s)
	if err := gob.NewDecoder(r).Decode(&v); err != nil {
		return nil, fmt.Errorf("stored by gob: %w", err)
	}
	if r.Len() > 0 {
		return nil, errCorrupt
	}
	return v, nil
}
