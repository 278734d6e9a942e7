package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// L1: the values of a visitor last for the idle timeout after they were last used.
func TestVisitorValuesExpireWithTheIdleTimeout(t *testing.T) {
	for after, want := range map[time.Duration]string{idle - time.Second: "1 <nil>", idle + time.Second: "<nil> <nil>", absolute: "<nil> <nil>"} {
		withFakeClock(t, func(t *testing.T) {
			s := newSite(t, nil)
			b := s.browse()
			b.Post("/value?k=a&v=1")
			advance(after)
			resp := b.Get("/value?k=a")
			require.Equal(t, want, resp.Body, after)
			if want != "1 <nil>" {
				require.Empty(t, resp.Header["Set-Cookie"], "no deletion")
			}
			b.Post("/value?k=b&v=2")
			require.Equal(t, want, b.Get("/value?k=a").Body, "expired values do not come back")
			require.Equal(t, "2 <nil>", b.Get("/value?k=b").Body)
		})
	}
}

// L1: reading is use. The cookie is set again once per 1/30 of the timeout.
func TestVisitorValuesThatAreReadDoNotExpire(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.Post("/value?k=cart&v=book")
		set := 0
		for range 600 { // 5 hours
			advance(30 * time.Second)
			resp := b.Get("/value?k=cart")
			require.Equal(s.T, "book <nil>", resp.Body)
			if len(resp.Header["Set-Cookie"]) > 0 {
				set++
				requireNoStore(s.T, resp.Header)
			}
		}
		require.Equal(s.T, 300, set)
		for range 3 {
			advance(idle - time.Second)
			require.Equal(s.T, "welcome nobody []", b.Get("/").Body, "a page that reads values of another name")
		}
		require.Equal(s.T, "book <nil>", b.Get("/value?k=cart").Body)
		advance(idle + time.Second)
		require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=cart").Body)
	})
}

// L1, C1: what is no use by a person, or cannot set a cookie, leaves the cookie as it is. Above
// all no response that may be cached sets one.
func TestWhatDoesNotRenewVisitorValues(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		read := func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			fmt.Fprint(w, session.Values["k"])
		}
		s.mux.Handle("/passive", s.guard.Passive(http.HandlerFunc(read)))
		s.mux.HandleFunc("/read", read)
		s.mux.HandleFunc("/late", func(w http.ResponseWriter, r *http.Request) {
			s.guard.User(r)
			io.WriteString(w, "v")
			read(w, r)
		})
		s.mux.HandleFunc("/refused", func(w http.ResponseWriter, r *http.Request) {
			_, _ = s.guard.Get(r, "app")
			s.guard.RequireLogin(http.NotFoundHandler()).ServeHTTP(w, r)
		})
		for name, test := range map[string]struct{ path, header, value string }{
			"Passive": {"/passive", "", ""}, "a prefetch": {"/read", "Sec-Purpose", "prefetch"}, "an old prefetch": {"/read", "Purpose", "prefetch"},
			"after the first byte": {"/late", "", ""}, "refused": {"/refused", "", ""},
			"not read": {"/static", "", ""}, "refused by a gate": {"/home", "", ""}, "the status": {"/status", "", ""},
		} {
			b := s.browse()
			b.Post("/value?k=k&v=v")
			advance(idle - time.Second)
			var header []string
			if test.header != "" {
				header = []string{test.header, test.value}
			}
			require.Empty(s.T, b.Get(test.path, header...).Header["Set-Cookie"], name)
			advance(2 * time.Second)
			require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=k").Body, name)
		}
		b := s.browse()
		b.Post("/value?k=k&v=v")
		advance(time.Minute)
		require.Contains(s.T, b.Get("/static").Header.Get("Cache-Control"), "public")
		require.Len(s.T, b.Get("/read").Header["Set-Cookie"], 1)
	})
}

// Beside a live session a visitor's values count for nothing, and stay gone.
func TestVisitorValuesAreNotRenewedBesideASession(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.Post("/value?k=k&v=v")
		visitor := b.Cookies()[visitorCookie]
		b.login("ada")
		advance(10 * time.Minute)
		require.Empty(s.T, b.Get("/value?k=k", "Cookie", visitorCookie+"="+visitor).Header["Set-Cookie"])
		logout := b.Post("/logout", "Cookie", visitorCookie+"="+visitor)
		require.NotContains(s.T, logout.Header["Set-Cookie"], visitor)
		require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=k").Body)
	})
}

// By default nginx gives up if a response has more than 4096 bytes of headers. The longest
// line leaves some for others, and Save says what was too much.
func TestTheLongestVisitorCookieFitsIntoAProxysBuffer(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		var saved error
		s.on("POST /size", func(w http.ResponseWriter, r *http.Request) error {
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = r.FormValue("v")
			saved = session.Save(r, w)
			return nil
		})
		longest := 0
		for size := 1500; size < 2300; size++ {
			value := strings.Repeat("x", size)
			b := s.browse()
			b.Post("/value?k=before&v=kept")
			resp := b.Post("/size?v=" + value)
			if saved != nil {
				require.ErrorIs(s.T, saved, sessionguard.ErrValuesTooLarge)
				require.Regexp(s.T, `cookie: 1[89]\d\d bytes are more than 18\d\d$`, saved.Error())
				require.Contains(s.T, s.log.String(), saved.Error())
				require.Equal(s.T, http.StatusInternalServerError, resp.StatusCode)
				require.Equal(s.T, "kept <nil>", b.Get("/value?k=before").Body, "nothing is lost")
				break
			}
			longest = len("Set-Cookie: " + resp.Header.Get("Set-Cookie"))
			require.LessOrEqual(s.T, longest, 3500)
		}
		require.ErrorIs(s.T, saved, sessionguard.ErrValuesTooLarge)
		require.Greater(s.T, longest, 3490)
	})
}
