package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// DeviceProof was made shorter, or the browser's clock was set back: it brings a proof that no
// longer counts, and proves nothing for as long as it takes that for good. The guard deletes it,
// and asks for the same request again: no form is lost, and nobody has to log in.
func TestAProofThatDoesNotCountIsMadeAgain(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		before := deviceNode(t, backend, func(c *sessionguard.Config[*user]) { c.DeviceProof = time.Hour })
		now := deviceNode(t, backend)
		now.mux.Handle("/form", now.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Method, " ", r.FormValue("text"))
		})))
		get := func(path string, header ...string) func(*browser) response {
			return func(b *browser) response { return b.Get(path, header...) }
		}
		for name, test := range map[string]struct {
			ask      func(*browser) response
			location string
			body     string
		}{
			"a page":        {get("/form?text=long"), "/form?text=long", "GET long"},
			"a form":        {func(b *browser) response { return b.PostForm("/form", "text", "long") }, "/form", "POST long"},
			"a script":      {get("/form", "Accept", "application/json"), "/form", "GET "},
			"htmx":          {get("/form", "HX-Request", "true"), "/form", "GET "},
			"a public page": {get("/"), "", "welcome ada []"},
			"its status":    {get("/sessionguard/status"), "", `"authenticated":true`},
			"the values":    {get("/value?k=a"), "", "kept <nil>"},
		} {
			was := before.bound("ada")
			was.Post("/value?k=a&v=kept")
			advance(20 * time.Minute)
			b := now.moveTo(was)
			b.Device.History()
			resp := test.ask(b)
			require.Equal(t, test.location, resp.Header.Get("Location"), name)
			require.NotContains(t, resp.Body, "ada", name)
			require.Empty(t, b.boundCookies(), name)
			require.Empty(t, b.Device.History(), name)
			require.Contains(t, test.ask(b).Body, test.body, name)
			require.Equal(t, []string{"proven"}, b.Device.History(), name)
			require.Equal(t, "kept <nil>", b.Get("/value?k=a").Body)
		}
	})
}

// A refused request that cannot be sent again is refused as any other. The next one is proven.
func TestAProofThatDoesNotCountIsDeletedWithAnyRefusal(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		before := deviceNode(t, backend, func(c *sessionguard.Config[*user]) { c.DeviceProof = time.Hour })
		now := deviceNode(t, backend)
		b := before.bound("ada")
		advance(20 * time.Minute)
		b = now.moveTo(b)
		resp := b.Get("/home", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Origin", "https://app.example")
		require.Equal(t, "/login?next=%2Fhome&reason=device_unproven", resp.Header.Get("Location"))
		require.Empty(t, b.boundCookies())
		require.Equal(t, "secret of ada", b.Get("/home").Body)
	})
}

// An upload that a handler reads before it needs the session may take longer than its proof
// counts: it was proven when it came.
func TestAnUploadMayTakeLongerThanAProof(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		uploaded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u, ok := s.guard.User(r)
			fmt.Fprint(w, ok && u.ID == "ada")
		})
		for path, h := range map[string]http.Handler{
			"/none": uploaded, "/login-only": s.guard.RequireLogin(uploaded),
			"/bound-only": s.guard.RequireBound(0)(uploaded), "/fresh-only": s.guard.RequireBound(2 * time.Minute)(uploaded),
		} {
			s.mux.HandleFunc("POST /late"+path, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				h.ServeHTTP(w, r)
			})
		}
		b := s.bound("ada")
		for _, path := range []string{"/none", "/login-only", "/bound-only", "/fresh-only"} {
			b.Get("/static")
			advance(time.Minute)
			b.Get("/home")
			reader, writer := io.Pipe()
			r := b.Request("POST", "/late"+path)
			r.Body, r.ContentLength = reader, -1
			go func() {
				for range 25 {
					fmt.Fprint(writer, "part")
					time.Sleep(time.Minute)
				}
				writer.Close()
			}()
			require.Equal(t, "true", b.Do(r).Body, path)
		}
	})
}

// A page for a visitor whose device was not proven says so: it does not tell the tabs in which
// the session's pages are open that nobody is logged in.
func TestScriptTagSaysThatTheDeviceIsUnproven(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		s.mux.HandleFunc("/public", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "<head>%s</head>", s.guard.ScriptTag(r))
		})
		b := s.bound("ada")
		advance(deviceGrace)
		unproven := s.thiefOf(b)
		for client, want := range map[*browser]string{s.browse(): "", b: "", unproven: "true"} {
			tag := scriptTag(t, client.Get("/public").Body)
			require.Equal(t, want, tag["data-unproven"])
			require.Equal(t, client != b, tag["data-session"] == "")
		}
		b.Post("/logout")
		require.Empty(t, scriptTag(t, unproven.Get("/public").Body)["data-unproven"])
	})
}
