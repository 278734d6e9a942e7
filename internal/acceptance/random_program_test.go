package acceptance

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// A program is what TestRandomPrograms runs: a few visits to one application.
type program struct {
	seed   uint64
	remote bool // the backend is not a *store.Memory, and may fail
	limit  store.Limit
	visits []*visit
}

// A visit is one request, and the handler that serves it.
type visit struct {
	client  int // which browser
	method  string
	path    string
	page    bool          // the browser navigates; otherwise a script asks
	upgrade bool          // to a WebSocket
	planted planted       // what other session cookie is sent as well
	after   time.Duration // since the last
	faults  []*fault
	tree    []*node // of the handler
}

// planted is a second session cookie of a request.
type planted int

const (
	plantedNone  planted = iota
	plantedLast          // the next browser's, after this one's own
	plantedFirst         // the next browser's, before this one's own
	plantedOld           // one that this browser had earlier, before the one that it has
)

// A fault is what happens to one call of the backend or of FindUser during a visit.
type fault struct {
	call    string
	nth     int // of the visit's calls with this key; from 0
	keys    int // 0: of sessions with an even number, 1: with an odd one, 2: all
	how     faultKind
	meaning []*visit // of faultMeanwhile: what other browsers do before the call
}

type faultKind int

const (
	faultBefore    faultKind = iota // the call has no effect and fails
	faultAfter                      // the call has its effect and fails
	faultMeanwhile                  // the call comes after another request
	faultPanic                      // of FindUser
)

// A node is a step of a handler, or a wrapper around kids.
type node struct {
	op     *op
	n      int
	kids   []*node
	visits []*visit // of a step during which others visit
	fixed  bool     // shrinking keeps it
}

// generate makes the program of a seed.
func generate(seed uint64) *program {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x5e551094ad))}
	p := &program{seed: seed, remote: g.IntN(3) == 0}
	p.limit = []store.Limit{{}, {Max: 1}, {Max: 1, Refuse: true}, {Max: 2, Refuse: true}, {Max: 2}}[g.IntN(5)]
	g.remote = p.remote
	for range 2 + g.IntN(4) {
		p.visits = append(p.visits, g.visit())
	}
	return p
}

type generator struct {
	*rand.Rand
	remote   bool
	depth    int // of visits during visits
	client   int // of the visit
	inCall   bool
	inStream bool // inside CancelOnEnd
}

func (g *generator) oneIn(n int) bool { return g.IntN(n) == 0 }

var (
	backendCalls = []string{"Create", "Replace", "Load", "Touch", "Save", "Delete", "Delete", "LoadByID", "ByOwner", "DeleteByID", "All"}
	pauses       = []time.Duration{time.Millisecond, time.Millisecond, time.Second, 20 * time.Second, 2 * time.Minute, 16 * time.Minute, 31 * time.Minute, 13 * time.Hour}
)

func (g *generator) visit() *visit {
	v := &visit{
		client: min(g.IntN(4), clients-1), path: "/page", page: g.oneIn(2), upgrade: g.oneIn(12),
		method: []string{http.MethodGet, http.MethodPost, http.MethodPost, http.MethodHead}[g.IntN(4)],
		after:  pauses[min(g.IntN(len(pauses)), g.IntN(len(pauses)))],
	}
	if g.oneIn(6) {
		v.planted = planted(min(1+g.IntN(4), int(plantedOld)))
	}
	if g.depth == 0 {
		g.client = v.client
	}
	if g.inCall {
		v.after = time.Millisecond
	}
	if g.oneIn(10) {
		v.path = "/login"
	}
	if !g.inCall && g.oneIn(3) {
		for range 1 + g.IntN(2) {
			v.faults = append(v.faults, g.fault())
		}
	}
	entry := "Handler"
	if g.oneIn(4) {
		entry = []string{"RequireLogin", "RequireRole", "RequireFresh", "Passive", "CancelOnEnd"}[g.IntN(5)]
	}
	v.tree = []*node{{op: opNamed(entry), n: g.IntN(4), kids: g.kids(opNamed(entry), 3), fixed: true}}
	for g.oneIn(3) {
		outer := []string{"recoverer", "TimeoutHandler", "buffer", "copy of the request"}[g.IntN(4)]
		v.tree = []*node{{op: opNamed(outer), n: g.IntN(2), kids: v.tree}}
	}
	return v
}

func (g *generator) fault() *fault {
	f := &fault{call: "FindUser", nth: g.IntN(2) * g.IntN(2), keys: g.IntN(3), how: faultKind(g.IntN(3))}
	if g.remote && !g.oneIn(8) {
		f.call = backendCalls[g.IntN(len(backendCalls))]
	} else if g.oneIn(3) {
		f.how = faultPanic
	}
	if f.how == faultMeanwhile {
		f.meaning = g.others(true)
	}
	return f
}

// others returns visits in the middle of this one.
func (g *generator) others(inCall bool) []*visit {
	if g.depth > 0 {
		return nil
	}
	defer func(inCall, inStream bool) { g.depth--; g.inCall, g.inStream = inCall, inStream }(g.inCall, g.inStream)
	g.depth++
	g.inStream = false
	g.inCall = g.inCall || inCall
	v := g.visit()
	if g.oneIn(2) {
		v.client = g.client // another tab
	}
	return []*visit{v}
}

// steps returns a random part of a handler, in which wrappers are nested up to depth.
func (g *generator) steps(depth int) (nodes []*node) {
	for range 1 + g.IntN(4) {
		o := g.op()
		if o.wraps && depth == 0 || o.slow && g.inCall || o.name == "TimeoutHandler" && g.inStream {
			continue // an end that ends a stream would let http.TimeoutHandler respond at the same time
		}
		n := &node{op: o, n: g.IntN(max(1, o.args))}
		if o.wraps {
			n.kids = g.kids(o, depth-1)
		}
		if o.visits {
			n.visits = g.others(false)
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// kids returns what is inside of a wrapper.
func (g *generator) kids(o *op, depth int) []*node {
	defer func(was bool) { g.inStream = was }(g.inStream)
	g.inStream = g.inStream || o.name == "CancelOnEnd"
	return g.steps(depth)
}

func (g *generator) op() *op {
	total := 0
	for i := range ops {
		total += ops[i].weight
	}
	at := g.IntN(total)
	for i := range ops {
		if at -= ops[i].weight; at < 0 {
			return &ops[i]
		}
	}
	panic("unreachable")
}

func opNamed(name string) *op {
	i := slices.IndexFunc(ops, func(o op) bool { return o.name == name })
	return &ops[i]
}

// String returns the program as somebody reads it who looks for the mistake.
func (p *program) String() string {
	var b strings.Builder
	backend := "store.Memory"
	if p.remote {
		backend = "a remote backend"
	}
	fmt.Fprintf(&b, "seed %d, %s, limit %+v\n", p.seed, backend, p.limit)
	for _, v := range p.visits {
		v.print(&b, "")
	}
	return b.String()
}

func (v *visit) print(b *strings.Builder, indent string) {
	fmt.Fprintf(b, "%s%v later, browser %d: %s %s", indent, v.after, v.client, v.method, v.path)
	for i, is := range []bool{v.page, v.upgrade} {
		if is {
			b.WriteString([]string{", page", ", upgrade"}[i])
		}
	}
	b.WriteString([]string{"", ", planted cookie", ", planted cookie first", ", old cookie first"}[v.planted] + "\n")
	for _, f := range v.faults {
		how := []string{"fails without effect", "takes effect and fails", "comes after:", "panics"}[f.how]
		keys := []string{"sessions with an even number", "sessions with an odd number", "any session"}[f.keys]
		fmt.Fprintf(b, "%s  fault: call %d of %s for %s %s\n", indent, f.nth+1, f.call, keys, how)
		for _, other := range f.meaning {
			other.print(b, indent+"    ")
		}
	}
	printNodes(b, v.tree, indent+"  ")
}

func printNodes(b *strings.Builder, nodes []*node, indent string) {
	for _, n := range nodes {
		arg := ""
		if n.op.args > 1 {
			arg = fmt.Sprintf("(%d)", n.n)
		}
		fmt.Fprintf(b, "%s%s%s\n", indent, n.op.name, arg)
		printNodes(b, n.kids, indent+"  ")
		for _, v := range n.visits {
			v.print(b, indent+"  ")
		}
	}
}

// shrink removes from p whatever is not needed for fails to report true.
func (p *program) shrink(fails func() bool) {
	for smaller := true; smaller; {
		smaller = removeEach(&p.visits, fails)
		p.walk(func(v *visit) {
			smaller = removeEach(&v.faults, fails) || smaller
			smaller = try(&v.planted, plantedNone, fails) || smaller
			smaller = try(&v.upgrade, false, fails) || smaller
			smaller = try(&v.path, "/page", fails) || smaller
			smaller = try(&v.after, time.Millisecond, fails) || smaller
		}, func(nodes *[]*node) {
			smaller = removeEach(nodes, fails) || smaller
			for i := 0; i < len(*nodes); i++ {
				n := (*nodes)[i]
				unwrapped := slices.Concat((*nodes)[:i], n.kids, (*nodes)[i+1:])
				smaller = len(n.kids) > 0 && !n.fixed && try2(nodes, unwrapped, fails) || smaller
			}
		})
		smaller = try(&p.limit, store.Limit{}, fails) || smaller
	}
}

func removeEach[T any](list *[]T, fails func() bool) (removed bool) {
	for i := len(*list) - 1; i >= 0; i-- {
		if n, ok := any((*list)[i]).(*node); ok && n.hasFixed() {
			continue
		}
		removed = try2(list, slices.Concat((*list)[:i], (*list)[i+1:]), fails) || removed
	}
	return removed
}

// hasFixed reports whether n is, or contains, the outermost wrapper of the guard.
func (n *node) hasFixed() bool {
	return n.fixed || slices.ContainsFunc(n.kids, (*node).hasFixed)
}

func try[T comparable](at *T, to T, fails func() bool) bool {
	was := *at
	if was == to {
		return false
	}
	if *at = to; fails() {
		return true
	}
	*at = was
	return false
}

func try2[T any](at *[]T, to []T, fails func() bool) bool {
	was := *at
	if *at = to; fails() {
		return true
	}
	*at = was
	return false
}

// walk calls onVisit for every visit, and onNodes for every list of nodes.
func (p *program) walk(onVisit func(*visit), onNodes func(*[]*node)) {
	var nodes func(list *[]*node)
	var visits func(list []*visit)
	nodes = func(list *[]*node) {
		onNodes(list)
		for _, n := range *list {
			nodes(&n.kids)
			visits(n.visits)
		}
	}
	visits = func(list []*visit) {
		for _, v := range list {
			onVisit(v)
			for _, f := range v.faults {
				visits(f.meaning)
			}
			nodes(&v.tree)
		}
	}
	visits(p.visits)
}
