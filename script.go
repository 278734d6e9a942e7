package sessionguard

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"html"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

//go:embed guard.js
var guardSource []byte

// guardScript is what is sent of it: without indentation and comments, which are
// all of the form " // …", and a fifth less (compressed).
var guardScript = func() (script []byte) {
	for line := range bytes.Lines(guardSource) {
		code, _, _ := bytes.Cut(append([]byte(" "), line...), []byte(" // "))
		if code = bytes.TrimSpace(code); len(code) > 0 {
			script = append(append(script, code...), '\n')
		}
	}
	return script
}()

// guardScriptName changes with the script, so that browsers may keep it for good.
var guardScriptName = func() string {
	sum := sha256.Sum256(guardScript)
	return "guard." + hex.EncodeToString(sum[:8]) + ".js"
}()

// Script serves the guard script and what it asks for. Mount it where
// Config.ScriptPath says, without a gate around it:
//
//	mux.Handle("/sessionguard/", guard.Script())
//
// (beside a pattern such as "GET /", an http.ServeMux wants two patterns, "GET
// /sessionguard/" and "POST /sessionguard/"), and put [Guard.ScriptTag] in the head
// of every page that is only for someone logged in. In the browser the script then
//
//   - hides the page when it is left, and shows it again on Back only if the
//     server says that the session it was made for still lives. Without the
//     script, current Chromium shows such a page for up to three minutes after
//     a silent expiry, whatever its headers (measured with Chromium 156);
//   - counts down to the end of the session by the server's time, warns a
//     minute before, and at the end takes the page off the screen and goes to
//     Config.LoginPath, with the page as "next" and the [Guard.EndReason] as
//     "reason". It does so too if the server cannot be reached (OWASP ASVS
//     14.3.1): the page then comes back only when the server agrees;
//   - keeps tabs in step: a logout, or a login as someone else, takes the pages
//     of all others away at once, and an answered warning answers for all.
//
// It is one file without dependencies, good for a Content-Security-Policy of
// default-src 'self', and decides nothing: who does not run it gets no page
// more from the server. What it serves beside the script never changes a limit
// beyond what any other request of the same person would.
//
//	GET  guard.….js  the script, immutable; guard.js is the same for pages
//	                 without a ScriptTag, such as a static index.html
//	GET  status      what [Guard.Status] says
//	POST stay        the same, and counts as activity
//	GET  resume      goes to "next" if somebody is logged in, else to log in
//	POST logout      [Guard.Logout] to Config.WelcomePath
func (g *core) Script() http.Handler {
	g.scriptServed.Store(true)
	status, stay := g.Status(), g.tell(http.MethodPost)
	resume, logout := g.resume(), g.Logout(g.welcome.Target)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The last segment, whatever prefix a router has cut off.
		switch name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]; name {
		case "status":
			status.ServeHTTP(w, r)
		case "stay":
			stay.ServeHTTP(w, r)
		case "resume":
			resume.ServeHTTP(w, r)
		case "logout":
			logout.ServeHTTP(w, r)
		default:
			if strings.HasPrefix(name, "guard.") && strings.HasSuffix(name, ".js") {
				serveScript(w, r, name)
			} else {
				http.NotFound(w, r)
			}
		}
	})
}

// serveScript serves the script that there is under any name: while a new
// version is rolled out, a page of one node may ask another for its script.
func serveScript(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
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
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(guardScript))
}

// resume is where the script sends a page that it has taken away: the server
// knows best what comes next, and forgets the page that it was.
func (c *core) resume() http.Handler {
	return c.Passive(c.wrap(func(st *request, w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			st.refuseMethod(w, "GET, HEAD")
			return
		}
		next := c.Next(r, "")
		switch seen := st.admit(r.Context()); {
		case seen.err != nil:
			c.refuse(st, w, r, unavailable)
		case seen.user != nil && next != "":
			http.Redirect(w, r, next, http.StatusSeeOther)
		case seen.user != nil:
			http.Redirect(w, r, c.welcome.Target, http.StatusSeeOther)
		case c.refusals.Login != nil || !navigates(r):
			c.refuse(st, w, r, noSession)
		default:
			if u, err := url.Parse(next); err != nil || u.Path == c.login.Path {
				next = ""
			}
			http.Redirect(w, r, c.login.With("next", next, "reason", string(st.resumeReason(r))), http.StatusSeeOther)
		}
	}))
}

// resumeReason is why a page's session ended. Where the server no longer knows, the
// script's countdown does.
func (st *request) resumeReason(r *http.Request) store.Reason {
	l := st.lock()
	defer l.unlock()
	known := l.reason()
	if known == "" || known == store.ReasonExpired {
		switch reason := store.Reason(r.FormValue("reason")); reason {
		case store.ReasonIdle, store.ReasonAbsolute:
			return reason
		}
	}
	return known
}

// ScriptTag is the script element of the guard script, for the head of a page:
//
//	<head>{{.Script}}…      with Script: guard.ScriptTag(r)
//
// It names the session that the page is made for and how long it has, so the
// script asks nothing when the page is loaded. On a page for a visitor it tells
// the other tabs that nobody is logged in here. Like every look at the session
// it keeps the answer out of caches; call it before writing.
//
// attributes are names and values of attributes to add, for texts in another
// language, for what the script should do, and for a nonce:
//
//	guard.ScriptTag(r, "nonce", nonce, "data-activity", "on", "data-idle-title", "Noch da?")
//
//	data-warn       seconds before the end to warn; default 60, at most a third of what the session has
//	data-activity   "on": keys, pointer, wheel and touch count as activity, told to the server at most once a minute
//	data-poll       seconds between questions of a visible page; default 60, 0 for none
//	data-logout     where "Log out" posts to; default: logout beside the script
//	data-next       where to go after the next login; default: the page
//	data-idle-title, data-idle-text, data-idle-button        the warning; {time} is what is left
//	data-limit-title, data-limit-text, data-limit-button     the absolute timeout's
//	data-hidden-title, data-hidden-text, data-hidden-button  what a hidden page shows
//	data-out, data-failed                                    "Log out", and that the server did not answer
//
// The dialog is styled by the custom properties --sessionguard-background,
// -color, -border, -radius, -font, -accent, -accent-color and -backdrop.
func (g *core) ScriptTag(r *http.Request, attributes ...string) template.HTML {
	var tag strings.Builder
	add := func(name, value string) {
		tag.WriteString(" " + name + `="` + html.EscapeString(value) + `"`)
	}
	tag.WriteString("<script")
	add("src", g.scriptPath+guardScriptName)
	if st, err := g.wrapped(r); err == nil {
		if !g.scriptServed.Load() {
			g.scriptMissing.Do(func() {
				g.log.Error("sessionguard: ScriptTag without Script: serve guard.Script() at Config.ScriptPath", "path", g.scriptPath)
			})
		}
		l := st.lock()
		err = l.look(r.Context())
		now := l.status()
		l.unlock()
		if err == nil {
			add("data-session", now.Session)
			if now.Authenticated {
				add("data-idle-seconds", strconv.FormatInt(now.IdleSeconds, 10))
				add("data-absolute-seconds", strconv.FormatInt(now.AbsoluteSeconds, 10))
			}
		}
	}
	for len(attributes) > 0 {
		name, value := attributes[0], ""
		if len(attributes) > 1 {
			value = attributes[1]
		}
		attributes = attributes[min(2, len(attributes)):]
		if !plainAttribute(name) {
			g.log.Error("sessionguard: ScriptTag: not an attribute to add: only data-…, nonce and id are", "name", name)
			continue
		}
		add(name, value)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		add("data-next", "") // a page that answers a POST cannot be asked for; of two attributes the first counts
	}
	return template.HTML(tag.String() + "></script>")
}

// plainAttribute says that name cannot end the element or change what it loads.
func plainAttribute(name string) bool {
	return name == "nonce" || name == "id" || strings.HasPrefix(name, "data-") &&
		!strings.ContainsFunc(name, func(c rune) bool { return c != '-' && (c < 'a' || c > 'z') })
}
