package testbrowser_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

const (
	attributes   = "Path=/; HttpOnly; Secure; SameSite=Lax"
	instructions = `{"session_identifier":"id","refresh_url":"/prove","scope":{"include_site":false},
		"credentials":[{"type":"cookie","name":"bound","attributes":"` + attributes + `"}],"allowed_refresh_initiators":["*"]}`
)

// deviceServer offers a registration at /login, and is registered at /bind and proven to at
// /prove. It describes each request that it gets.
type deviceServer struct {
	mu           sync.Mutex
	got          []string
	offer        string
	instructions string
	maxAge       int
	prove        http.HandlerFunc // answers a request to /prove that has a proof
}

func (s *deviceServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var cookies []string
	for _, c := range r.Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	proof := r.Header.Get("Secure-Session-Response")
	s.got = append(s.got, strings.TrimSpace(fmt.Sprint(r.Method, " ", r.URL.Path, " ", strings.Join(cookies, " "))))
	switch r.URL.Path {
	case "/login":
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "s", Path: "/", Secure: true})
		w.Header().Set("Secure-Session-Registration", s.offer)
	case "/bind":
		s.setBound(w)
		fmt.Fprint(w, s.instructions)
	case "/prove":
		if proof == "" {
			challengeWith(w, "fresh")
			return
		}
		s.prove(w, r)
	default:
		fmt.Fprint(w, r.Header.Get("Secure-Session-Skipped"))
	}
}

func challengeWith(w http.ResponseWriter, challenge string) {
	w.Header().Set("Secure-Session-Challenge", `"`+challenge+`";id="id"`)
	w.WriteHeader(http.StatusForbidden)
}

func (s *deviceServer) setBound(w http.ResponseWriter) {
	w.Header().Add("Set-Cookie", fmt.Sprintf("bound=b; Max-Age=%d; %s", s.maxAge, attributes))
}

func (s *deviceServer) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

// withDevice runs a test with a browser that has a device, on a clock of its own.
func withDevice(t *testing.T, test func(t *testing.T, s *deviceServer, b *testbrowser.Browser)) {
	synctest.Test(t, func(t *testing.T) {
		s := &deviceServer{offer: `(ES256 RS256);path="/bind";challenge="offered"`, instructions: instructions, maxAge: 600}
		s.prove = func(w http.ResponseWriter, r *http.Request) { s.setBound(w) }
		b := testbrowser.New(t, "https://app.example", testbrowser.HandlerTransport{Handler: s})
		b.Device = testbrowser.NewDevice()
		test(t, s, b)
	})
}

func TestDeviceRegistersAndProvesWhenTheCookieHasRunOut(t *testing.T) {
	withDevice(t, func(t *testing.T, s *deviceServer, b *testbrowser.Browser) {
		b.Post("/login")
		require.Equal(t, []string{"POST /login", "POST /bind session=s"}, s.take())
		require.Equal(t, []string{"id"}, b.Device.Identifiers())
		time.Sleep(8 * time.Minute)
		b.Get("/page")
		require.Equal(t, []string{"GET /page bound=b session=s"}, sorted(s.take()), "two minutes are left")

		time.Sleep(time.Second)
		b.Get("/page")
		require.Equal(t, []string{"GET /page bound=b session=s", "POST /prove bound=b session=s", "POST /prove bound=b session=s"}, sorted(s.take()))

		time.Sleep(10*time.Minute - time.Nanosecond)
		require.Contains(t, b.Cookies(), "bound")
		time.Sleep(time.Nanosecond)
		require.NotContains(t, b.Cookies(), "bound", "the jar forgets at Max-Age")
		b.Get("/page")
		require.Equal(t, []string{"POST /prove session=s", "GET /page bound=b session=s"}, sorted(s.take()), "the proof before is sent again")
		b.Device.Expire()
		b.Get("/page")
		require.Equal(t, []string{"registered", "proven", "proven", "proven"}, b.Device.History())
		require.Empty(t, b.Device.History())
	})
}

// sorted sorts the cookies of each request, which a jar sends in order of their making.
func sorted(requests []string) []string {
	for i, r := range requests {
		requests[i] = strings.Replace(r, "session=s bound=b", "bound=b session=s", 1)
	}
	return requests
}

func TestDeviceDoesAsChromiumDoesAfterAFailedProof(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }
	}
	for name, test := range map[string]struct {
		prove   http.HandlerFunc
		posts   int
		history string
		skipped string
	}{
		"200 without a cookie":  {status(200), 2, "nothing", ""},
		"302":                   {status(302), 2, "nothing", ""},
		"401":                   {status(401), 2, "ended", ""},
		"429":                   {status(429), 2, "ended", ""},
		"403 without challenge": {status(403), 4, "ended", ""},
		"403 again and again":   {func(w http.ResponseWriter, _ *http.Request) { challengeWith(w, "another") }, 4, "ended", ""},
		"500":                   {status(500), 2, "server_error", `server_error;session_identifier="id"`},
		"503":                   {status(503), 2, "server_error", `server_error;session_identifier="id"`},
		"continue false":        {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"continue":false}`) }, 2, "ended", ""},
	} {
		t.Run(name, func(t *testing.T) {
			withDevice(t, func(t *testing.T, s *deviceServer, b *testbrowser.Browser) {
				b.Post("/login")
				s.prove = test.prove
				time.Sleep(10 * time.Minute)
				s.take()
				require.Equal(t, test.skipped, b.Get("/page").Body)
				require.Len(t, s.take(), test.posts+1)
				require.Equal(t, []string{"registered", test.history}, b.Device.History())
				require.Equal(t, test.history != "ended", len(b.Device.Identifiers()) == 1)

				s.prove = func(w http.ResponseWriter, r *http.Request) { s.setBound(w) }
				b.Get("/page")
				require.Equal(t, test.history != "ended", b.Cookies()["bound"] == "b", "it tries again unless it has ended")
			})
		})
	}
}

func TestDeviceSaysThatTheServerIsUnreachable(t *testing.T) {
	withDevice(t, func(t *testing.T, s *deviceServer, b *testbrowser.Browser) {
		b.Post("/login")
		time.Sleep(10 * time.Minute)
		b.Client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/prove" {
				return nil, errors.New("no route")
			}
			return testbrowser.HandlerTransport{Handler: s}.RoundTrip(r)
		})
		require.Equal(t, `unreachable;session_identifier="id"`, b.Get("/page").Body)
		require.Equal(t, []string{"id"}, b.Device.Identifiers())
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestDeviceSendsNoCookiesForAnotherSite(t *testing.T) {
	withDevice(t, func(t *testing.T, s *deviceServer, b *testbrowser.Browser) {
		b.Post("/login", "Sec-Fetch-Site", "cross-site")
		require.Equal(t, []string{"POST /login", "POST /bind"}, s.take())
		time.Sleep(10 * time.Minute)
		b.Get("/page", "Sec-Fetch-Site", "cross-site")
		require.Equal(t, []string{"POST /prove", "POST /prove", "GET /page bound=b session=s"}, sorted(s.take()))

		s.instructions = strings.Replace(instructions, `["*"]`, `[]`, 1)
		b.Post("/login")
		time.Sleep(10 * time.Minute)
		s.take()
		require.Empty(t, b.Get("/page", "Sec-Fetch-Site", "cross-site").Body)
		require.Equal(t, []string{"GET /page session=s"}, s.take(), "no proof, and nothing says so")
	})
}

func TestDeviceTakesNoOfferThatChromiumRefuses(t *testing.T) {
	for _, offer := range []string{
		``, `("ES256");path="/bind";challenge="c"`, `(none);path="/bind";challenge="c"`, `(ES256);path="/bind"`,
	} {
		withDevice(t, func(t *testing.T, s *deviceServer, b *testbrowser.Browser) {
			s.offer = offer
			b.Post("/login")
			require.Equal(t, []string{"POST /login"}, s.take(), offer)
		})
	}
	for _, replaced := range [][2]string{
		{`"include_site":false`, ``}, {`"type":"cookie"`, `"type":"token"`}, {`"id"`, `""`}, {`{`, ``},
	} {
		withDevice(t, func(t *testing.T, s *deviceServer, b *testbrowser.Browser) {
			s.instructions = strings.Replace(instructions, replaced[0], replaced[1], 1)
			b.Post("/login")
			require.Equal(t, []string{"refused"}, b.Device.History(), replaced)
		})
	}
	withDevice(t, func(t *testing.T, s *deviceServer, b *testbrowser.Browser) {
		s.instructions = strings.Replace(instructions, "Path=/", "Path=/sub", 1)
		b.Post("/login")
		s.take()
		b.Get("/page")
		b.Get("/page")
		require.Len(t, s.take(), 2+2+1, "a cookie with other attributes never counts")
	})
}

func TestDeviceRegistersWhenTheTestSaysSo(t *testing.T) {
	withDevice(t, func(t *testing.T, s *deviceServer, b *testbrowser.Browser) {
		b.Device.Manual, b.Device.Quoted, b.Device.NewKey = true, true, testbrowser.RSAKey
		b.Post("/login")
		require.Empty(t, b.Device.Identifiers())
		thief := b.Copy()
		b.Device.Register(b)
		require.Equal(t, []string{"id"}, b.Device.Identifiers())
		require.Equal(t, "RS256", b.Device.Key("id").Algorithm())
		require.Nil(t, b.Device.Key("other"))
		b.Device.Register(b)
		require.Equal(t, []string{"registered"}, b.Device.History(), "once")
		require.Nil(t, thief.Device)

		s.prove = func(w http.ResponseWriter, r *http.Request) {
			require.Equal(t, "https://app.example", r.Header.Get("Origin"))
			require.Equal(t, `"id"`, r.Header.Get("Sec-Secure-Session-Id"))
			require.True(t, strings.HasPrefix(r.Header.Get("Secure-Session-Response"), `"ey`))
			s.setBound(w)
		}
		time.Sleep(10 * time.Minute)
		b.Get("/page")
		require.Equal(t, []string{"proven"}, b.Device.History())
		b.Device.Forget()
		time.Sleep(10 * time.Minute)
		s.take()
		b.Get("/page")
		require.Equal(t, []string{"GET /page session=s"}, s.take())
	})
}

func TestRequestsWaitForOneProof(t *testing.T) {
	withDevice(t, func(t *testing.T, s *deviceServer, b *testbrowser.Browser) {
		b.Post("/login")
		time.Sleep(10 * time.Minute)
		b.Client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return testbrowser.HandlerTransport{Handler: s}.RoundTrip(r)
		})
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				resp, err := b.At("https://app.example").Send(b.Request("GET", "/page"))
				require.NoError(t, err)
				require.Equal(t, 200, resp.StatusCode)
			})
		}
		group.Wait()
		require.Equal(t, []string{"registered", "proven"}, b.Device.History())
		for _, request := range sorted(s.take())[4:] {
			require.Equal(t, "GET /page bound=b session=s", request)
		}
	})
}

func TestKeysSignAsTheirAlgorithmsSay(t *testing.T) {
	decode := func(text any) []byte {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(text.(string))
		require.NoError(t, err)
		return raw
	}
	number := func(text any) *big.Int { return new(big.Int).SetBytes(decode(text)) }
	for _, key := range []*testbrowser.Key{testbrowser.NewKey(), testbrowser.RSAKey()} {
		jws := key.Registration("c", func(header map[string]any) { header["kid"] = "k" })
		parts := strings.Split(jws, ".")
		require.Len(t, parts, 3)
		var header struct {
			Alg, Typ, Kid string
			JWK           map[string]any
		}
		require.NoError(t, json.Unmarshal(decode(parts[0]), &header))
		require.Equal(t, `{"jti":"c"}`, string(decode(parts[1])))
		require.Equal(t, "dbsc+jwt", header.Typ)
		require.Equal(t, "k", header.Kid)
		digest, signature := sha256.Sum256([]byte(parts[0]+"."+parts[1])), decode(parts[2])
		switch header.Alg {
		case "ES256":
			point := slices.Concat([]byte{4}, number(header.JWK["x"]).FillBytes(make([]byte, 32)), number(header.JWK["y"]).FillBytes(make([]byte, 32)))
			public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
			require.NoError(t, err)
			require.Len(t, signature, 64)
			require.True(t, ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])))
		case "RS256":
			public := rsa.PublicKey{N: number(header.JWK["n"]), E: int(number(header.JWK["e"]).Int64())}
			require.NoError(t, rsa.VerifyPKCS1v15(&public, crypto.SHA256, digest[:], signature))
		default:
			require.Fail(t, header.Alg)
		}
		require.NotContains(t, string(decode(strings.Split(key.Proof("c"), ".")[0])), "jwk")
	}
}
