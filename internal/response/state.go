package response

import "sync/atomic"

// A state is how far a response has come. It only rises.
type state uint32

const (
	// unstarted: nothing final has been sent, and Commit has not returned. Every
	// response begins here.
	unstarted state = iota

	// committed: Commit has returned true and will not be called again. The header
	// holds what the owner put there and can still change. Writer.commit moves here.
	committed

	// abandoned: the handler has panicked before it sent anything. Only what looks like the
	// error of whoever recovers the panic is still sent. Abandon moves here.
	abandoned

	// started: the underlying writer has been given a final status, or the
	// connection was taken. The header can no longer change. The method that sent it
	// moves here.
	started

	// discarding: nothing that the handler writes is sent any more, and Header
	// returns a scratch map. From unstarted or committed, this Writer never sends
	// anything; from started, what has been sent remains. Writer.commit moves here
	// when Commit has returned false, and the owner with Discard or Abandon.
	discarding
)

// progress holds a state that any goroutine may read and raise, and none can lower.
type progress struct{ value atomic.Uint32 }

func (p *progress) reached(s state) bool { return state(p.value.Load()) >= s }

func (p *progress) raise(to state) {
	for {
		now := p.value.Load()
		if state(now) >= to || p.value.CompareAndSwap(now, uint32(to)) {
			return
		}
	}
}

// A mark is a fact about a Writer. Once it is true it stays so.
type mark uint32

const (
	encoded  mark = 1 << iota // an outer writer encodes whatever is written
	over                      // Release was called
	hijacked                  // Hijack has taken the connection
	timedOut                  // the status was one with which a middleware responds in place of its handler
	detached                  // Detach was called
	informed                  // an informational response was sent
)

// A markSet holds marks that any goroutine may read and add.
type markSet struct{ value atomic.Uint32 }

func (s *markSet) has(m mark) bool { return mark(s.value.Load())&m != 0 }

func (s *markSet) add(m mark) { s.value.Or(uint32(m)) }
