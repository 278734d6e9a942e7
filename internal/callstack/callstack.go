// Package callstack looks at the functions that the calling goroutine is in, and at panics.
package callstack

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// Has reports whether the goroutine is in a function whose name has the prefix, such as
// "example.com/p.(*T)." for the methods of *T.
func Has(prefix string) bool {
	pcs := make([]uintptr, 64)
	n := runtime.Callers(1, pcs)
	for n == len(pcs) {
		pcs = make([]uintptr, 2*len(pcs))
		n = runtime.Callers(1, pcs)
	}
	frames := runtime.CallersFrames(pcs[:n])
	for {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, prefix) {
			return true
		}
		if !more {
			return false
		}
	}
}

// A Panic is what a function has panicked with, and where.
type Panic struct {
	Value any
	Stack []byte
}

// Recover calls do, and returns its panic, or nil if it has returned.
func Recover(do func()) (p *Panic) {
	defer func() {
		if value := recover(); value != nil {
			p = &Panic{value, debug.Stack()}
		}
	}()
	do()
	return nil
}
