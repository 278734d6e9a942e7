package acceptance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// L6: a handler whose page was replaced goes on, and what it changes then is not saved
// either: the client was told that nothing is.
func TestChangesAfterAReplacedPageAreNotSaved(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.mux.HandleFunc("POST /replaced", func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "bad")
			session.Values["k"] = func() {}
			_, err := fmt.Fprint(w, "saved!")
			require.Error(s.T, err)
			session, err = s.guard.Get(r, "app")
			require.NoError(s.T, err)
			session.Values["k"] = "late"
		})
		ada, visitor := s.browse(), s.browse()
		ada.login("ada")
		for _, b := range []*browser{ada, visitor} {
			resp := b.Post("/replaced")
			require.Equal(s.T, http.StatusInternalServerError, resp.StatusCode)
			require.Contains(s.T, resp.Body, "was not saved")
			require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=k").Body)
			advance(time.Second)
		}
		require.Equal(s.T, 2, strings.Count(s.log.String(), "the response was replaced"), "once each: %s", s.log)
		require.NotContains(s.T, s.log.String(), "values changed after the response began")
	})
}
