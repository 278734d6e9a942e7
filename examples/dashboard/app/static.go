package app

import "io/fs"

// Static returns the stylesheet and the icon, which the other examples share.
func Static() (fs.FS, error) { return fs.Sub(files, "static") }
