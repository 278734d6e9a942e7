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
	retired  []retired           // tokens that may have ended
	unended  []string            // tokens that nodes go on trying to end
	refusals int                 // logins refused by the limit, one after the other
	lockouts int                 // how often they were too many
	values   int
}

type retired struct {
	token string
	at    time.Duration
}

func newLoad(f *fleet, seed uint64) *load {
	return &load{fleet: f, seed: seed, began: time.Now(), sessions: map[string][]string{}}
}

func (l *load) now() time.Duration { return time.Since(l.began) }

// A browser has two tabs, which share its cookie.
type browser struct {
	*load
	number  int
	kind    kind
	patient bool // it waits for every response

	mu    sync.Mutex
	user  string
	token string
}

// A kind of browser begins the names of its users.
type kind string

const (
	own        kind = "own"        // a new user after each logout
	shared     kind = "shared"     // the same user as in other browsers
	two        kind = "two"        // that too; a third session ends one of two
	refused    kind = "refused"    // that too; a third session is refused
	remembered kind = "remembered" // as own, but the session is remembered, and often idles out
)

var kinds = []kind{own, own, shared, shared, two, two, refused, refused, remembered, remembered}

const browserCount = 20

// start starts the browsers. Each uses the application until ctx is done.
func (l *load) start(ctx context.Context) {
	for number := range browserCount {
		b := &browser{load: l, number: number, kind: kinds[number%len(kinds)]}
		// If the response to a revival is lost, the session may end. So some never lose one.
		b.patient = b.kind == remembered && number%2 == 0
		b.user = b.nextUser(0)
		for tab := range 2 {
			l.running.Go(func() {
				b.browse(ctx, rand.New(rand.NewPCG(l.seed, uint64(2*number+tab))))
			})
		}
	}
}

// limitOf returns how many sessions a user may have: it depends on the kind.
func limitOf(user string) (max int, refuse bool) {
	name, _, _ := strings.Cut(user, "-")
	switch kind(name) {
	case two:
		return 2, false
	case refused:
		return 2, true
	}
	return 0, false
}

// nextUser returns the user of a browser after a number of turns. Those with a limit stay
// the same unless they are locked out.
func (b *browser) nextUser(turn int) string {
	run := fmt.Sprintf("%s-%d-%d", b.kind, b.seed, b.began.UnixNano())
	switch b.kind {
	case shared:
		return fmt.Sprintf("%s-%d", run, b.number/len(kinds))
	case two, refused:
		b.load.mu.Lock()
		defer b.load.mu.Unlock()
		return fmt.Sprintf("%s-%d", run, b.lockouts)
	}
	return fmt.Sprintf("%s-%d-%d", run, b.number, turn)
}

// browse is what a person does in a tab.
func (b *browser) browse(ctx context.Context, r *rand.Rand) {
	for turn := 1; ctx.Err() == nil; turn++ {
		pause(ctx, time.Duration(r.IntN(40))*time.Millisecond)
		if b.kind == remembered && b.now()%(3*rememberedIdle) > rememberedIdle {
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
		if b.kind == own && n == 83 { // somebody else, in the same browser
			user = b.nextUser(turn)
			b.setUser(user)
		}
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
	limited := b.kind == two || b.kind == refused // whoever is logged in is then the user of EndUser
	if op.Retried && (op.Kind == check.Logout && b.kind != remembered || op.Kind == check.EndUser && limited) {
		b.forget(token) // so that nothing else ends the session
		b.noteUnended(token)
	}
	switch {
	case op.Kind == check.Logout:
		b.forget(token)
		b.retire(token)
		b.setUser(b.nextUser(turn))
	case op.Outcome == check.Out:
		b.logIn(ctx, r, user) // with the cookie that it has
	}
	if op.Kind == check.Logout && op.Outcome == check.Done || op.Kind == check.EndUser {
		b.sendAgain(ctx, r.Uint64(), token)
	}
}

func (b *browser) logIn(ctx context.Context, r *rand.Rand, user string) {
	_, token := b.state()
	op := b.send(ctx, r, check.Op{Kind: check.Login, Token: token, User: user, Remembered: b.kind == remembered})
	b.retire(token)
	switch op.Outcome {
	case check.Done:
		b.noteSession(user, op.Session)
	case check.Full:
		b.noteRefusal()
		b.setUser(b.nextUser(0))
	}
}

func (b *browser) noteSession(user, session string) {
	b.load.mu.Lock()
	defer b.load.mu.Unlock()
	b.sessions[user] = append(b.sessions[user], session)
	if b.kind == refused {
		b.refusals = 0
	}
}

func (b *browser) noteRefusal() {
	b.load.mu.Lock()
	defer b.load.mu.Unlock()
	if b.refusals++; b.refusals == 100 {
		b.refusals = 0
		b.lockouts++
	}
}

// sendAgain sends a token of a session that has probably ended a few times within 50 ms.
func (b *browser) sendAgain(ctx context.Context, seed uint64, token string) {
	b.running.Go(func() {
		r := rand.New(rand.NewPCG(seed, 0))
		thief := &browser{load: b.load, patient: b.patient}
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
	if token == "" || b.kind == remembered {
		return
	}
	b.load.mu.Lock()
	defer b.load.mu.Unlock()
	b.retired = append(b.retired, retired{token, b.now()})
}

func (b *browser) noteUnended(token string) {
	b.load.mu.Lock()
	defer b.load.mu.Unlock()
	b.unended = append(b.unended, token)
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
	return latest[r.IntN(len(latest))].token
}

// send sends a request to any node, records it, and returns it with what came of it. One in
// twenty clients does not wait for the response.
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
	if r.IntN(20) == 0 && !b.patient {
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
		op.Retried = op.Kind == check.Login || op.Kind == check.Logout || response.Header.Get(retriedHeader) != ""
	default:
		op.Outcome, op.Reason = check.NoResponse, fmt.Sprint(response.Status, " ", body)
	}
}
