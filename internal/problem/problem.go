// Package problem makes bodies of application/problem+json (RFC 9457).
package problem

import (
	"encoding/json"
	"net/http"
	"strings"
)

// end is that of every body.
const end = "}\n"

// New returns a body with the title of an HTTP status, and a member "error".
func New(status int, detail, code string) []byte {
	body, _ := json.Marshal(struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Error  string `json:"error"`
	}{http.StatusText(status), status, detail, code})
	return append(body, '\n')
}

// With returns body with further members: their names and values in turn. Those with an empty
// value are left out, and without any it returns body itself. Names must not need an escape.
func With(body []byte, members ...string) []byte {
	with := body
	for i := 0; i < len(members); i += 2 {
		name, value := members[i], members[i+1]
		if value == "" {
			continue
		}
		if len(with) == len(body) {
			with = append(make([]byte, 0, len(body)+128), body...)
		}
		with = append(with[:len(with)-len(end)], `,"`+name+`":`...)
		with = append(quote(with, value), end...)
	}
	return with
}

// quote appends a string in JSON. Most are names, which need no escape and so no encoder.
func quote(b []byte, s string) []byte {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == "" {
		return append(append(append(b, '"'), s...), '"')
	}
	quoted, _ := json.Marshal(s)
	return append(b, quoted...)
}
