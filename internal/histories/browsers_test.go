package histories

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/histories/check"
)

// A load is the browsers that use a fleet, and what they have recorded.
type load struct {
	fleet   *fleet
	seed    uint64
	began   time.Time
	running sync.WaitGroup

	mu       sync.Mutex
	history  []check.Op
	sessions map[string][]string // by user: the latest sessions
	retired  []string            // tokens that may have ended
	refusals map[string]int      // by user: logins refused by the limit, one after the other
	values   int
}

func newLoad(f *fleet, seed uint64) *load {
	return &load{fleet: f, seed: seed, began: time.Now(), sessions: map[string][]string{}, refusals: map[string]int{}}
}

func (l *load) now() time.Duration { return time.Since(l.began) }

// A browser has two tabs, which share its cookie.
type browser struct {
	*load
	number int

	mu    sync.Mutex
	user  string
	token string
}

const browserCount = 20

// start starts the browsers. Each uses the application until ctx is done.
func (l *load) start(ctx context.Context) {
	for number := range browserCount {
		b := &browser{load: l, number: number, user: l.userOf(number, 0)}
		for tab := range 2 {
			l.running.Go(func() {
				b.browse(ctx, rand.New(rand.NewPCG(l.seed, uint64(2*number+tab))))
			})
		}
	}
}

// userOf returns the next user of a browser. Some browsers share one, and the name says how
// many sessions it may have.
func (l *load) userOf(number, turn int) string {
	run := fmt.Sprintf("%d-%d", l.seed, l.began.UnixNano())
	switch kind := number % 10; kind {
	case 0, 1:
		return fmt.Sprintf("shared-%s-%d", run, number/10)
	case 2, 3:
		return fmt.Sprintf("two-%s-%d", run, turn)
	case 4, 5:
		return fmt.Sprintf("refused-%s-%d", run, turn)
	case 6, 7:
		return fmt.Sprintf("remembered-%s-%d-%d", run, number, turn)
	default:
		return fmt.Sprintf("own-%s-%d-%d", run, number, turn)
	}
}

func (b *browser) isRemembered() bool { return b.number%10 == 6 || b.number%10 == 7 }

// browse is what a person does in a tab.
func (b *browser) browse(ctx context.Context, r *rand.Rand) {
	for turn := 1; ctx.Err() == nil; turn++ {
		pause(ctx, time.Duration(r.IntN(40))*time.Millisecond)
		if b.isRemembered() && b.now()%(3*rememberedIdle) > rememberedIdle {
			continue // away until the session has idled out
		}
		b.step(ctx, r, turn)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (b *browser) step(ctx context.Context, r *rand.Rand, turn int) {
	user, token := b.state()
	if token == "" {
		b.logIn(ctx, r, user)
		return
	}
	op := check.Op{Token: token}
	switch n := r.IntN(100); {
	case n < 30:
		op.Kind = check.Page
	case n < 50:
		op.Kind, op.Key = check.Read, key(r)
	case n < 78:
		op.Kind, op.Key, op.Value = check.Write, key(r), b.newValue()
	case n < 84:
		b.logIn(ctx, r, user)
		return
	case n < 94:
		op.Kind = check.Logout
	case n < 96:
		op.Kind, op.Session = check.EndSession, b.anySession(r, user)
	case n < 98:
		op.Kind = check.EndOthers
	default:
		op.Kind, op.User = check.EndUser, user
	}
	op = b.send(ctx, r, op)
	switch {
	case op.Kind == check.Logout:
		b.forget(token)
		b.retire(token)
		b.setUser(b.userOf(b.number, b.turnAfter(user, turn)))
	case op.Outcome == check.Out:
		b.logIn(ctx, r, user) // with the cookie that it has
	}
	if op.Kind == check.Logout && op.Outcome == check.Done || op.Kind == check.EndUser {
		b.sendAgain(ctx, r.Uint64(), token)
	}
}

// turnAfter returns the turn of the next user of a browser: those with a limit stay the same
// until they are locked out.
func (b *browser) turnAfter(user string, turn int) int {
	b.load.mu.Lock()
	defer b.load.mu.Unlock()
	if max, _ := limitOf(user); max > 0 {
		return b.refusals[user] / 100
	}
	return turn
}

func (b *browser) logIn(ctx context.Context, r *rand.Rand, user string) {
	_, token := b.state()
	op := b.send(ctx, r, check.Op{Kind: check.Login, Token: token, User: user, Remembered: b.isRemembered()})
	b.retire(token)
	b.load.mu.Lock()
	defer b.load.mu.Unlock()
	switch op.Outcome {
	case check.Done:
		b.refusals[user] = 0
		b.sessions[user] = append(b.sessions[user], op.Session)
	case check.Full:
		b.refusals[user]++
	}
}

// sendAgain sends a token of a session that has probably ended a few times within 50 ms.
func (b *browser) sendAgain(ctx context.Context, seed uint64, token string) {
	b.running.Go(func() {
		r := rand.New(rand.NewPCG(seed, 0))
		thief := &browser{load: b.load, number: b.number}
		for range 3 {
			pause(ctx, time.Duration(r.IntN(17))*time.Millisecond)
			op := check.Op{Kind: check.Page, Token: token}
			if r.IntN(2) == 0 {
				op.Kind, op.Key, op.Value = check.Write, key(r), b.newValue()
			}
			thief.send(ctx, r, op)
		}
		if old := b.anyRetired(r); old != "" {
			thief.send(ctx, r, check.Op{Kind: check.Page, Token: old})
		}
	})
}

func (b *browser) state() (user, token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.user, b.token
}

func (b *browser) setUser(user string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.user = user
}

// retire notes a token that may have ended. That of a remembered session would be taken for a
// copy if it was sent later.
func (b *browser) retire(token string) {
	if token == "" || b.isRemembered() {
		return
	}
	b.load.mu.Lock()
	defer b.load.mu.Unlock()
	b.retired = append(b.retired, token)
}

// forget deletes the cookie, unless it is another one by now.
func (b *browser) forget(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.token == token {
		b.token = ""
	}
}

func key(r *rand.Rand) string { return []string{"a", "b"}[r.IntN(2)] }

func (l *load) newValue() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.values++
	return strconv.Itoa(l.values)
}

func (l *load) anySession(r *rand.Rand, user string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.sessions[user]
	if len(all) == 0 {
		return "none"
	}
	return all[max(0, len(all)-1-r.IntN(3))]
}

func (l *load) anyRetired(r *rand.Rand) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	latest := l.retired[max(0, len(l.retired)-200):]
	if len(latest) == 0 {
		return ""
	}
	return latest[r.IntN(len(latest))]
}

// send sends a request to any node, records it, and returns it with what came of it. One in
// twenty clients does not wait for the response, but for some with a remembered session: a
// lost response may end that.
func (b *browser) send(ctx context.Context, r *rand.Rand, op check.Op) check.Op {
	op.Node = r.IntN(len(b.fleet.nodes))
	query := url.Values{"k": {op.Key}, "v": {op.Value}, "user": {op.User}, "session": {op.Session}}
	if op.Remembered {
		query.Set("remember", "1")
	}
	if r.IntN(4) == 0 {
		query.Set("hold", (time.Duration(r.IntN(40)) * time.Millisecond).String())
	}
	ctx = context.WithoutCancel(ctx) // the last requests are completed
	patience := time.Hour
	if r.IntN(20) == 0 && b.number%10 != 7 {
		patience = time.Duration(r.IntN(8000)) * time.Microsecond
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	path := "/" + strings.ReplaceAll(string(op.Kind), " ", "-")
	target := b.fleet.nodes[op.Node].url.Load().(string) + path + "?" + query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, nil)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Accept", "application/json")
	if op.Token != "" {
		request.AddCookie(&http.Cookie{Name: cookieName, Value: op.Token})
	}
	op.Start = b.now()
	response, err := b.fleet.client.Do(request)
	var body []byte
	if err == nil {
		defer response.Body.Close()
		body, err = io.ReadAll(response.Body)
	}
	op.End = b.now()
	switch {
	case err == nil:
		b.receive(&op, response, string(body))
	case ctx.Err() != nil:
		op.Outcome = check.HungUp
	default:
		op.Outcome, op.Reason = check.NoResponse, err.Error()
	}
	b.load.mu.Lock()
	defer b.load.mu.Unlock()
	b.history = append(b.history, op)
	return op
}

// receive completes a request with its response, and keeps the cookie.
func (b *browser) receive(op *check.Op, response *http.Response, body string) {
	for _, c := range response.Cookies() {
		if c.Name == cookieName && c.MaxAge >= 0 {
			op.NewToken = c.Value
			b.mu.Lock()
			b.token = c.Value
			b.mu.Unlock()
		}
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusNoContent:
		op.Outcome = check.Done
		switch op.Kind {
		case check.Login:
			op.Session = body
		case check.Read:
			op.Value = body
		}
		if u := response.Header.Get(userHeader); u != "" {
			op.User = u
		}
	case http.StatusUnauthorized:
		op.Outcome = check.Out
		var problem struct{ Reason string }
		_ = json.Unmarshal([]byte(body), &problem)
		op.Reason = problem.Reason
	case http.StatusConflict:
		op.Outcome = check.Full
	case http.StatusServiceUnavailable:
		op.Outcome = check.Unavailable
	default:
		op.Outcome, op.Reason = check.NoResponse, fmt.Sprint(response.Status, " ", body)
	}
}
