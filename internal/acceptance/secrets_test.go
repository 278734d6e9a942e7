package acceptance

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

const secretCookie = sessionCookie + "-secret-" // and a hash of the secret's name

// secretRoutes adds to a site:
//
//	POST /put?name=&value=&for=  puts a secret, for ten minutes by default
//	GET  /take?name=             takes it: "took <value>", 400 with the error, or 503
func (s *site) secretRoutes() *site {
	s.mux.HandleFunc("POST /put", func(w http.ResponseWriter, r *http.Request) {
		lifetime := 10 * time.Minute
		if given := r.FormValue("for"); given != "" {
			lifetime, _ = time.ParseDuration(given)
		}
		err := s.guard.PutSecret(w, r, r.FormValue("name"), []byte(r.FormValue("value")), lifetime)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	s.mux.HandleFunc("GET /take", func(w http.ResponseWriter, r *http.Request) {
		value, err := s.guard.TakeSecret(w, r, r.FormValue("name"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "took %s", value)
	})
	return s
}

func (b *browser) put(name, value string) response {
	b.t.Helper()
	resp := b.PostForm("/put", "name", name, "value", value)
	require.Equal(b.t, http.StatusOK, resp.StatusCode, resp.Body)
	return resp
}

func (b *browser) take(name string) string { b.t.Helper(); return b.Get("/take?name=" + name).Body }

var noSecret = sessionguard.ErrNoSecret.Error() + "\n"

// secrets returns the browser's secret cookies.
func (b *browser) secrets() map[string]string {
	b.t.Helper()
	secrets := map[string]string{}
	for name, value := range b.Cookies() {
		if strings.Contains(name, "-secret-") {
			secrets[name] = value
		}
	}
	return secrets
}

// A secret is taken once, whoever has a copy of its cookie, on every node.
func TestASecretIsTakenOnce(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		nodes := [2]*site{}
		for i := range nodes {
			nodes[i] = newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend }).secretRoutes()
		}
		for _, loggedIn := range []bool{false, true} {
			b := nodes[0].browse()
			if loggedIn {
				b.login("ada")
			}
			requireNoStore(t, b.put("oidc:1", "nonce").Header)
			require.Len(t, b.secrets(), 1)
			copied := nodes[1].copyOf(b)
			require.Equal(t, "took nonce", b.take("oidc:1"))
			require.Empty(t, b.secrets(), "the cookie is deleted")
			require.Equal(t, noSecret, b.take("oidc:1"))
			for range 2 {
				require.Equal(t, noSecret, nodes[0].copyOf(copied).take("oidc:1"))
				require.Equal(t, noSecret, nodes[1].copyOf(copied).take("oidc:1"))
				advance(5 * time.Minute)
			}
		}
	})
}

// Nor is it taken again by a node whose clock is some minutes behind those of the others,
// after they have forgotten other things of the same age.
func TestASecretIsTakenOnceOnNodesWhoseClocksDiffer(t *testing.T) {
	for _, skew := range []time.Duration{-9 * time.Minute, -time.Minute, time.Minute, 9 * time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				memory := store.NewMemory()
				node := func(ahead time.Duration) *site {
					return newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = skewedBackend{memory, ahead} }).secretRoutes()
				}
				exact, other := node(0), node(skew)
				b := exact.browse()
				b.put("oidc", "nonce")
				copied := exact.copyOf(b)
				require.Equal(t, "took nonce", other.copyOf(b).take("oidc"))
				for range 40 {
					require.Equal(t, noSecret, exact.copyOf(copied).take("oidc"))
					require.Equal(t, noSecret, other.copyOf(copied).take("oidc"))
					advance(15 * time.Second)
				}
			})
		})
	}
}

// What was taken stays taken when the keys change.
func TestASecretIsTakenOnceWhileKeysAreRotated(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		memory, oldKey, newKey := store.NewMemory(), testKeys[0], bytes.Repeat([]byte("n"), 32)
		node := func(keys ...[]byte) *site {
			return newSite(t, func(c *sessionguard.Config[*user]) { c.Backend, c.Keys = memory, keys }).secretRoutes()
		}
		nodes := []*site{node(oldKey), node(newKey, oldKey), node(oldKey, newKey), node(newKey)}
		b := nodes[0].browse()
		b.put("one", "1")
		require.Equal(t, noSecret, nodes[3].copyOf(b).take("one"), "its key is gone")
		require.Equal(t, "took 1", nodes[1].copyOf(b).take("one"))
		for _, n := range nodes {
			require.Equal(t, noSecret, n.copyOf(b).take("one"))
		}
		b = nodes[1].browse()
		b.put("one", "2")
		require.Equal(t, noSecret, nodes[0].copyOf(b).take("one"), "it does not know the new key")
		require.Equal(t, "took 2", nodes[2].copyOf(b).take("one"))
		require.Equal(t, noSecret, nodes[1].copyOf(b).take("one"))
	})
}

// A secret is good for its lifetime, and its cookie goes with it.
func TestASecretExpires(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil).secretRoutes()
		for lifetime, maxAge := range map[time.Duration]int{
			time.Second: 1, 1500 * time.Millisecond: 2, time.Minute: 60, time.Hour: 3600,
		} {
			b := s.browse()
			resp := b.PostForm("/put", "name", "n", "value", "v", "for", lifetime.String())
			require.Equal(t, maxAge, resp.Cookies()[0].MaxAge)
			advance(lifetime - time.Millisecond)
			require.Equal(t, "took v", b.take("n"), lifetime)
			other := s.browse()
			other.PostForm("/put", "name", "n", "value", "v", "for", lifetime.String())
			kept := other.secrets()
			advance(lifetime)
			other.SetCookies(kept) // a client that keeps it for longer
			require.Equal(t, noSecret, other.take("n"), lifetime)
		}
		for _, lifetime := range []string{"0s", "-1s", "999ms", "1h0m0.001s", "1000000h"} {
			resp := s.browse().PostForm("/put", "name", "n", "for", lifetime)
			require.Equal(t, http.StatusBadRequest, resp.StatusCode)
			require.Contains(t, resp.Body, "lifetime")
			require.Empty(t, resp.Cookies())
		}
	})
}

// A secret is bound to the browser and to the session, or to the lack of one.
func TestASecretIsTakenOnlyInItsOwnSession(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil).secretRoutes()
		b := s.browse()
		b.put("n", "visitor's")
		require.Equal(t, noSecret, s.browse().take("n"), "another browser")
		kept := b.secrets()
		b.login("ada")
		require.Equal(t, noSecret, b.take("n"), "logged in since")
		b.put("n", "ada's")
		other := s.copyOf(b)
		b.login("ada")
		require.Equal(t, "took ada's", b.take("n"), "logged in again")

		b.put("n", "ada's")
		again := b.secrets()
		b.Post("/logout")
		require.Equal(t, noSecret, b.take("n"), "logged out")
		b.login("grace")
		require.Equal(t, noSecret, b.take("n"), "another user")
		require.Equal(t, noSecret, other.take("n"))
		b.login("ada")
		require.Equal(t, noSecret, b.take("n"), "another session of the same user")
		b.SetCookies(again)
		require.Equal(t, noSecret, b.take("n"))
		b.SetCookies(kept)
		require.Equal(t, "took visitor's", b.take("n"), "no session again")
	})
}

// A cookie of a secret is worth nothing under another name, for another guard, or as
// another cookie.
func TestASecretsCookieIsNoOther(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		customers, staff := twoGuards(t, backend)
		customers.secretRoutes()
		staff.secretRoutes()
		b, admin := customers.browse(), staff.browse()
		b.put("one", "1")
		one := b.secrets()
		b.put("two", "2")
		admin.put("one", "staff's")
		for name, value := range one {
			for other := range b.secrets() {
				if other != name {
					require.Equal(t, noSecret, customers.with(other, value).take("two"))
				}
			}
			hash := strings.TrimPrefix(name, secretCookie)
			require.Contains(t, admin.secrets(), staffCookie+"-secret-"+hash)
			require.Equal(t, noSecret, staff.with(staffCookie+"-secret-"+hash, value).take("one"))
			require.Equal(t, noSecret, customers.with(name, admin.secrets()[staffCookie+"-secret-"+hash]).take("one"))
			require.False(t, customers.with(sessionCookie, value).loggedIn())
			require.Equal(t, "<nil> <nil>", customers.with(visitorCookie, value).Get("/value?k=k").Body)
			b.Post("/value?k=k&v=v")
			require.Equal(t, noSecret, customers.with(name, b.Cookies()[visitorCookie]).take("one"))
		}
		both := customers.browse()
		both.SetCookies(merge(b.Cookies(), admin.Cookies()))
		require.Equal(t, "took 1", both.take("one"))
		require.Equal(t, "took staff's", staff.copyOf(both).take("one"), "the two have marks of their own")
	})
}

// with returns a browser with one cookie.
func (s *site) with(name, value string) *browser {
	s.Helper()
	b := s.browse()
	b.SetCookies(map[string]string{name: value})
	return b
}

func merge(all ...map[string]string) map[string]string {
	merged := map[string]string{}
	for _, m := range all {
		maps.Copy(merged, m)
	}
	return merged
}
