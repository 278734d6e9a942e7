package app

import (
	"bytes"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
)

// A page is what templates/layout.html shows.
type page struct {
	Title   string
	Script  template.HTML // takes the page away when the session ends
	User    *User         // nil if nobody is logged in
	Flashes []any
	Error   string // why a form was not accepted
	Content any    // what the page's own template needs
	Node    string // which of several nodes has answered
}

// parsePages reads the templates, each with the layout around it and with what
// several pages share.
func parsePages() (map[string]*template.Template, error) {
	pages := map[string]*template.Template{}
	for _, name := range []string{"welcome", "login", "home", "admin", "account", "reauth", "sessions", "person", "live"} {
		t, err := template.ParseFS(files, "templates/layout.html", "templates/devices.html", "templates/"+name+".html")
		if err != nil {
			return nil, err
		}
		pages[name] = t
	}
	return pages, nil
}

// render answers with a page. It looks at the session before it writes: only
// then can flashes be taken out of it and caching be forbidden.
func (a *App) render(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	p.User, _ = a.guard.User(r)
	p.Node = a.Node
	p.Script = a.guard.ScriptTag(r, a.scriptOptions...)
	if r.Method != http.MethodHead { // nobody would see the flashes
		p.Flashes = a.flashes(r).Flashes()
	}
	var body bytes.Buffer
	if err := a.pages[name].ExecuteTemplate(&body, "layout.html", p); err != nil {
		a.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // an error here is a client that has gone
}

// fail answers what nobody can do anything about but us.
func (a *App) fail(w http.ResponseWriter, err error) {
	a.Log.Error("dashboard", "error", err)
	http.Error(w, "Something went wrong. Please try again in a moment.", http.StatusInternalServerError)
}

func (a *App) welcomePage(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "welcome", page{Title: "Welcome"})
}

func (a *App) homePage(w http.ResponseWriter, r *http.Request) {
	reports, err := fs.ReadDir(a.reports, ".")
	if err != nil {
		a.fail(w, err)
		return
	}
	a.render(w, r, http.StatusOK, "home", page{Title: "Home", Content: reports})
}

// report serves one file. The pattern's {name} is one segment of the path, and
// an fs.FS has no way out of itself, so no name leads elsewhere.
func (a *App) report(w http.ResponseWriter, r *http.Request) {
	http.ServeFileFS(w, r, a.reports, r.PathValue("name"))
}

// staticFile does not look at the session, so the guard leaves its caching
// headers alone.
func (a *App) staticFile(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=3600")
	http.ServeFileFS(w, r, a.static, r.PathValue("name"))
}

// parseForm reads a posted form, or answers why it cannot. FormValue alone
// would pass over a body that was cut off.
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
