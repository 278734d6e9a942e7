package sessionguard

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"html"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/factor"
	"github.com/sessionguard-go/sessionguard/internal/fetch"
	"github.com/sessionguard-go/sessionguard/internal/localpath"
	"github.com/sessionguard-go/sessionguard/store"
)

//go:embed guard.js
var guardSource []byte

// guardScript is the script as it is served: without indentation and comments, which all
// have the form " // …", it is a fifth shorter (compressed).
var guardScript = func() (script []byte) {
	for line := range bytes.Lines(guardSource) {
		code, _, _ := bytes.Cut(append([]byte(" "), line...), []byte(" // "))
		if code = bytes.TrimSpace(code); len(code) > 0 {
			script = append(append(script, code...), '\n')
		}
	}
	return script
}()

// guardScriptName changes with the script, so that browsers may cache it for ever.
var guardScriptName = func() string {
	sum := sha256.Sum256(guardScript)
	return "guard." + hex.EncodeToString(sum[:8]) + ".js"
}()

// Script serves the guard script and the routes that it uses. Mount it at
// Config.ScriptPath, without a gate around it:
//
//	mux.Handle("/sessionguard/", guard.Script())
//
// If the http.ServeMux also has a pattern such as "GET /", register two patterns: "GET
// /sessionguard/" and "POST /sessionguard/". Put [Guard.ScriptTag] in the head of every page
// that is only for logged-in users, before anything that users write, because markup could
// swallow a later tag.
//
// In the browser the script
//
//   - hides the page when the browser leaves it, and shows it again on Back only if the
//     server confirms that the session it was made for is alive. Without the script,
//     current Chromium shows such a page for up to three minutes after a silent expiry,
//     whatever its headers (measured with Chromium 156). The script does the same with a
//     prerendered page. It also keeps a view transition from showing the page on the next
//     one, except after a link without a redirect;
//   - counts down to the end of the session by the server's time, and warns a minute before.
//     At the end it takes the page off the screen and goes to Config.LoginPath, with the page
//     as "next" (without its fragment, which the server never learns) and the
//     [Guard.EndReason] as "reason". It checks the session just before, because an upload may
//     have extended it. If the server cannot be reached, the page is hidden all the same
//     (OWASP ASVS 14.3.1), until the server confirms the session. An upload from it goes on.
//     While the browser cannot prove the device (Config.DeviceProof), the page stays on the
//     screen, at most until the session would have timed out;
//   - keeps tabs in step: a logout, or a login as another user, takes the pages of all
//     other tabs away at once, and a warning that is dismissed in one tab closes in all;
//   - checks the session when Turbo or htmx (2 and 4) has loaded something without loading a
//     document. It does so too when the page dispatches the event sessionguard:check on the
//     document, as it should after a login or logout by fetch. If the session is then another
//     one, or none, the script loads a new document, without the copies of pages that these
//     libraries keep for Back. docs/front-ends.md says what to set.
//
// The script is one file without dependencies. It works under a Content-Security-Policy of
// default-src 'self', and whatever names the page's elements have ("DOM clobbering"). It
// makes no security decisions: a client that does not run it gets nothing it would not get
// otherwise. Its routes never change a timeout beyond what any other request of the same
// client would. They refuse what pages of other origins load, as gates do, except for the
// script.
//
//	GET  guard.….js  the script, immutable; guard.js is the same for pages
//	                 without a ScriptTag, such as a static index.html
//	GET  status      as [Guard.Status]
//	POST stay        the same, and counts as activity
//	GET  resume      redirects to "next" if a user is logged in, else to Config.LoginPath
//	GET  continue    the same, and revives a remembered session (for AuthRequest)
//	POST logout      [Guard.Logout] to Config.WelcomePath
//	POST bind, prove where browsers register and prove devices (Config.DeviceProof)
func (g *core) Script() http.Handler {
	g.scriptServed.Store(true)
	status, stay := g.Status(), g.statusHandler(http.MethodPost)
	continued, logout := g.resume(), g.Logout(g.welcome.Target)
	resume := g.Passive(continued)
	bind, prove := g.bind(), g.prove()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The last segment, since a router may have stripped a prefix.
		switch name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]; name {
		case "status":
			status.ServeHTTP(w, r)
		case "stay":
			stay.ServeHTTP(w, r)
		case "resume":
			resume.ServeHTTP(w, r)
		case "continue":
			continued.ServeHTTP(w, r)
		case "logout":
			logout.ServeHTTP(w, r)
		case "bind":
			bind.ServeHTTP(w, r)
		case "prove":
			prove.ServeHTTP(w, r)
		default:
			if strings.HasPrefix(name, "guard.") && strings.HasSuffix(name, ".js") {
				serveScript(w, r, name)
			} else {
				http.NotFound(w, r)
			}
		}
	})
}

// serveScript serves this version of the script under the name of any: while a new version
// is rolled out, a page of one node may request its script from another.
func serveScript(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		methodNotAllowed(w, "GET, HEAD")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", `"`+guardScriptName+`"`)
	h.Set("Cache-Control", "no-cache")
	if name == guardScriptName {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if _, ok := r.Header["Range"]; ok { // thousands of which make a response of megabytes
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(guardScript))
}

// resume is where the script goes when it has taken a page away: the server decides what
// comes next.
func (c *core) resume() http.Handler {
	return c.isolate(func(req *request, w http.ResponseWriter, r *http.Request) {
		if !req.accepts(w, http.MethodGet, http.MethodHead) {
			return
		}
		next := c.Next(r, "")
		switch id := req.authenticate(r.Context()); {
		case id.err != nil:
			c.refuse(req, w, r, unavailable)
		case id.user != nil && next != "":
			http.Redirect(w, r, next, http.StatusSeeOther)
		case id.user != nil:
			http.Redirect(w, r, c.welcome.Target, http.StatusSeeOther)
		case id.pending && (c.refusals.Factor != nil || fetch.KindOf(r) != fetch.Navigation):
			c.challengeAndRefuse(req, w, r, factorRequired, demand{challenge: c.stepUp})
		case id.pending:
			http.Redirect(w, r, c.factor.With("next", exceptFor(c.factor, next)), http.StatusSeeOther)
		case c.refusals.Login != nil || fetch.KindOf(r) != fetch.Navigation:
			c.refuse(req, w, r, loginRequired)
		default:
			http.Redirect(w, r, c.login.With("next", exceptFor(c.login, next), "reason", string(req.resumeReason(r))), http.StatusSeeOther)
		}
	})
}

// exceptFor returns next, or "" if that is page.
func exceptFor(page localpath.Page, next string) string {
	if u, err := url.Parse(next); err != nil || u.Path == page.Path {
		return ""
	}
	return next
}

// resumeReason returns why a page's session ended. If the server no longer knows, it is
// what the script's countdown says.
func (req *request) resumeReason(r *http.Request) store.Reason {
	l := req.lock()
	defer l.unlock()
	known := l.endReason()
	if known == "" || known == store.ReasonExpired {
		switch reason := store.Reason(formValue(r, "reason")); reason {
		case store.ReasonIdle, store.ReasonAbsolute:
			return reason
		}
	}
	return known
}

// accepts reports whether the request arrived with one of methods, whatever a middleware
// inside the guard has made of it. If not, it responds with 405, which is not cached,
// because that would outlive the mistake.
func (req *request) accepts(w http.ResponseWriter, methods ...string) bool {
	if slices.Contains(methods, req.caller.Method) {
		return true
	}
	l := req.lock()
	l.neverCache()
	l.unlock()
	methodNotAllowed(w, strings.Join(methods, ", "))
	return false
}

func methodNotAllowed(w http.ResponseWriter, allowed string) {
	w.Header().Set("Allow", allowed)
	http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
}

// ScriptTag returns the script element of the guard script, for the head of a page:
//
//	<head>{{.Script}}…      with Script: guard.ScriptTag(r)
//
// The element names the session that the page is made for, and says how long it has to live.
// So the script sends no request when the page is loaded. A visitor's page takes the pages of
// other tabs away, unless the browser may only have to prove its device. Like everything that
// uses the session, ScriptTag keeps the response out of caches. Call it before writing.
//
// attributes are names and values of attributes to add: texts in another language, what the
// script should do, and a nonce:
//
//	guard.ScriptTag(r, "nonce", nonce, "data-activity", "on", "data-idle-title", "Noch da?")
//
//	data-warn       seconds before the end to warn; default 60, at most a third of the idle timeout
//	data-activity   "on": keys, pointer, wheel and touch count as activity, sent to the server at most once a minute
//	data-poll       seconds between requests of a visible page; default 60, 0 for none
//	data-logout     where "Log out" posts to, relative to the script; default: logout
//	data-next       where to go after the next login; default: the page, without its fragment
//	data-idle-title, data-idle-text, data-idle-button        the warning; {time} is what is left
//	data-limit-title, data-limit-text, data-limit-button     the absolute timeout's
//	data-hidden-title, data-hidden-text, data-hidden-button  those of a hidden page
//	data-out, data-failed                                    "Log out", and that the server did not respond
//
// The custom properties --sessionguard-background, -color, -border, -radius, -font,
// -accent, -accent-color and -backdrop style the dialog.
func (g *core) ScriptTag(r *http.Request, attributes ...string) template.HTML {
	var tag strings.Builder
	add := func(name, value string) {
		tag.WriteString(" " + name + `="` + html.EscapeString(value) + `"`)
	}
	tag.WriteString("<script")
	add("src", g.scriptPath+guardScriptName)
	if now, err := g.statusOf(r); err == nil {
		add("data-session", now.Session)
		if now.Authenticated {
			add("data-idle-seconds", strconv.FormatInt(now.IdleSeconds, 10))
			add("data-absolute-seconds", strconv.FormatInt(now.AbsoluteSeconds, 10))
		}
		if now.Reason == store.ReasonDeviceUnproven { // the pages of other tabs may stay
			add("data-unproven", "true")
		}
	}
	var others []string
	for len(attributes) > 0 {
		name, value := attributes[0], ""
		if len(attributes) > 1 {
			value = attributes[1]
		}
		attributes = attributes[min(2, len(attributes)):]
		if !plainAttribute(name) {
			others = append(others, name)
			continue
		}
		add(name, value)
	}
	if others != nil {
		g.logError("ScriptTag ignores these attributes: only data-…, nonce and id are allowed", "names", others)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		add("data-next", "") // the response to a POST has no page to come back to; of two attributes the first counts
	}
	return template.HTML(tag.String() + "></script>")
}

// statusOf returns the session's status for a page.
func (c *core) statusOf(r *http.Request) (status, error) {
	if !c.scriptServed.Load() && c.requestOf(r) != nil && c.logged.script.CompareAndSwap(false, true) {
		c.log.Error("sessionguard: ScriptTag without Script: serve guard.Script() at Config.ScriptPath", "path", c.scriptPath)
	}
	l, err := c.lockRequest(r)
	if err != nil {
		return status{}, err
	}
	defer l.unlock()
	if err := l.resolve(r.Context()); err != nil {
		return status{}, err
	}
	return l.status(), nil
}

// plainAttribute reports whether name can neither end the element nor change what it loads.
func plainAttribute(name string) bool {
	return name == "nonce" || name == "id" || strings.HasPrefix(name, "data-") &&
		!strings.ContainsFunc(name, func(c rune) bool { return c != '-' && (c < 'a' || c > 'z') })
}

// status is the response of Status. Seconds are rounded down, so that no client believes
// that a session lasts longer than the server does.
type status struct {
	Authenticated   bool         `json:"authenticated"`
	Session         string       `json:"session,omitempty"`
	Factors         []string     `json:"factors,omitempty"`
	IdleSeconds     int64        `json:"idle_seconds"`
	AbsoluteSeconds int64        `json:"absolute_seconds"`
	Reason          store.Reason `json:"reason,omitempty"`
}

// status returns the session's status now. The request itself counts as activity if it
// will be recorded.
func (l *locked) status() status {
	if l.user == nil {
		return status{Reason: l.endReason()}
	}
	rec := l.rec
	if l.touches() && l.inner() == served {
		rec.LastSeen = l.now
	}
	return status{
		Authenticated:   true,
		Session:         rec.ID,
		Factors:         factor.Names(provenFactors(rec)),
		IdleSeconds:     int64(rec.Deadline().Sub(l.now) / time.Second),
		AbsoluteSeconds: int64(rec.Expires.Sub(l.now) / time.Second),
	}
}

// Status responds with how long the session has to live, as JSON:
//
//	{"authenticated":true,"session":"…","factors":["pwd"],"idle_seconds":1799,"absolute_seconds":43199}
//
// "session" is the session's public ID. It stays the same through re-authentication, and
// changes with any other login. "factors" are those of the option [Factors]. If nobody is
// logged in, "reason" is the [Guard.EndReason], if there is one.
//
// A request of Status is no activity ([Guard.Passive]), and its response is never cached.
// Activity that has not been sent to a remote backend yet is not counted. Methods other
// than GET and HEAD get 405. Pages of other origins cannot load it, unless
// [Config.CrossOrigin] trusts them: see [Guard.RequireLogin].
func (g *core) Status() http.Handler {
	return g.Passive(g.statusHandler(http.MethodGet, http.MethodHead))
}

// statusHandler responds to methods with the status.
func (c *core) statusHandler(methods ...string) http.Handler {
	return c.isolate(func(req *request, w http.ResponseWriter, r *http.Request) {
		req.raiseActivity(noRevival) // a script may ask a little too late
		if !req.accepts(w, methods...) {
			return
		}
		if req.authenticate(r.Context()).err != nil {
			c.refuse(req, w, r, unavailable)
			return
		}
		l := req.lock()
		s := l.status()
		l.unlock()
		req.forbidCaching(w)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s) // an error here means that the client has gone
	})
}
