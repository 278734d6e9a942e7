package acceptance

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// TestNoRequestWithoutAProofIsAdmittedInStateBound runs logins, bindings, proofs, saves, revivals
// and logouts in random orders, while time passes and a thief uses whatever has ever been sent:
// cookies, offers, challenges, identifiers, and what browsers have signed. The model is what the
// documentation of Config.DeviceProof says. After a proof in time, the honest browser is admitted.
//
// A failure prints its seed and what has happened. To run it again:
//
//	go test ./internal/acceptance -run StateBound -args -seed 42
func TestNoRequestWithoutAProofIsAdmittedInStateBound(t *testing.T) {
	var bound, refused atomic.Int64
	for i := range uint64(60) {
		seed := *randomSeed + i
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				w := newDeviceWorld(t, seed)
				for range 400 {
					w.step()
				}
				bound.Add(w.admitted)
				refused.Add(w.refused)
			})
		})
	}
	t.Logf("%d admitted, %d refused", bound.Load(), refused.Load())
	require.Greater(t, bound.Load(), int64(200), "requests with a proof")
	require.Greater(t, refused.Load(), int64(200), "requests without one, of bound sessions")
}

// A deviceWorld is browsers, a thief who sees everything, and the model.
type deviceWorld struct {
	t       *testing.T
	rand    *rand.Rand
	site    *site
	backend *store.Memory
	history []string

	browsers []*deviceClient // the last is the thief's
	sent     deviceLoot      // everything, also of long ago

	sessions   map[string]*deviceModel // by public ID
	tokens     map[string]string       // public ID by session cookie
	offers     map[string]deviceToken
	challenges map[string]deviceToken
	proofs     map[string]deviceToken // by bound cookie
	named      map[string]string      // public ID by identifier

	admitted, refused int64
}

type deviceClient struct {
	user                         string
	token                        string
	bound                        map[string]string
	key                          *testbrowser.Key
	offer, identifier, challenge string
}

type deviceLoot struct {
	tokens, offers, identifiers, challenges, signed []string
	bound                                           [][2]string
}

// A deviceModel is what must be known of a session.
type deviceModel struct {
	key                *testbrowser.Key
	registered, proven time.Time
	login              time.Time
}

type deviceToken struct {
	session string
	at      time.Time
}

func newDeviceWorld(t *testing.T, seed uint64) *deviceWorld {
	w := &deviceWorld{
		t: t, rand: rand.New(rand.NewPCG(seed, 19)), backend: store.NewMemory(),
		sessions: map[string]*deviceModel{}, tokens: map[string]string{}, named: map[string]string{},
		offers: map[string]deviceToken{}, challenges: map[string]deviceToken{}, proofs: map[string]deviceToken{},
	}
	w.site = deviceSite(t, func(c *sessionguard.Config[*user]) { c.Backend, c.RememberFor = w.backend, twoWeeks })
	w.site.loginOptions = func(string) []sessionguard.LoginOption {
		if w.oneIn(2) {
			return nil
		}
		return []sessionguard.LoginOption{sessionguard.Remember()}
	}
	for _, name := range []string{"ada", "ada", "grace", "grace"} {
		w.browsers = append(w.browsers, &deviceClient{user: name, key: testbrowser.NewKey(), bound: map[string]string{}})
	}
	return w
}

func (w *deviceWorld) oneIn(n int) bool { return w.rand.IntN(n) == 0 }

func (w *deviceWorld) pick(from []string) string {
	if len(from) == 0 {
		return ""
	}
	return from[w.rand.IntN(len(from))]
}

var deviceSteps = []struct {
	weight int
	name   string
	do     func(*deviceWorld, *deviceClient)
}{
	{2, "login", (*deviceWorld).logIn},
	{4, "bind", (*deviceWorld).bind},
	{3, "challenge", (*deviceWorld).ask},
	{6, "prove", (*deviceWorld).prove},
	{6, "visit", (*deviceWorld).visit},
	{2, "save", func(w *deviceWorld, c *deviceClient) { w.send(c, "POST", "/value?k=a&v=1") }},
	{1, "logout", func(w *deviceWorld, c *deviceClient) { w.send(c, "POST", "/logout") }},
	{1, "lose the bound cookies", func(_ *deviceWorld, c *deviceClient) { c.bound = map[string]string{} }},
	{5, "wait", func(w *deviceWorld, _ *deviceClient) {
		d := []time.Duration{time.Second, 25 * time.Second, 35 * time.Second, time.Minute, 5 * time.Minute, deviceProof, 31 * time.Minute, 30 * time.Hour}
		wait := d[min(w.rand.IntN(len(d)), w.rand.IntN(len(d)))]
		w.history = append(w.history, wait.String())
		advance(wait)
	}},
}

func (w *deviceWorld) step() {
	total := 0
	for _, s := range deviceSteps {
		total += s.weight
	}
	i := w.rand.IntN(len(w.browsers))
	c := w.browsers[i]
	if i == len(w.browsers)-1 {
		w.steal(c)
	}
	at := w.rand.IntN(total)
	for _, s := range deviceSteps {
		if at -= s.weight; at < 0 {
			w.history = append(w.history, fmt.Sprint("browser ", i, ": ", s.name))
			s.do(w, c)
			return
		}
	}
}

// steal gives the thief things that were sent at any time, usually some that belong together.
func (w *deviceWorld) steal(c *deviceClient) {
	if w.oneIn(2) {
		victim := w.browsers[w.rand.IntN(len(w.browsers)-1)]
		c.token, c.offer, c.identifier, c.challenge = victim.token, victim.offer, victim.identifier, victim.challenge
		c.bound = map[string]string{}
		if w.oneIn(3) {
			for name, value := range victim.bound {
				c.bound[name] = value
			}
		}
		return
	}
	if t := w.pick(w.sent.tokens); t != "" {
		c.token = t
	}
	c.offer, c.identifier, c.challenge = w.pick(w.sent.offers), w.pick(w.sent.identifiers), w.pick(w.sent.challenges)
	if n := len(w.sent.bound); n > 0 {
		one, other := w.sent.bound[w.rand.IntN(n)], w.sent.bound[w.rand.IntN(n)]
		c.bound[one[0]] = other[1]
	}
}

// send sends a request and keeps what comes back.
func (w *deviceWorld) send(c *deviceClient, method, path string, header ...string) response {
	b := testbrowser.New(w.t, "https://app.example", testbrowser.HandlerTransport{Handler: w.site.server.Config.Handler})
	b.Client.Jar = nil
	r := b.Request(method, path, header...)
	if c.token != "" {
		r.AddCookie(&http.Cookie{Name: sessionCookie, Value: c.token})
	}
	for name, value := range c.bound {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp := b.Do(r)
	for _, got := range resp.Cookies() {
		switch {
		case got.Name == sessionCookie && got.MaxAge < 0:
			c.token = ""
		case got.Name == sessionCookie:
			c.token = got.Value
			w.sent.tokens = append(w.sent.tokens, got.Value)
			record, err := w.backend.Load(w.t.Context(), sha256.Sum256([]byte(sessionCookie+"\x00"+got.Value)))
			w.check(err == nil || !errors.Is(err, store.ErrNotFound), "a session cookie names no session")
			w.tokens[got.Value] = record.ID
		case got.MaxAge < 0:
			delete(c.bound, got.Name)
		case got.Name != visitorCookie: // what visitors save is their own
			c.bound[got.Name] = got.Value
			w.sent.bound = append(w.sent.bound, [2]string{got.Name, got.Value})
		}
	}
	if m := offered.FindStringSubmatch(resp.Header.Get("Secure-Session-Registration")); m != nil {
		c.offer = m[1]
		w.sent.offers = append(w.sent.offers, m[1])
		w.offers[m[1]] = deviceToken{w.tokens[c.token], time.Now()}
	}
	return resp
}

func (w *deviceWorld) check(ok bool, what string) {
	w.t.Helper()
	if !ok {
		w.t.Fatalf("%s\n%s", what, strings.Join(w.history, "\n"))
	}
}

// provenBy reports whether c's cookies prove the device of the session that they name.
func (w *deviceWorld) provenBy(c *deviceClient, id string) bool {
	for name, value := range c.bound {
		proof, ok := w.proofs[value]
		if ok && strings.HasPrefix(name, boundCookie+id[:8]) && proof.session == id && time.Since(proof.at) < deviceProof+deviceSlack {
			return true
		}
	}
	return false
}

// mayUse reports whether c may use the session of its cookie as far as its device goes.
func (w *deviceWorld) mayUse(c *deviceClient) bool {
	id := w.tokens[c.token]
	m := w.sessions[id]
	return id == "" || m == nil || m.proven.IsZero() || time.Since(m.proven) < deviceGrace || w.provenBy(c, id)
}

func (w *deviceWorld) logIn(c *deviceClient) {
	before, allowed := w.tokens[c.token], w.mayUse(c)
	resp := w.send(c, "POST", "/login?user="+c.user)
	w.check(resp.StatusCode == http.StatusSeeOther, resp.Body)
	id := w.tokens[c.token]
	w.check(id != before || allowed, "a login without a proof has renewed a bound session")
	if w.sessions[id] == nil {
		w.sessions[id] = &deviceModel{}
	}
	w.check(w.sessions[id].proven.IsZero() || resp.Header.Get("Secure-Session-Registration") == "", "a bound session is offered a binding")
	w.sessions[id].login = time.Now()
}

func (w *deviceWorld) visit(c *deviceClient) {
	id, allowed := w.tokens[c.token], w.mayUse(c)
	strict := id != "" && w.sessions[id] != nil && !w.sessions[id].proven.IsZero() && w.provenBy(c, id)
	path := []string{"/poll", "/home", "/admin", "/bound", "/value?k=a"}[w.rand.IntN(5)]
	resp := w.send(c, "GET", path)
	in := strings.HasPrefix(resp.Body, "secret of ") || resp.Body == "bound" || resp.Body == "1 <nil>" && id != ""
	w.check(!in || allowed, path+" admits a request without a proof")
	w.check(resp.Body != "bound" || strict, "RequireBound admits a request without a proof")
	switch {
	case !allowed:
		w.refused++
	case in && strict:
		w.admitted++
	}
}

func (w *deviceWorld) bind(c *deviceClient) {
	if c.offer == "" {
		return
	}
	signed := c.key.Registration(c.offer)
	offer, known := w.offers[c.offer]
	m := w.sessions[offer.session]
	resp := w.send(c, "POST", bindPath, "Secure-Session-Response", signed)
	w.sent.signed = append(w.sent.signed, signed)
	if resp.StatusCode != http.StatusOK {
		w.check(len(resp.Cookies()) == 0, "a refused registration sets a cookie")
		return
	}
	w.check(known && time.Since(offer.at) < 5*time.Minute, "an offer is taken too late")
	w.check(m.proven.IsZero() && !m.registered.After(m.login) && !offer.at.Before(m.login), "an offer is taken twice, or is of another login")
	m.key, m.registered = c.key, time.Now()
	c.identifier = identified.FindStringSubmatch(resp.Body)[1]
	w.named[c.identifier] = offer.session
	w.sent.identifiers = append(w.sent.identifiers, c.identifier)
	w.proofs[lastCookie(resp)] = offer
}

func (w *deviceWorld) ask(c *deviceClient) {
	resp := w.send(c, "POST", provePath, "Sec-Secure-Session-Id", c.identifier)
	w.check(len(resp.Cookies()) == 0, "a cookie without a proof")
	if m := challenged.FindStringSubmatch(resp.Header.Get("Secure-Session-Challenge")); m != nil {
		c.challenge = m[1]
		w.sent.challenges = append(w.sent.challenges, m[1])
		w.challenges[m[1]] = deviceToken{w.named[c.identifier], time.Now()}
	}
}

// prove sends a proof, usually of a new challenge. The thief also sends what others have signed.
func (w *deviceWorld) prove(c *deviceClient) {
	if !w.oneIn(4) {
		w.ask(c)
	}
	signed, recorded := c.key.Proof(c.challenge), false
	if c == w.browsers[len(w.browsers)-1] && w.oneIn(2) && len(w.sent.signed) > 0 {
		signed, recorded = w.pick(w.sent.signed), true
	}
	id := w.named[c.identifier]
	resp := w.send(c, "POST", provePath, "Sec-Secure-Session-Id", c.identifier, "Secure-Session-Response", signed)
	if !recorded {
		w.sent.signed = append(w.sent.signed, signed)
	}
	if len(resp.Cookies()) == 0 {
		return
	}
	made, m := w.challenges[challengeOf(signed)], w.sessions[id]
	w.check(made.session == id && !made.at.Before(m.registered), "a challenge of another session is taken")
	w.check(time.Since(made.at) < time.Minute, "an old challenge is taken")
	w.check(recorded || m.key == c.key, "a proof by another key is taken")
	if m.proven.IsZero() {
		m.proven = time.Now()
	}
	w.proofs[lastCookie(resp)] = made
	if w.tokens[c.token] != id {
		return
	}
	record, err := w.backend.Load(w.t.Context(), sha256.Sum256([]byte(sessionCookie+"\x00"+c.token)))
	if err == nil && time.Since(record.LastSeen.Time()) < record.IdleTimeout {
		w.check(strings.HasPrefix(w.send(c, "GET", "/poll").Body, "secret of "), "the honest browser is refused after its proof")
		w.admitted++
	}
}

// lastCookie returns the value of a proof's bound cookie, before which older ones are deleted.
func lastCookie(resp response) string { return resp.Cookies()[len(resp.Cookies())-1].Value }

// challengeOf returns the challenge that a JWS signs.
func challengeOf(jws string) string {
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(jws, ".")[1])
	if err != nil {
		panic(err)
	}
	var claims struct{ Jti string }
	if err := json.Unmarshal(payload, &claims); err != nil {
		panic(err)
	}
	return claims.Jti
}
