package testbrowser

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Device makes a browser speak Device Bound Session Credentials
// (https://w3c.github.io/webappsec-dbsc/), as Chromium 156 does. At a response with
// Secure-Session-Registration it makes a key and registers it. A later request waits until
// the bound cookie is there: the device proves that it has the key, and gets a new one.
//
// Unlike Chromium's, a registration is over before the response that offered it is
// returned, and so is a proof that need not come before the request. Requests from other
// sites, which have "Sec-Fetch-Site: cross-site", cause registrations and proofs without
// cookies. Quotas are not simulated.
type Device struct {
	// NewKey makes the key of a registration. Default: [NewKey].
	NewKey func() *Key
	// Manual leaves registrations to Register.
	Manual bool
	// Quoted makes the device send structured strings, as the draft says. Chromium 156 does
	// not quote them.
	Quoted bool

	turn     chan struct{} // full while somebody uses what follows; testing/synctest waits for channels
	offers   []offer
	sessions []*deviceSession
	history  []string
}

// An offer is a response that has offered a registration.
type offer struct {
	path, challenge string
	crossSite       bool
}

// A deviceSession is what the browser keeps of one registration.
type deviceSession struct {
	identifier string
	refreshURL string
	cookie     string   // the name of the bound cookie
	attributes []string // sorted, those that must match
	anyOrigin  bool     // allowed_refresh_initiators
	key        *Key
	proof      string    // of the last challenge, sent until there is another
	matches    bool      // the cookie that was set last had these attributes
	expires    time.Time // of that cookie
}

// NewDevice returns a device without keys, for [Browser.Device].
func NewDevice() *Device { return &Device{NewKey: NewKey, turn: make(chan struct{}, 1)} }

func (d *Device) lock()   { d.turn <- struct{}{} }
func (d *Device) unlock() { <-d.turn }

// Identifiers returns the identifiers of the device sessions, oldest first.
func (d *Device) Identifiers() (all []string) {
	d.lock()
	defer d.unlock()
	for _, s := range d.sessions {
		all = append(all, s.identifier)
	}
	return all
}

// Key returns the key of a device session, or nil.
func (d *Device) Key(identifier string) *Key {
	d.lock()
	defer d.unlock()
	for _, s := range d.sessions {
		if s.identifier == identifier {
			return s.key
		}
	}
	return nil
}

// Forget removes all keys, and offers that wait for Register.
func (d *Device) Forget() {
	d.lock()
	defer d.unlock()
	d.sessions, d.offers = nil, nil
}

// History returns what has happened since the last call: "registered", "refused" (a
// registration), "proven", "ended", "server_error", "unreachable", or "nothing" (a proof that
// brought no cookie, and after which the device session goes on).
func (d *Device) History() []string {
	d.lock()
	defer d.unlock()
	history := d.history
	d.history = nil
	return history
}

// Expire makes the device prove before the next request, as if the bound cookies had run out.
// Requests that have begun still send them.
func (d *Device) Expire() {
	d.lock()
	defer d.unlock()
	for _, s := range d.sessions {
		s.expires = time.Time{}
	}
}

// Register registers a key for each offer that b has received since Manual was set.
func (d *Device) Register(b *Browser) {
	d.lock()
	defer d.unlock()
	for _, o := range d.offers {
		d.register(b, o)
	}
	d.offers = nil
}

// before proves what a request needs, which may wait for other requests to do so. It returns
// the device sessions whose proof runs out within two minutes.
func (d *Device) before(b *Browser, r *http.Request) (soon []*deviceSession) {
	d.lock()
	defer d.unlock()
	for _, s := range slices.Clone(d.sessions) {
		if isCrossSite(r) && !s.anyOrigin || r.URL.Path == s.refreshURL {
			continue
		}
		left := s.left(b)
		if left <= 0 {
			if failed := d.prove(b, s, isCrossSite(r)); failed != "" {
				r.Header.Add("Secure-Session-Skipped", fmt.Sprintf("%s;session_identifier=%q", failed, s.identifier))
			}
		} else if left < 2*time.Minute {
			soon = append(soon, s)
		}
	}
	return soon
}

// after registers what a response has offered, and proves soon.
func (d *Device) after(b *Browser, resp *http.Response, soon []*deviceSession) {
	d.lock()
	defer d.unlock()
	d.noteCookies(resp)
	for _, o := range offersOf(resp) {
		if d.Manual {
			d.offers = append(d.offers, o)
		} else {
			d.register(b, o)
		}
	}
	for _, s := range soon {
		if slices.Contains(d.sessions, s) && s.left(b) < 2*time.Minute {
			d.prove(b, s, isCrossSite(resp.Request))
		}
	}
}

func isCrossSite(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Site") == "cross-site" }

var registration = regexp.MustCompile(`^\((?:ES256|RS256)(?: (?:ES256|RS256))*\);path="([^"]+)";challenge="([^"]+)"$`)

func offersOf(resp *http.Response) (all []offer) {
	for _, value := range resp.Header["Secure-Session-Registration"] {
		if m := registration.FindStringSubmatch(value); m != nil {
			all = append(all, offer{m[1], m[2], isCrossSite(resp.Request)})
		}
	}
	return all
}

func (d *Device) register(b *Browser, o offer) {
	key := d.NewKey()
	resp, body, err := d.post(b, o.path, o.crossSite, "Secure-Session-Response", d.quote(key.Registration(o.challenge)))
	if err != nil || resp.StatusCode/100 != 2 {
		d.note("refused")
		return
	}
	s := &deviceSession{key: key}
	if !s.instruct(body) {
		d.note("refused")
		return
	}
	d.sessions = slices.DeleteFunc(d.sessions, func(other *deviceSession) bool { return other.identifier == s.identifier })
	d.sessions = append(d.sessions, s)
	d.noteCookies(resp)
	d.note("registered")
}

// maxPosts limits the requests of one proof.
const maxPosts = 4

var challenge = regexp.MustCompile(`^"([^"]+)";id="([^"]+)"$`)

// prove gets a new bound cookie. If that has failed for now, it returns what a request says
// of that in Secure-Session-Skipped.
func (d *Device) prove(b *Browser, s *deviceSession, crossSite bool) (failed string) {
	for range maxPosts {
		header := []string{"Sec-Secure-Session-Id", d.quote(s.identifier)}
		if s.proof != "" {
			header = append(header, "Secure-Session-Response", d.quote(s.proof))
		}
		resp, body, err := d.post(b, s.refreshURL, crossSite, header...)
		switch {
		case err != nil:
			d.note("unreachable")
			return "unreachable"
		case resp.StatusCode/100 == 5:
			d.note("server_error")
			return "server_error"
		case resp.StatusCode/100 == 2:
			if s.instruct(body); s.identifier == "" {
				d.end(s)
				return ""
			}
			if d.noteCookies(resp); s.left(b) > 0 {
				d.note("proven")
			} else {
				d.note("nothing")
			}
			return ""
		case resp.StatusCode/100 == 3:
			d.note("nothing")
			return ""
		case resp.StatusCode != http.StatusForbidden:
			d.end(s)
			return ""
		}
		if m := challenge.FindStringSubmatch(resp.Header.Get("Secure-Session-Challenge")); m != nil && m[2] == s.identifier {
			s.proof = s.key.Proof(m[1])
		}
	}
	d.end(s)
	return ""
}

func (d *Device) end(s *deviceSession) {
	d.sessions = slices.DeleteFunc(d.sessions, func(other *deviceSession) bool { return other == s })
	d.note("ended")
}

func (d *Device) note(what string) { d.history = append(d.history, what) }

// post sends a request of the browser's own, which reads and keeps cookies unless another
// site has caused it: then it only keeps them.
func (d *Device) post(b *Browser, path string, crossSite bool, header ...string) (*http.Response, string, error) {
	r := b.Request("POST", path, header...)
	for name, values := range b.Header {
		if name != "Accept" {
			r.Header[name] = values
		}
	}
	r.Header.Set("Origin", b.URL)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Mode", "no-cors")
	client := *b.Client
	if crossSite {
		client.Jar = keepingJar{client.Jar}
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b.receive(resp)
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// keepingJar keeps cookies and sends none.
type keepingJar struct{ http.CookieJar }

func (keepingJar) Cookies(*url.URL) []*http.Cookie { return nil }

func (d *Device) quote(text string) string {
	if d.Quoted {
		return `"` + text + `"`
	}
	return text
}

// instruct reads the JSON of a response and reports whether it describes a device session.
// With {"continue":false}, the device session loses its identifier.
func (s *deviceSession) instruct(body string) bool {
	var in struct {
		Identifier string `json:"session_identifier"`
		RefreshURL string `json:"refresh_url"`
		Continue   *bool  `json:"continue"`
		Scope      struct {
			IncludeSite *bool `json:"include_site"`
		} `json:"scope"`
		Credentials []struct{ Type, Name, Attributes string } `json:"credentials"`
		Initiators  []string                                  `json:"allowed_refresh_initiators"`
	}
	if json.Unmarshal([]byte(body), &in) != nil {
		return false
	}
	if in.Continue != nil && !*in.Continue {
		s.identifier = ""
		return false
	}
	if in.Identifier == "" || in.RefreshURL == "" || in.Scope.IncludeSite == nil || len(in.Credentials) != 1 || in.Credentials[0].Type != "cookie" {
		return false
	}
	s.identifier, s.refreshURL, s.cookie = in.Identifier, in.RefreshURL, in.Credentials[0].Name
	s.attributes = matching(in.Credentials[0].Attributes)
	s.anyOrigin = slices.Contains(in.Initiators, "*")
	return true
}

// noteCookies notes when bound cookies expire.
func (d *Device) noteCookies(resp *http.Response) {
	for _, c := range resp.Cookies() {
		for _, s := range d.sessions {
			if c.Name == s.cookie {
				_, attributes, _ := strings.Cut(c.Raw, ";")
				s.matches = slices.Equal(matching(attributes), s.attributes)
				s.expires = time.Now().Add(time.Duration(c.MaxAge) * time.Second)
			}
		}
	}
}

// matching returns the attributes of a cookie that must be those of the instructions.
func matching(attributes string) (all []string) {
	for part := range strings.SplitSeq(attributes, ";") {
		part = strings.ToLower(strings.TrimSpace(part))
		if name, _, _ := strings.Cut(part, "="); name != "max-age" && name != "expires" && name != "" {
			all = append(all, part)
		}
	}
	slices.Sort(all)
	return all
}

// left returns for how long b will still send the bound cookie. Only one with Max-Age counts.
func (s *deviceSession) left(b *Browser) time.Duration {
	if _, sent := b.Cookies()[s.cookie]; !sent || !s.matches {
		return 0
	}
	return time.Until(s.expires)
}
