package response

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// calls are what random sequences consist of. Their errors are checked elsewhere.
var calls = map[string]func(o *owner, s *Stopper){
	"Header":              func(o *owner, _ *Stopper) { o.writer.Header().Set("X-Handler", "1") },
	"1xx":                 func(o *owner, _ *Stopper) { o.writer.WriteHeader(http.StatusEarlyHints) },
	"empty ReadFrom":      func(o *owner, _ *Stopper) { _, _ = io.Copy(&o.writer, read("", io.EOF)) },
	"failing ReadFrom":    func(o *owner, _ *Stopper) { _, _ = io.Copy(&o.writer, read("", errTest)) },
	"breaking ReadFrom":   func(o *owner, _ *Stopper) { _, _ = io.Copy(&o.writer, read("body", errTest)) },
	"Hijack":              func(o *owner, _ *Stopper) { _, _, _ = o.writer.Hijack() },
	"Push":                func(o *owner, _ *Stopper) { _ = o.writer.Push("/", nil) },
	"Discard":             func(o *owner, _ *Stopper) { o.writer.Discard() },
	"Stopper":             func(o *owner, _ *Stopper) { o.writer.Stopper() },
	"Stop":                func(_ *owner, s *Stopper) { s.Stop(errTest) },
	"Release":             func(o *owner, _ *Stopper) { o.writer.Release() },
	"Started, Discarding": func(o *owner, _ *Stopper) { _, _ = o.writer.Started(), o.writer.Discarding() },
	"Finish": func(o *owner, _ *Stopper) {
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
		}()
		o.writer.Finish()
	},
}

func init() {
	for _, s := range steps {
		calls[s.name] = func(o *owner, _ *Stopper) { _ = s.do(&o.writer) }
	}
}

// callNames makes a sequence of bytes a sequence of calls.
var callNames = func() []string {
	var names []string
	for name := range calls {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}()

// FuzzSequencesOfCalls checks what holds for a Writer whatever is called in which
// order: the first byte chooses the underlying writer and the owner, each later one a
// call.
func FuzzSequencesOfCalls(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		sequence := make([]byte, 1+random.IntN(12))
		for i := range sequence {
			sequence[i] = byte(random.Uint32())
		}
		f.Add(sequence)
	}
	f.Fuzz(func(t *testing.T, sequence []byte) {
		if len(sequence) < 2 || len(sequence) > 100 {
			return
		}
		o, _ := newHijackable(t)
		tr := o.trace
		if sequence[0]&1 != 0 { // a writer that can neither flush nor hijack
			o = own(plainWriter{tr, http.Header{}}, tr)
		}
		if sequence[0]&2 != 0 {
			o.replacing()
		}
		s := new(Stopper)
		if sequence[0]&4 != 0 {
			s = o.writer.Stopper()
		}
		var m model
		for _, b := range sequence[1:] {
			name := callNames[int(b)%len(callNames)]
			calls[name](o, s)
			m.check(t, name, o, tr.take())
		}
	})
}

// A model is what a sequence of calls has done so far.
type model struct {
	state              state
	asked              bool // Commit was called
	stopped, discarded bool
	log                bytes.Buffer
}

// check checks the calls that one call made.
func (m *model) check(t *testing.T, name string, o *owner, made []string) {
	m.log.WriteString(name + ": " + strings.Join(made, ", ") + "\n")
	fail := func(why string) {
		t.Helper()
		require.Fail(t, why, m.log.String())
	}
	headers := 0 // how often this call let the owner set the header
	informed := false
	for _, call := range made {
		hook, _, _ := strings.Cut(call, " ")
		switch hook {
		case "Commit":
			if m.stopped || m.discarded {
				fail("Commit of a response that is not sent")
			}
			if m.asked && call != "Commit 403" {
				fail("a second Commit")
			}
			m.asked = true
			headers++
		case "BeforeHijack":
			if !m.asked {
				fail("BeforeHijack without Commit")
			}
		case "BeforeHeader":
			headers++
			if !m.asked || m.state >= started {
				fail("BeforeHeader after the header, or before Commit")
			}
		case "BeforeInformational":
			if m.stopped || m.discarded {
				fail("BeforeInformational of what is not sent")
			}
			informed = true
		case "WriteHeader", "Write", "WriteString", "ReadFrom", "FlushError", "Hijack":
			if call == "WriteHeader 103" {
				if !informed {
					fail("an informational response without BeforeInformational")
				}
				continue
			}
			if m.stopped || m.discarded {
				fail("something is sent after the end")
			}
			if !m.asked {
				fail("something is sent before Commit")
			}
			if m.state < started && hook != "Hijack" && headers == 0 {
				fail("a header is sent without Commit or BeforeHeader in the same call")
			}
			if hook != "Hijack" && call != "ReadFrom " {
				m.state = max(m.state, started)
			}
		}
	}
	m.stopped = m.stopped || o.writer.stopErr() != nil
	m.discarded = m.discarded || o.writer.Discarding()
	now := state(o.writer.state.value.Load())
	if now < m.state {
		fail("the state has fallen, or does not report that something was sent")
	}
	m.state = now
	if m.discarded != o.writer.Discarding() || o.writer.Started() != (now >= started) {
		fail("Started or Discarding is wrong")
	}
	if !m.stopped && !m.discarded {
		return
	}
	want := ErrReplaced
	if m.stopped {
		want = errTest
	}
	if _, err := o.writer.Write(nil); !errors.Is(err, want) || o.trace.take() != nil {
		fail("a write that is not sent must return why, and call nothing")
	}
}
