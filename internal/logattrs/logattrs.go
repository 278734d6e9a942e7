// Package logattrs makes the groups of a log record. It leaves out what is empty, and has one
// allocation for the attributes of all groups.
package logattrs

import "log/slog"

// usual is how many attributes most records have in their groups.
const usual = 10

// Fields are the attributes of the groups of one record. The zero value has none.
type Fields struct {
	all     []slog.Attr
	grouped int // those of all that are in a group already
}

// Text adds an attribute to the next group, unless text is empty.
func (f *Fields) Text(key, text string) *Fields {
	if text == "" {
		return f
	}
	return f.add(slog.String(key, text))
}

// Count adds an attribute to the next group, unless n is 0.
func (f *Fields) Count(key string, n int) *Fields {
	if n == 0 {
		return f
	}
	return f.add(slog.Int(key, n))
}

// Nest adds a group of what was added since the last one to the next group.
func (f *Fields) Nest(name string) *Fields {
	if f.grouped == len(f.all) {
		return f
	}
	return f.add(f.Group(name))
}

// Group returns a group of what was added since the last one. slog leaves it out if it is empty.
func (f *Fields) Group(name string) slog.Attr {
	fields := f.all[f.grouped:len(f.all):len(f.all)]
	f.grouped = len(f.all)
	return slog.GroupAttrs(name, fields...)
}

func (f *Fields) add(field slog.Attr) *Fields {
	if f.all == nil {
		f.all = make([]slog.Attr, 0, usual)
	}
	f.all = append(f.all, field)
	return f
}
