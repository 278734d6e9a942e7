package e2e

import (
	"bytes"
	_ "embed"
	"flag"
	"html/template"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var picturesDir = flag.String("pictures", "", "write the pictures of the documentation to this `folder`")

// pictures is where the repository keeps them.
var pictures = filepath.Join("..", "..", "docs", "pictures")

// maxPicture is the most bytes that a picture has, so that a page with several loads quickly.
const maxPicture = 150 << 10

// pictureScale makes the pictures sharp on a screen of twice the usual resolution.
const pictureScale = 2

var schemes = []string{"light", "dark"}

// A frame is a screenshot and what is drawn around it.
type frame struct {
	Caption       string
	Address       string // what the browser's address bar has
	Width, Height int    // of the page, in CSS pixels
	Image         template.URL
	Phone         bool
}

//go:embed pictures.html
var picturePage string

var pictureTemplate = template.Must(template.New("picture").Parse(picturePage))

// TestPictures makes the documentation's pictures, which the flag writes. Without it, the
// test checks that they can be made, that they show what the documentation says, and that
// the repository has ones of the same size.
func TestPictures(t *testing.T) {
	t.Run("back", func(t *testing.T) {
		frames := map[string][]frame{}
		for _, column := range []struct {
			protection
			caption, at string
			leaks       bool
		}{
			{none, "Without sessionguard: Back shows the account", "/account", true},
			{whole, "With sessionguard: Back shows the login", "/login", false},
		} {
			onPictureScreen(t, column.protection, defaultArgs, func(v *visit) {
				v.login()
				v.followLink("/account")
				v.logout()
				v.back()
				v.waitForPage(column.at)
				v.must(v.Until(`return document.documentElement.innerText.includes(arguments[0]) === arguments[1]`, secret, column.leaks))
				for _, scheme := range schemes {
					frames[scheme] = append(frames[scheme], v.frame(frame{Caption: column.caption, Width: 480, Height: 490}, scheme))
				}
			})
		}
		compose(t, "back", frames)
	})
	t.Run("dialog", func(t *testing.T) {
		frames := map[string][]frame{}
		onPictureScreen(t, whole, []string{"-idle", "30s"}, func(v *visit) {
			v.login()
			v.waitFor("warning", 30*time.Second, func() bool {
				var open bool
				v.must(v.Eval(dialogContains, &open, "Stay signed in"))
				return open
			})
			for _, scheme := range schemes {
				for _, f := range []frame{{Width: 660, Height: 500}, {Width: 350, Height: 531, Phone: true}} {
					frames[scheme] = append(frames[scheme], v.frame(f, scheme))
				}
			}
			v.must(v.Until(dialogContains, "Log out")) // it was there all the time
		})
		compose(t, "dialog", frames)
	})
}

// The colours of docs/pictures/timeouts.svg and of timeouts-dark.svg, which differ in nothing else.
const (
	lightColours = ":root { --ground: #ffffff; --line: #d3dae2; --text: #1a2430; --muted: #53606e; --alive: #0b5cad; --on: #ffffff; --late: #b3261e; --idle: #9cc3ea; }"
	darkColours  = ":root { --ground: #0d1117; --line: #303c49; --text: #e7ecf2; --muted: #a5b1be; --alive: #7cb8ff; --on: #0b1c2e; --late: #ffa198; --idle: #2f5680; }"
)

// No text of the drawing covers another one or leaves the drawing.
func TestDrawing(t *testing.T) {
	drawing, err := os.ReadFile(filepath.Join(pictures, "timeouts.svg"))
	must(t, err)
	light := string(drawing)
	dark := strings.Replace(light, lightColours, darkColours, 1)
	if light == dark {
		t.Error("timeouts.svg has other colours")
	}
	if *picturesDir != "" {
		must(t, os.WriteFile(filepath.Join(*picturesDir, "timeouts-dark.svg"), []byte(dark), 0o644))
	}
	kept, err := os.ReadFile(filepath.Join(pictures, "timeouts-dark.svg"))
	must(t, err)
	if string(kept) != dark {
		t.Error("timeouts-dark.svg is not timeouts.svg in dark colours: make it again")
	}

	b := sharedBrowser(t, chromium)
	t.Cleanup(func() { must(t, b.EndEmulation()) })
	must(t, b.Emulate(screen{960, 430, pictureScale, "light"}))
	file, err := filepath.Abs(filepath.Join(pictures, "timeouts.svg"))
	must(t, err)
	must(t, b.Open("file://"+file))
	var wrong []string
	must(t, b.Eval(`const boxes = Array.from(document.querySelectorAll("text"), (text) => ({ text: text.textContent, ...text.getBoundingClientRect().toJSON() }))
		const covers = (a, b) => a.left < b.right + 8 && b.left < a.right + 8 && a.top < b.bottom - 4 && b.top < a.bottom - 4
		return boxes.filter((a) => a.left < 4 || a.right > 956 || boxes.some((b) => a !== b && covers(a, b))).map((a) => a.text)`, &wrong))
	if len(wrong) > 0 {
		t.Errorf("these cover one another, or leave the drawing: %q", wrong)
	}
}

// onPictureScreen runs steps in Chromium.
func onPictureScreen(t *testing.T, p protection, args []string, steps func(v *visit)) {
	b := sharedBrowser(t, chromium)
	t.Cleanup(func() { must(t, b.EndEmulation()) })
	must(t, b.Emulate(screen{480, 490, pictureScale, schemes[0]})) // the pages that are loaded have no scrollbars
	v := &visit{T: t, browser: b, proxy: startApplication(t, p, false, args...), protection: p}
	v.complete(steps)
}

// frame returns f with a screenshot of the page that is shown.
func (v *visit) frame(f frame, scheme string) frame {
	v.must(v.Emulate(screen{f.Width, f.Height, pictureScale, scheme}))
	v.must(v.Eval(`return new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(() => drawn(null))))`, nil))
	shot, err := v.Screenshot()
	v.must(err)
	f.Image = dataURL(shot)
	v.must(v.Eval(`return location.pathname`, &f.Address))
	return f
}

// compose puts the frames beside each other, in each colour scheme, and checks the picture.
func compose(t *testing.T, name string, frames map[string][]frame) {
	b := sharedBrowser(t, chromium)
	t.Cleanup(func() { must(t, b.EndEmulation()) })
	for _, scheme := range schemes {
		var page strings.Builder
		must(t, pictureTemplate.Execute(&page, map[string]any{"Frames": frames[scheme]}))
		must(t, b.Open("about:blank"))
		must(t, b.Emulate(screen{1200, 800, pictureScale, scheme}))
		must(t, b.Eval(`document.documentElement.innerHTML = arguments[0]
			return Promise.all(Array.from(document.images, (image) => image.decode())).then(() => null)`, nil, page.String()))
		var size struct{ Width, Height int }
		must(t, b.Eval(`const { width, height } = document.querySelector("main").getBoundingClientRect()
			return { width: Math.ceil(width), height: Math.ceil(height) }`, &size))
		must(t, b.Emulate(screen{size.Width, size.Height, pictureScale, scheme}))
		shot, err := b.Screenshot()
		must(t, err)
		checkPicture(t, name+"-"+scheme+".png", shot)
	}
}

func checkPicture(t *testing.T, name string, shot []byte) {
	drawn, err := png.Decode(bytes.NewReader(shot))
	must(t, err)
	small, err := smallPNG(drawn)
	must(t, err)
	if *picturesDir != "" {
		must(t, os.WriteFile(filepath.Join(*picturesDir, name), small, 0o644))
	}
	kept, err := os.ReadFile(filepath.Join(pictures, name))
	must(t, err)
	config, err := png.DecodeConfig(bytes.NewReader(kept))
	must(t, err)
	if got := (image.Point{config.Width, config.Height}); got != drawn.Bounds().Size() {
		t.Errorf("%s has the size %v, not %v: make it again", name, got, drawn.Bounds().Size())
	}
	for _, file := range [][]byte{small, kept} {
		if len(file) > maxPicture {
			t.Errorf("%s has %d bytes, more than %d", name, len(file), maxPicture)
		}
	}
}
