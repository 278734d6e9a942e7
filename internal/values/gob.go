package values

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"reflect"
	"strings"
)

// appendGob appends v behind its tag, which b ends with. Gob writes maps in
// random order and numbers types as each process meets them, so equal values
// can have different bytes: if old decodes to the same, old's stay.
func appendGob(b []byte, v any, old string) ([]byte, error) {
	start := len(b) - 1
	w := bytes.NewBuffer(b)
	if err := gob.NewEncoder(w).Encode(&v); err != nil {
		return nil, fmt.Errorf("a %T can not be stored; give its type to gob.Register: %w", v, err)
	}
	b = w.Bytes()
	if sameGob(old, string(b[start:])) {
		b = append(b[:start], old...)
	}
	return b, nil
}

// sameGob compares two encoded values, both gob's, by what they decode to,
// since that is what the application gets back. The value in hand may differ
// from it in what gob drops, such as unexported fields.
func sameGob(a, b string) bool {
	if a == b || a == "" || b == "" || a[0] != tagGob || b[0] != tagGob {
		return a == b
	}
	va, erra := decodeGob(a[1:])
	vb, errb := decodeGob(b[1:])
	return erra == nil && errb == nil && reflect.DeepEqual(va, vb)
}

// decodeGob recovers, because gob panics where a damaged stream gives a map
// with interface keys a key that can not be hashed, and because the
// UnmarshalBinary methods of the application run inside. What it can not
// prevent: up to Go 1.26 a map of a registered type in a forged stream of 30
// bytes makes gob allocate gigabytes (go.dev/issue/79539). Only whoever can
// sign cookies or write to the store can forge one.
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
