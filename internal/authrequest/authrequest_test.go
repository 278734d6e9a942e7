package authrequest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOriginalIsWhatTheProxySays(t *testing.T) {
	r := httptest.NewRequest("GET", "https://app.example/auth", nil)
	r.Header = http.Header{"X-Forwarded-Method": {"PUT"}, "X-Forwarded-Uri": {"/a%2Fb?c"}, "Sec-Websocket-Key": {"x"}}
	original, err := Original(r)
	require.NoError(t, err)
	require.Equal(t, []string{"PUT", "/a/b", "/a%2Fb?c", "app.example", "websocket"},
		[]string{original.Method, original.URL.Path, original.RequestURI, original.Host, original.Header.Get("Upgrade")})
	require.Empty(t, r.Header["Upgrade"], "the proxy's own request stays as it is")
	require.Equal(t, []string{"GET", "/auth"}, []string{r.Method, r.URL.Path})
}

// Whatever is written, only what was allowed is a 204.
func TestResponseHasOneOfFourStatuses(t *testing.T) {
	refused := func(written int) int {
		switch {
		case written < 200 || written >= 500: // an informational one is none at all
			return http.StatusServiceUnavailable
		case written == http.StatusUnauthorized || written/100 == 3:
			return http.StatusUnauthorized
		}
		return http.StatusForbidden
	}
	allowed := func(written int) int {
		if written == http.StatusNoContent {
			return http.StatusNoContent
		}
		return refused(written)
	}
	always := func(status int) func(int) int { return func(int) int { return status } }
	for name, test := range map[string]struct {
		decide func(*Response)
		want   func(written int) int
	}{
		"nothing":              {func(*Response) {}, refused},
		"allowed":              {func(w *Response) { w.Allow("ada") }, allowed},
		"refused":              {func(w *Response) { w.Refuse(401, "Cookie") }, always(401)},
		"allowed, and refused": {func(w *Response) { w.Allow("ada"); w.Refuse(403, "Cookie") }, always(403)},
		"refused, and allowed": {func(w *Response) { w.Refuse(403, "Cookie"); w.Allow("ada") }, allowed},
		"failed":               {func(w *Response) { w.Refuse(500, "Cookie") }, always(503)},
	} {
		for status := 100; status < 600; status++ {
			rec := httptest.NewRecorder()
			w := NewResponse(rec, "Cookie")
			test.decide(w)
			w.WriteHeader(status)
			w.End()
			require.Equal(t, test.want(status), rec.Code, "%s, %d", name, status)
			require.Equal(t, rec.Code == http.StatusNoContent, rec.Header().Get(UserHeader) == "ada")
			require.Equal(t, rec.Code == http.StatusUnauthorized, rec.Header().Get("WWW-Authenticate") != "")
		}
	}
}

// A handler that http.TimeoutHandler does not wait for may decide while the response is
// sent, or after that. It must not write to its header, which another goroutine reads.
func TestADecisionAfterTheResponseChangesNothing(t *testing.T) {
	for name, decide := range map[string]func(*Response){
		"allowed": func(w *Response) { w.Allow("ada") },
		"refused": func(w *Response) { w.Refuse(401, "Cookie") },
	} {
		rec := httptest.NewRecorder()
		w := NewResponse(rec, "Cookie")
		w.WriteHeader(http.StatusServiceUnavailable)
		decide(w)
		w.WriteHeader(http.StatusNoContent)
		w.End()
		require.Equal(t, http.StatusServiceUnavailable, rec.Code, name)
		require.Empty(t, rec.Header(), name)
	}
}
