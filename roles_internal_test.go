package sessionguard

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// unreadable is a body that must not be read.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, errors.New("unreadable")
}
func (unreadable) Close() error { return nil }

// R2: anyone can request a login page, so its parameters cost no memory and no disk.
func TestParametersOfAnyoneReadNoUnboundedBody(t *testing.T) {
	const multipart = "multipart/form-data; boundary=b"
	for _, test := range []struct{ method, contentType string }{
		{"GET", multipart}, {"HEAD", multipart}, {"GET", "application/x-www-form-urlencoded"},
		{"POST", multipart}, {"PUT", multipart}, {"POST", ""}, {"POST", "text/plain"}, {"POST", "application/json"}, {"POST", ";"},
		{"DELETE", "application/x-www-form-urlencoded"},
	} {
		r := httptest.NewRequest(test.method, "/login?next=/query&next=/second", unreadable{t})
		r.Header.Set("Content-Type", test.contentType)
		require.Equal(t, "/query", formValue(r, "next"), test)
		require.Empty(t, formValue(r, "other"), test)
		require.Nil(t, r.MultipartForm, test)
	}
}

func TestParametersOfAForm(t *testing.T) {
	post := func(contentType, body string) *http.Request {
		r := httptest.NewRequest("POST", "/login?next=/query", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		return r
	}
	const urlencoded = "application/x-www-form-urlencoded; charset=utf-8"
	r := post(urlencoded, "next=/form&user=ada")
	require.Equal(t, "/form", formValue(r, "next"))
	require.Equal(t, "ada", r.FormValue("user"), "the handler reads the same form")
	require.Equal(t, "/query", formValue(post(urlencoded, "user=ada"), "next"))

	const part = "--b\r\nContent-Disposition: form-data; name=\"next\"\r\n\r\n/part\r\n--b--\r\n"
	r = post("multipart/form-data; boundary=b", part)
	r.URL.RawQuery = ""
	require.Empty(t, formValue(r, "next"), "the handler has not parsed it")
	require.Equal(t, "/part", r.FormValue("next"), "and still can")
	require.Equal(t, "/part", formValue(r, "next"), "and then it counts")

	endless := httptest.NewRequest("POST", "/login", io.LimitReader(repeated('a'), 1<<30))
	endless.Header.Set("Content-Type", urlencoded)
	require.Empty(t, formValue(endless, "next"))
}

// repeated is a reader of one byte, again and again.
type repeated byte

func (r repeated) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r)
	}
	return len(b), nil
}

// An empty name would let in whoever has an empty role.
func TestRequireRoleRefusesAnEmptyRole(t *testing.T) {
	guard, err := New(Config[*configUser]{FindUser: findConfigUser, Keys: [][]byte{keyOf(32)}})
	require.NoError(t, err)
	require.Panics(t, func() { guard.RequireRole("") })
	require.Panics(t, func() { guard.RequireRole("Engineer", "") })
	require.NotPanics(t, func() { guard.RequireRole(); guard.RequireRole("Engineer") })
}
