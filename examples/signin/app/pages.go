package app

import (
	"bytes"
	"encoding/base64"
	"errors"
	"html/template"
	"io/fs"
	"net/http"

	"github.com/sessionguard-go/sessionguard"
	dashboard "github.com/sessionguard-go/sessionguard/examples/dashboard/app"
)

// A page is the data for templates/layout.html.
type page struct {
	Title   string
	Script  template.HTML // the guard script, which hides the page when the session ends
	User    *User         // nil for a visitor
	Session sessionguard.Session
	Flashes []any
	Error   string // why a form was rejected
	Content any    // the data for the page's own template
}

// parsePages parses the page templates, each with the layout and the shared parts.
func parsePages() (map[string]*template.Template, error) {
	pages := map[string]*template.Template{}
	for _, name := range []string{"welcome", "login", "factor", "reauth", "home", "vault", "account", "totp", "problem"} {
		t := template.New(name).Funcs(template.FuncMap{"base64": base64.RawURLEncoding.EncodeToString, "factor": factorName})
		t, err := t.ParseFS(files, "templates/layout.html", "templates/parts.html", "templates/"+name+".html")
		if err != nil {
			return nil, err
		}
		pages[name] = t
	}
	return pages, nil
}

// factorName explains a factor.
func factorName(factor string) string {
	switch factor {
	case factorPassword:
		return "Password"
	case factorCode:
		return "Code of an authenticator app"
	case factorHardwareKey:
		return "Passkey that stays on its device"
	case factorSoftwareKey:
		return "Passkey that is copied between devices"
	case factorProvider:
		return "Login with Example ID"
	case factorMultiple:
		return "More than one factor"
	}
	return factor
}

// render writes a page. It reads the session before it writes the response, because flashes
// can be removed and caching forbidden only until then.
func (a *App) render(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	p.User, _ = a.guard.User(r)
	p.Session, _ = a.guard.Session(r)
	// Every other second, so that you see a logout at the provider take the page away. The
	// default of a minute is kinder to your server.
	p.Script = a.guard.ScriptTag(r, "data-poll", "2")
	if r.Method != http.MethodHead { // a HEAD response cannot show flashes, so keep them
		if session, err := a.guard.Get(r, "flash"); err == nil {
			p.Flashes = session.Flashes()
		}
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

// flash adds a message to the next page that is rendered.
func (a *App) flash(r *http.Request, message string) {
	session, _ := a.guard.Get(r, "flash") // if the backend fails, the guard sends a 503
	session.AddFlash(message)
}

// internalError logs err and responds with a 500.
func (a *App) internalError(w http.ResponseWriter, err error) {
	a.Log.Error("signin", "error", err)
	http.Error(w, "Something went wrong. Please try again in a moment.", http.StatusInternalServerError)
}

func (a *App) welcomePage(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "welcome", page{Title: "Welcome"})
}

func (a *App) homePage(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "home", page{Title: "Home"})
}

func (a *App) vaultPage(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "vault", page{Title: "Vault"})
}

func (a *App) accountPage(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "account", page{Title: "Account"})
}

// staticFiles returns the look of examples/dashboard, and this application's own files.
func staticFiles() ([]fs.FS, error) {
	own, err := fs.Sub(files, "static")
	if err != nil {
		return nil, err
	}
	shared, err := dashboard.Static()
	return []fs.FS{own, shared}, err
}

// staticFile does not use the session, so the guard leaves its caching headers alone.
func (a *App) staticFile(w http.ResponseWriter, r *http.Request) {
	for _, files := range a.static {
		if _, err := fs.Stat(files, r.PathValue("name")); err == nil {
			w.Header().Set("Cache-Control", "public, max-age=3600")
			http.ServeFileFS(w, r, files, r.PathValue("name"))
			return
		}
	}
	http.NotFound(w, r)
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
