package e2e

import "errors"

// A screen is what a page of Chromium believes that it is shown on.
type screen struct {
	width, height int     // in CSS pixels
	scale         float64 // device pixels per CSS pixel; 0 is 1
	scheme        string  // the preferred colour scheme, "light" or "dark"
}

// Emulate shows the current tab on that screen, with scrollbars that take no space, as on a
// phone. Only Chromium has it.
func (b *browser) Emulate(s screen) error {
	return errors.Join(
		b.DevTools("Emulation.setDeviceMetricsOverride", object{
			"width": s.width, "height": s.height, "deviceScaleFactor": max(s.scale, 1), "mobile": false,
		}, nil),
		b.DevTools("Emulation.setEmulatedMedia", object{
			"features": []object{{"name": "prefers-color-scheme", "value": s.scheme}},
		}, nil),
		b.DevTools("Emulation.setScrollbarsHidden", object{"hidden": true}, nil),
	)
}

// EndEmulation undoes Emulate.
func (b *browser) EndEmulation() error {
	return errors.Join(
		b.DevTools("Emulation.clearDeviceMetricsOverride", nil, nil),
		b.DevTools("Emulation.setEmulatedMedia", object{"features": []object{}}, nil),
		b.DevTools("Emulation.setScrollbarsHidden", object{"hidden": false}, nil),
	)
}
