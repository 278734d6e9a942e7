package provider

import (
	"net/http"

	dashboard "github.com/sessionguard-go/sessionguard/examples/dashboard/app"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// page is the data of templates/page.html.
type page struct {
	User    *dashboard.User // nil: nobody is logged in, and the page has a login form
	Request string          // the ID of the application's request, "" if there is none
	Name    string          // the user's input after a wrong password
	Error   string
	Client  string // the application's address
}

func (p *Provider) home(w http.ResponseWriter, r *http.Request) {
	user, _ := p.guard.User(r)
	p.render(w, http.StatusOK, page{User: user})
}

// loginPage is where the protocol sends a browser that an application has sent. Whoever is
// logged in here already goes straight back: that is single sign-on.
func (p *Provider) loginPage(w http.ResponseWriter, r *http.Request) {
	request := r.FormValue("request")
	if user, ok := p.guard.User(r); ok {
		p.goOn(w, r, user, request)
		return
	}
	p.render(w, http.StatusOK, page{Request: request})
}

func (p *Provider) login(w http.ResponseWriter, r *http.Request) {
	name, request := r.PostFormValue("username"), r.PostFormValue("request")
	user, err := p.Users.Verify(r.Context(), name, r.PostFormValue("password"))
	if err != nil {
		p.render(w, http.StatusUnprocessableEntity, page{Request: request, Name: name, Error: "Wrong name or password."})
		return
	}
	if err := p.guard.Login(w, r, user); err != nil {
		p.internalError(w, err)
		return
	}
	p.goOn(w, r, user, request)
}

// goOn leads a user who is logged in back to the application, or to the provider's own page
// if no application has sent them.
func (p *Provider) goOn(w http.ResponseWriter, r *http.Request, user *dashboard.User, request string) {
	if request == "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	session, _ := p.guard.Session(r)
	if !p.storage.complete(request, Subjects()[user.ID], session) {
		p.render(w, http.StatusBadRequest, page{User: user, Error: "That took too long, or you have used Back. Please go back to the application and start again."})
		return
	}
	ctx := op.ContextWithIssuer(r.Context(), p.Issuer)
	http.Redirect(w, r, op.AuthCallbackURL(p.protocol)(ctx, request), http.StatusSeeOther)
}

// logout ends the session here and those of the application that came from it.
func (p *Provider) logout(w http.ResponseWriter, r *http.Request) {
	user, _ := p.guard.User(r)
	session, loggedIn := p.guard.Session(r)
	if err := p.guard.End(w, r); err != nil {
		p.internalError(w, err)
		return
	}
	if loggedIn {
		p.tellClient(r.Context(), Subjects()[user.ID], session.ID)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (p *Provider) render(w http.ResponseWriter, status int, data page) {
	data.Client = p.Client.Origin
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := p.page.ExecuteTemplate(w, "page.html", data); err != nil {
		p.Log.Error("provider", "error", err)
	}
}

func (p *Provider) internalError(w http.ResponseWriter, err error) {
	p.Log.Error("provider", "error", err)
	http.Error(w, "Something went wrong. Please try again in a moment.", http.StatusInternalServerError)
}
