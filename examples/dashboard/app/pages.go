package app

import (
	"bytes"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
)

// A page is the data for templates/layout.html.
type page struct {
	Title   string
	Script  template.HTML // the guard script, which hides the page when the session ends
	User    *User         // nil for a visitor
	Actor   string        // the name of the admin who looks at the dashboard as User, or ""
	Flashes []any
	Error   string // why a form was rejected
	Content any    // the data for the page's own template
	Node    string // the name of this node, "" if there is only one
	Base    string // the prefix of all paths that a proxy removes, or ""
	// RememberFor is how long "Remember me" lasts, in words; "" if the login page has no checkbox.
	RememberFor string
}

// parsePages parses the page templates, each with the layout and the shared parts.
func parsePages() (map[string]*template.Template, error) {
	pages := map[string]*template.Template{}
	for _, name := range []string{"welcome", "login", "home", "admin", "everyone", "account", "reauth", "sessions", "person", "device", "live", "notfound"} {
		t, err := template.ParseFS(files, "templates/layout.html", "templates/devices.html", "templates/try.html", "templates/"+name+".html")
		if err != nil {
			return nil, err
		}
		pages[name] = t
	}
	return pages, nil
}

// render writes a page. It reads the session before it writes the response, because flashes
// can be removed and caching forbidden only until then.
func (a *App) render(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	if p.User, _ = a.guard.User(r); p.User != nil {
		p.Actor, _ = a.acting(r).Values["actor"].(string)
	}
	p.Node, p.Base = a.Node, a.BasePath
	if a.Remember > 0 {
		p.RememberFor = words(a.Remember)
	}
	p.Script = a.guard.ScriptTag(r, a.scriptOptions...)
	// A HEAD response cannot show flashes, nor can a 404 in place of an icon. So keep them.
	if r.Method != http.MethodHead && status != http.StatusNotFound {
		p.Flashes = a.flashes(r).Flashes()
	}
	var body bytes.Buffer
	if err := a.pages[name].ExecuteTemplate(&body, "layout.html", p); err != nil {
		a.internalError(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // an error means that the client has disconnected
}

// notFound writes the page for an address that does not exist.
func (a *App) notFound(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusNotFound, "notfound", page{Title: "Not found"})
}

// withNotFound returns mux with notFound in place of its own 404, which is plain text. A
// pattern for all paths would also replace its 405.
func (a *App) withNotFound(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, pattern := mux.Handler(r); pattern == "" {
			var s statusOnly
			h.ServeHTTP(&s, r)
			if s.status == http.StatusNotFound {
				a.notFound(w, r)
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

// statusOnly is a ResponseWriter that keeps the status alone.
type statusOnly struct {
	status int
	header http.Header
}

func (s *statusOnly) Header() http.Header {
	if s.header == nil {
		s.header = http.Header{}
	}
	return s.header
}
func (s *statusOnly) WriteHeader(status int)      { s.status = status }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }

// internalError logs err and responds with a 500.
func (a *App) internalError(w http.ResponseWriter, err error) {
	a.Log.Error("dashboard", "error", err)
	http.Error(w, "Something went wrong. Please try again in a moment.", http.StatusInternalServerError)
}

func (a *App) welcomePage(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "welcome", page{Title: "Welcome"})
}

func (a *App) homePage(w http.ResponseWriter, r *http.Request) {
	reports, err := fs.ReadDir(a.reports, ".")
	if err != nil {
		a.internalError(w, err)
		return
	}
	a.render(w, r, http.StatusOK, "home", page{Title: "Home", Content: reports})
}

// report serves one report. The pattern's {name} matches a single path segment, and an
// fs.FS does not open paths outside itself, so no name leads elsewhere.
func (a *App) report(w http.ResponseWriter, r *http.Request) {
	if _, err := fs.Stat(a.reports, r.PathValue("name")); err != nil {
		a.notFound(w, r)
		return
	}
	http.ServeFileFS(w, r, a.reports, r.PathValue("name"))
}

// staticFile does not use the session, so the guard leaves its caching headers alone.
func (a *App) staticFile(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=3600")
	http.ServeFileFS(w, r, a.static, r.PathValue("name"))
}

// parseForm parses a posted form and reports whether that succeeded. If not, it writes the
// error response. FormValue alone would ignore a truncated body.
func parseForm(w http.ResponseWriter, r *http.Request) bool {
	err := r.ParseForm()
	if err == nil {
		return true
	}
	status := http.StatusBadRequest
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		status = http.StatusRequestEntityTooLarge
	}
	http.Error(w, http.StatusText(status), status)
	return false
}
