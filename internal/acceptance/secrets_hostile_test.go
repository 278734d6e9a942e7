package acceptance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// secretBytes are the bytes that the browser's secret cookies take in a request.
func (b *browser) secretBytes() (n int) {
	for name, value := range b.secrets() {
		n += len(name) + len(value)
	}
	return n
}

// Several logins run at a time, in several tabs. Of too many, the oldest go.
func TestABrowserHasFourSecretsAtMost(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.secretRoutes()
		b := s.browse()
		for i := range 1000 {
			b.put(fmt.Sprint("oidc:", i), strings.Repeat("v", i))
			require.LessOrEqual(t, len(b.secrets()), 4)
			require.LessOrEqual(t, b.secretBytes(), 4096)
			if i%3 == 0 {
				advance(time.Second)
			}
		}
		require.Empty(t, backend.callCounts(), "they cost the server nothing")

		b = s.browse()
		for i := range 5 {
			b.put(fmt.Sprint(i), fmt.Sprint(i))
		}
		for _, i := range []string{"3", "1", "4", "2"} {
			require.Equal(t, "took "+i, b.take(i))
		}
		require.Equal(t, noSecret, b.take("0"), "the oldest")

		b.put("small", "s")
		advance(time.Second)
		b.put("large", strings.Repeat("l", 2048))
		advance(time.Second)
		b.put("medium", strings.Repeat("m", 800))
		require.Len(t, b.secrets(), 2, "by their size")
		require.Equal(t, noSecret, b.take("small"))
		require.Equal(t, "took "+strings.Repeat("l", 2048), b.take("large"))
	})
}

// The same in one response.
func TestPuttingAndTakingInOneRequest(t *testing.T) {
	s := newSite(t, nil).secretRoutes()
	s.mux.HandleFunc("POST /flows", func(w http.ResponseWriter, r *http.Request) {
		put := func(name, value string) {
			require.NoError(t, s.guard.PutSecret(w, r, name, []byte(value), time.Minute))
		}
		for i := range 6 {
			put(fmt.Sprint(i), "old")
			put(fmt.Sprint(i), "new")
		}
		_, err := s.guard.TakeSecret(w, r, "0")
		require.ErrorIs(t, err, sessionguard.ErrNoSecret)
		value, err := s.guard.TakeSecret(w, r, "5")
		require.NoError(t, err)
		require.Equal(t, "new", string(value))
		_, err = s.guard.TakeSecret(w, r, "5")
		require.ErrorIs(t, err, sessionguard.ErrNoSecret)
		put("5", "once more")
	})
	b := s.browse()
	b.put("5", "older")
	older := s.copyOf(b)
	resp := b.Post("/flows")
	names := map[string]int{}
	for _, c := range resp.Cookies() {
		names[c.Name]++
	}
	for name, n := range names {
		require.Equal(t, 1, n, name)
	}
	require.Len(t, b.secrets(), 4)
	for _, name := range []string{"2", "3", "4"} {
		require.Equal(t, "took new", b.take(name))
	}
	require.Equal(t, "took once more", b.take("5"))
	require.Equal(t, "took older", older.take("5"), "another browser's is its own")

	b.put("twice", "first")
	b.put("twice", "second")
	require.Len(t, b.secrets(), 1)
	require.Equal(t, "took second", b.take("twice"))
}

// Names and values are any bytes.
func TestASecretHasAnyNameAndUpTo2048Bytes(t *testing.T) {
	s := newSite(t, nil)
	type call struct{ name, value string }
	calls := make(chan call, 1)
	s.mux.HandleFunc("POST /put", func(w http.ResponseWriter, r *http.Request) {
		c := <-calls
		if err := s.guard.PutSecret(w, r, c.name, []byte(c.value), time.Minute); err != nil {
			require.ErrorIs(t, err, sessionguard.ErrValuesTooLarge)
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	s.mux.HandleFunc("GET /take", func(w http.ResponseWriter, r *http.Request) {
		c := <-calls
		value, err := s.guard.TakeSecret(w, r, c.name)
		require.NoError(t, err)
		require.Equal(t, c.value, string(value))
	})
	for _, name := range []string{"", "n", strings.Repeat("n", 200), strings.Repeat("n", 201), "; Path=/; \x00=\xff\r\n", "日本", " n", "N"} {
		for _, size := range []int{0, 1, 1024, 2048} {
			b := s.browse()
			calls <- call{name, strings.Repeat("\x00", size)}
			resp := b.Post("/put")
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Len(t, resp.Header["Set-Cookie"], 1)
			require.NoError(t, resp.Cookies()[0].Valid())
			calls <- call{name, strings.Repeat("\x00", size)}
			require.Equal(t, http.StatusOK, b.Get("/take").StatusCode)
		}
	}
	for _, size := range []int{2049, 4096, 1 << 20} {
		calls <- call{"n", strings.Repeat("v", size)}
		resp := s.browse().Post("/put")
		require.Equal(t, http.StatusBadRequest, resp.StatusCode)
		require.Empty(t, resp.Cookies())
	}
}

// What the cookie holds is no client's to read or to change.
func TestASecretsCookieIsEncryptedAndSigned(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.secretRoutes()
		b := s.browse()
		b.put("n", strings.Repeat("verifier", 20))
		for name, value := range b.secrets() {
			require.NotContains(t, value, "dmVyaWZpZX")
			for i := range value {
				changed := []byte(value)
				changed[i] = "AB"[bit(changed[i] == 'A')]
				if got := s.with(name, string(changed)).take("n"); i < len(value)-1 {
					require.Equal(t, noSecret, got)
				}
			}
			for _, forged := range []string{"", "x", value[:20], value + value, value[:len(value)-4], strings.Repeat("A", 500), "%"} {
				require.Equal(t, noSecret, s.with(name, forged).take("n"))
			}
			require.LessOrEqual(t, backend.callCounts()["Create"], 1, "what is forged does not reach the backend")
		}
		require.Equal(t, noSecret, b.take("another"))
	})
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// What is forged and what is planted takes no other's place; of two that are ours, none counts.
func TestASecretAmongPlantedCookies(t *testing.T) {
	s := newSite(t, nil).secretRoutes()
	b, other := s.browse(), s.browse()
	b.put("n", "mine")
	other.put("n", "planted")
	var name, mine, planted string
	for name, mine = range b.secrets() {
		planted = other.secrets()[name]
	}
	take := func(values ...string) string {
		req := s.browse().Request("GET", "/take?name=n")
		for _, value := range values {
			req.Header.Add("Cookie", name+"="+value)
		}
		return s.browse().Do(req).Body
	}
	require.Equal(t, noSecret, take(mine, planted))
	require.Equal(t, noSecret, take(planted, mine))
	require.Equal(t, noSecret, take("1", "2", "3", "4", "5", "6", "7", "8", mine))
	require.Equal(t, "took mine", take("x", mine, mine, "y"))
	require.Equal(t, noSecret, take(mine))
}

// Marks are no sessions: nobody lists, counts, ends or uses one.
func TestTakenSecretsAreNoSessions(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = backend
			c.MaxSessions = func(*user) store.Limit { return store.Limit{Max: 1, Refuse: true} }
		}).secretRoutes()
		b := s.browse()
		b.login("ada")
		for i := range 10 {
			b.put(fmt.Sprint(i), "v")
			copied := b.secrets()
			require.Equal(t, "took v", b.take(fmt.Sprint(i)))
			sessions, err := s.guard.Sessions(t.Context(), "ada")
			require.NoError(t, err)
			require.Len(t, sessions, 1)
			require.NoError(t, s.guard.EndUser(t.Context(), "nobody"))
			b.SetCookies(merge(b.Cookies(), copied))
			require.Equal(t, noSecret, b.take(fmt.Sprint(i)))
		}
		require.Empty(t, s.events.take(sessionguard.EventUnavailable, sessionguard.EventEnded))
		require.True(t, b.loggedIn())
	})
}

// A prefetch takes nothing, since nobody may ever see its response.
func TestAPrefetchTakesNoSecret(t *testing.T) {
	s := newSite(t, nil).secretRoutes()
	b := s.browse()
	b.put("n", "v")
	for _, header := range [][]string{{"Sec-Purpose", "prefetch"}, {"Sec-Purpose", "prefetch;prerender"}, {"Purpose", "prefetch"}, {"X-Moz", "prefetch"}} {
		resp := b.Get("/take?name=n", header...)
		require.Equal(t, noSecret, resp.Body)
		require.Empty(t, resp.Cookies())
		requireNoStore(t, resp.Header)
	}
	require.Equal(t, "took v", b.take("n"))
}

// With other cookies of secrets, a request that a handler makes is another's.
func TestASecretOfARequestThatAHandlerMakes(t *testing.T) {
	s := newSite(t, nil).secretRoutes()
	b, other := s.browse(), s.browse()
	b.put("n", "mine")
	other.put("n", "other's")
	s.mux.HandleFunc("GET /include", func(w http.ResponseWriter, r *http.Request) {
		for name, value := range other.secrets() {
			r = r.Clone(r.Context())
			r.Header.Set("Cookie", name+"="+value)
		}
		_, err := s.guard.TakeSecret(w, r, "n")
		require.ErrorIs(t, err, sessionguard.ErrNotWrapped)
		require.ErrorIs(t, s.guard.PutSecret(w, r, "n", nil, time.Minute), sessionguard.ErrNotWrapped)
	})
	b.Get("/include")
	require.Equal(t, "took mine", b.take("n"))
}

// A server behind HideCookies learns no secret's cookie, and sets none.
func TestHideCookiesHidesSecrets(t *testing.T) {
	s := newSite(t, nil).secretRoutes()
	b := s.browse()
	b.put("n", "v")
	var name string
	for name = range b.secrets() {
	}
	s.mux.Handle("GET /hidden", s.guard.HideCookies(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: name, Value: "evil"})
		http.SetCookie(w, &http.Cookie{Name: name + "x", Value: "application's"})
		fmt.Fprint(w, r.Header["Cookie"])
	})))
	resp := b.Get("/hidden", "Cookie", "theme=dark")
	require.Equal(t, "[theme=dark]", resp.Body)
	require.Len(t, resp.Cookies(), 1)
	require.Equal(t, "took v", b.take("n"))
}

// In a header of any size, few are looked at, and a response deletes few.
func TestManyCookiesOfSecretsAreNotMultiplied(t *testing.T) {
	s := newSite(t, nil).secretRoutes()
	var header []string
	for i := range 200 {
		b := s.browse()
		b.put(fmt.Sprint(i), "v")
		for name, value := range b.secrets() {
			header = append(header, name+"="+value)
		}
	}
	all := strings.Join(slices.Repeat(header, 20), "; ")
	for _, route := range []string{"POST /put?name=new", "GET /take?name=new"} {
		method, path, _ := strings.Cut(route, " ")
		r := httptest.NewRequest(method, "https://app.example"+path, nil)
		r.Header.Set("Cookie", all)
		w := httptest.NewRecorder()
		n := allocated(func() { s.guard.Handler(s.mux).ServeHTTP(w, r) })
		require.Less(t, n, uint64(200_000))
		require.LessOrEqual(t, len(w.Result().Cookies()), 9)
	}
}
