package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"
)

// WaitReplicas makes a call wait until replicas have received what the server has written
// until then (WAIT). If they have not received it in time, the call returns an error,
// although the server has made the change. A guard then responds with 503, and a repeated
// call waits again.
//
// A promoted replica that has confirmed an end knows of it. If Number is less than the
// number of replicas, one that has not confirmed may be promoted, so Number is best all
// of them. Whatever the server takes for a replica can confirm in the place of another: a
// replica that is never promoted (replica-priority 0), or a backup tool. A replica
// confirms what it holds in memory. If the primary and the replicas lose power together,
// the append-only file decides.
type WaitReplicas struct {
	// Number is how many replicas have to confirm. Default: 0, no call waits.
	Number int

	// Timeout is how long a call waits for them, unless its own time is over before. It
	// must be shorter than Config.Timeout. Without enough replicas, every logout and
	// every login that replaces a session takes that long and fails. Default: half of
	// Config.Timeout.
	Timeout time.Duration

	// EveryWrite makes every write but Touch wait. By default, only what ends or replaces
	// a session waits: Delete, DeleteByID, Replace, and Create if its limit may end
	// sessions. A failover may then lose a login or changed values, but no logout.
	// ByOwner and All wait too, because a second EndUser or EndAll that finds nothing
	// must not confirm what the first could not.
	EveryWrite bool
}

// maxWaiting is how many calls wait for replicas at a time, each on a connection of its own.
// The others wait for their turn, within Config.Timeout.
const maxWaiting = 128

// A script is a Lua script, and what it does.
type script struct {
	*rueidis.Lua
	effect effect
	text   string // if it waits for replicas
}

// An effect decides whether a script waits for replicas.
type effect uint8

const (
	repeatable effect = iota // it reads, or a repetition changes nothing: it never waits
	changes                  // it waits with EveryWrite
	ends                     // it ends or replaces a session, or says that there is none to end
)

func newScript(e effect, text string) *script {
	s := &script{rueidis.NewLuaScript(prelude + text), e, waitingPrelude + text}
	if e == repeatable {
		s.Lua = rueidis.NewLuaScriptRetryable(prelude + text)
	}
	return s
}

// as returns the same script, which waits as those with another effect.
func (s *script) as(e effect) *script {
	other := *s
	other.effect = e
	return &other
}

// A lagError is returned by a call whose change the server has made, and too few replicas
// have received.
type lagError struct{ received, wanted int64 }

func (e *lagError) Error() string {
	return fmt.Sprintf("%d of %d replicas have received the change in time: a failover may undo it", e.received, e.wanted)
}

// lags reports whether err is only that replicas lag. The results of the call are then valid.
func lags(err error) bool {
	var lag *lagError
	return errors.As(err, &lag)
}

// exec executes a script, and waits for replicas if it has to. With a [*lagError] it also
// returns the script's reply.
func (s *Store) exec(ctx context.Context, script *script, keys, args []string) ([]string, error) {
	if s.closed.Err() != nil {
		return nil, errClosed
	}
	if s.wait.Number == 0 || script.effect < changes || script.effect < ends && !s.wait.EveryWrite {
		return replyOf(script.Exec(ctx, s.client, keys, args))
	}
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var node rueidis.Client = s.client
	asking := false
	for range 4 {
		reply, received, err := execAndWait(ctx, node, script, keys, args, s.wait, asking)
		refusal, refused := rueidis.IsRedisErr(err)
		switch {
		case err == nil && received < int64(s.wait.Number):
			return reply, &lagError{received, int64(s.wait.Number)}
		case !refused:
			return reply, err
		}
		to, moved := refusal.IsMoved()
		if !moved {
			to, moved = refusal.IsAsk()
			asking = asking || moved
		}
		if node = s.client.Nodes()[to]; !moved || node == nil {
			return nil, err
		}
	}
	return nil, errTooManyRedirections
}

var errTooManyRedirections = errors.New("the cluster redirects the call in circles")

// replyOf returns a script's reply: a list, or a status alone.
func replyOf(result rueidis.RedisResult) ([]string, error) {
	reply, err := result.ToMessage()
	if err != nil {
		return nil, err
	}
	if !reply.IsString() {
		return reply.AsStrSlice()
	}
	status, err := reply.ToString()
	return []string{status}, err
}

// execAndWait executes a script on node, and waits for replicas on the same connection: WAIT
// is about what its own connection has written, so no redirection may come in between. It sends
// the script itself, because one that the server does not know would wait in vain. It returns
// how many replicas have received the change.
func execAndWait(ctx context.Context, node rueidis.Client, s *script, keys, args []string, wait WaitReplicas, asking bool) (reply []string, received int64, err error) {
	conn, release, err := dedicate(ctx, node)
	if err != nil {
		return nil, 0, err
	}
	defer release()
	timeout := wait.Timeout
	if deadline, ok := ctx.Deadline(); ok {
		// A call that was cut short would not know that it has made the change.
		timeout = min(timeout, time.Until(deadline)*3/4)
	}
	if timeout <= 0 {
		return nil, 0, context.DeadlineExceeded
	}
	var commands rueidis.Commands
	if asking {
		commands = append(commands, conn.B().Asking().Build())
	}
	commands = append(commands,
		conn.B().Eval().Script(s.text).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build(),
		conn.B().Wait().Numreplicas(int64(wait.Number)).Timeout(max(1, timeout.Milliseconds())).Build(),
	)
	results := conn.DoMulti(ctx, commands...)
	results = results[len(results)-2:]
	if reply, err = replyOf(results[0]); err == nil {
		received, err = results[1].AsInt64()
	}
	if results[1].NonRedisError() != nil {
		conn.Close() // the response to WAIT may still be on its way
	}
	return reply, received, err
}

// dedicate returns a connection, and the function that gives it back. While as many as
// ClientOption.BlockingPoolSize are in use, rueidis waits for one without regard to ctx.
func dedicate(ctx context.Context, node rueidis.Client) (rueidis.DedicatedClient, func(), error) {
	type dedicated struct {
		conn    rueidis.DedicatedClient
		release func()
	}
	acquired := make(chan dedicated)
	go func() {
		conn, release := node.Dedicate()
		select {
		case acquired <- dedicated{conn, release}:
		case <-ctx.Done():
			release()
		}
	}()
	select {
	case d := <-acquired:
		return d.conn, d.release, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}
