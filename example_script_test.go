package sessionguard_test

import (
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/sessionguard-go/sessionguard"
)

// The script takes one line in the routes and one in the head of the page template.
func ExampleGuard_Script() {
	guard := exampleGuard()
	pages := template.Must(template.New("").Parse(`<!DOCTYPE html>
<head><title>Balance</title>{{.Script}}</head>
<body>100</body>`))

	mux := http.NewServeMux()
	mux.Handle("/sessionguard/", guard.Script())
	mux.Handle("GET /balance", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := pages.Execute(w, map[string]any{"Script": guard.ScriptTag(r)}); err != nil {
			fmt.Println(err)
		}
	})))

	ada := exampleVisitAs("ada", guard, mux)
	fmt.Println(ada.get("/balance"))
	fmt.Println(ada.get("/sessionguard/resume?next=/balance"))
	fmt.Println(exampleVisit(mux).get("/sessionguard/resume?next=/balance&reason=idle"))
	// Output:
	// 200 OK
	// 303 to /balance
	// 303 to /login?next=%2Fbalance&reason=idle
}

// The page has German texts, a warning two minutes before the end, and counts the user's
// keys and pointer as activity.
func ExampleGuard_ScriptTag() {
	guard := exampleGuard()
	page := func(w http.ResponseWriter, r *http.Request) {
		tag := guard.ScriptTag(r,
			"data-warn", "120",
			"data-activity", "on",
			"data-idle-title", "Sind Sie noch da?",
			"data-idle-text", "Sie werden in {time} abgemeldet.",
			"data-idle-button", "Angemeldet bleiben",
			"data-out", "Abmelden",
		)
		_, options, _ := strings.Cut(string(tag), " data-warn=")
		fmt.Println("<script … data-warn=" + options)
	}
	mux := http.NewServeMux()
	mux.Handle("/sessionguard/", guard.Script())
	mux.HandleFunc("GET /{$}", page)
	exampleVisit(guard.Handler(mux)).get("/")
	// Output:
	// <script … data-warn="120" data-activity="on" data-idle-title="Sind Sie noch da?" data-idle-text="Sie werden in {time} abgemeldet." data-idle-button="Angemeldet bleiben" data-out="Abmelden"></script>
}

// A page that is a file, such as a single-page application's index.html, includes the
// script under its fixed name. The script then asks the server whose page it is:
//
//	<script src="/sessionguard/guard.js"></script>
//
// After a login or logout by fetch, such a page dispatches an event, which also informs the
// other tabs:
//
//	document.dispatchEvent(new Event("sessionguard:check"))
func ExampleGuard_Script_file() {
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser:   exampleFind,
		ScriptPath: "/app/sessionguard/", // where the browser finds it
	})
	if err != nil {
		fmt.Println(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/app/sessionguard/", guard.Script())
	script := exampleVisit(mux).get("/app/sessionguard/guard.js")
	fmt.Println(strings.Contains(script, "pagehide"))
	// Output:
	// true
}
