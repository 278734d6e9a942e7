package nodes

import (
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// A Faulty is a server and the network in front of it, which fail on demand:
// servers.Remote is one. Start and Resume return when it answers again.
type Faulty interface {
	Kill() error // by SIGKILL
	Start() error
	Pause() error // it accepts connections and answers nobody
	Resume() error
	Cut() error // every connection, and no new ones
	Restore() error
}

// Expect is what a backend promises about its server's failures.
type Expect struct {
	// Keeps says that what the server has confirmed survives a kill.
	Keeps bool
	// Within is how long an answer may take while the server is away: twice the
	// timeout of the backend, which is asked again to undo what failed, and some
	// slack. Default: 3 seconds.
	Within time.Duration
}

// Faults checks two nodes with a backend each from newNode, under load, while s is
// killed and started again, paused and resumed, cut off and restored: nobody who has
// logged out is ever let in, nobody is logged out, and what cannot be answered is a 503
// in time. It takes about 20 seconds.
func Faults(t *testing.T, s Faulty, newNode func(t *testing.T) store.Backend, expect Expect) {}
