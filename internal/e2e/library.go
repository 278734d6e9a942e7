package e2e

import (
	"bytes"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
)

// A library shows pages without loading documents. testdata/package.json has the versions.
type library struct {
	name   string
	file   string // below testdata/node_modules
	body   string // attributes of the body, by which the library takes over links and forms
	follow string // a script that makes it take over a link that the test has added
	part   string // a script that loads arguments[0] into the element #part of the page
}

const htmxPart = `const part = document.querySelector("#part")
	part.innerHTML = '<button hx-target="#part">'
	part.firstChild.setAttribute("hx-get", arguments[0])
	htmx.process(part)
	part.firstChild.click()`

var (
	turbo = &library{"Turbo", "@hotwired/turbo/dist/turbo.es2017-umd.js", "", "",
		`const frame = document.createElement("turbo-frame")
		frame.id = "frame"
		frame.src = arguments[0]
		document.querySelector("#part").replaceChildren(frame)`}
	htmx2 = &library{"htmx 2", "htmx2/dist/htmx.js", ` hx-boost="true"`, "htmx.process(link)", htmxPart}
	htmx4 = &library{"htmx 4", "htmx4/dist/htmx.js", ` hx-boost:inherited="true"`, "htmx.process(link)", htmxPart}

	libraries = []*library{turbo, htmx2, htmx4}
)

func (l *library) path() string {
	return filepath.Join("testdata", "node_modules", filepath.FromSlash(l.file))
}

// serve serves the library's script. With no-store, every page that loads it would be
// excluded from Chromium's back/forward cache.
func (l *library) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/javascript")
	w.Header().Set("Cache-Control", "max-age=3600")
	http.ServeFile(w, r, l.path())
}

const libraryTag = `<script src="/e2e/library.js"></script>`

var bodyTag = regexp.MustCompile(`(?i)<body`)

// addTo makes a page use the library.
func (l *library) addTo(page []byte) []byte {
	if at := bodyTag.FindIndex(page); at != nil {
		page = slices.Insert(page, at[1], []byte(l.body)...)
	}
	return bytes.Replace(page, []byte(samplerTag), []byte(samplerTag+libraryTag), 1)
}
