package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gorilla/sessions"

	"github.com/sessionguard-go/sessionguard/store"
)

// connections are how many ask over HTTP at the same time.
const connections = 16

// overHTTP is what one subject did in one round.
type overHTTP struct {
	perSecond float64
	cpu       time.Duration // of the server's process, per request
}

// TestOverHTTP compares what a protected request costs a real server, asked over
// loopback connections by another process.
func TestOverHTTP(t *testing.T) {
	cookieStore := sessions.NewCookieStore(keys...)
	cookieStore.MaxAge(int(idle / time.Second))
	subjects := []subject{bare()}
	for _, s := range []subject{
		mustOurs(t, oursName, store.NewMemory()),
		ofGorilla(cookieStoreName, cookieStore),
		ofSCS(memstoreName, memstore.NewWithCleanupInterval(0)),
	} {
		subjects = append(subjects, carrying(t, s), s)
	}
	generators := make([]*generator, len(subjects))
	for i, s := range subjects {
		generators[i] = newGenerator(t, s)
	}
	results := make([][]overHTTP, len(subjects))
	// Short turns and many: what is looked for is a small difference.
	n, short := 10**rounds, *each/10
	for round := range n {
		for i := range generators {
			i = (i + round) % len(generators) // who begins has no advantage
			results[i] = append(results[i], generators[i].turn(t, short))
		}
	}
	// more is the CPU, in µs, that one took more than the other in the same round.
	more := func(one, other int) (all []float64) {
		for round, got := range results[one] {
			all = append(all, micro(got.cpu-results[other][round].cpu))
		}
		return all
	}

	table := "| | requests/s | CPU of the server per request | more than the bare handler | of that, net/http's for such a cookie and such headers |\n|---|---|---|---|---|\n"
	added := map[string]float64{}
	for i := 0; i < len(subjects); i += 2 { // after the bare one, each follows what carries the same
		name := subjects[i].name
		var rates, cpus []float64
		for _, got := range results[i] {
			rates, cpus = append(rates, got.perSecond), append(cpus, micro(got.cpu))
		}
		table += fmt.Sprintf("| %s | %.0f | %.1f µs |", name, half(rates)[1], half(cpus)[1])
		if i > 0 {
			added[name] = half(more(i, 0))[1]
			table += fmt.Sprintf(" %s | %s |\n", within(more(i, 0)), within(more(i-1, 0)))
		} else {
			table += " | |\n"
		}
	}
	publish(t, "http", turns(n, short), table)
	headlines["http"] = headline{"over HTTP: CPU more than with a bare handler", "", fmt.Sprintf("%.1f µs, where it is %.0f with scs `memstore` and %.0f with gorilla `CookieStore`",
		added[oursName], added[memstoreName], added[cookieStoreName])}
}

// carrying is the bare handler as far as net/http can tell: the same cookie comes in and
// the same headers go out as with s.
func carrying(t *testing.T, s subject) subject {
	t.Helper()
	w := httptest.NewRecorder()
	s.page.ServeHTTP(w, s.visitors(t, 1)[0])
	answer := w.Result().Header
	s.page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), answer)
		_, _ = w.Write(body)
	})
	return s
}

// half are the two between which half of the values are, and the median between them.
func half(values []float64) (quartiles [3]float64) {
	slices.Sort(values)
	for i := range quartiles {
		quartiles[i] = values[len(values)*(i+1)/4]
	}
	return quartiles
}

func within(µs []float64) string {
	q := half(µs)
	return fmt.Sprintf("%.1f µs (%.1f–%.1f)", q[1], q[0], q[2])
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// A generator is the process that asks one subject's server.
type generator struct {
	orders io.Writer
	lines  *bufio.Reader
}

// generatorOf is the variable that makes this program a generator of load: the address
// it asks and, after a space, what it sends.
const generatorOf = "SESSIONGUARD_BENCH_GENERATOR"

func newGenerator(t *testing.T, s subject) *generator {
	t.Helper()
	server := httptest.NewServer(s.page)
	t.Cleanup(server.Close)
	cookie := s.visitors(t, 1)[0].Header.Get("Cookie")

	command := exec.Command(os.Args[0]) // ends when nobody tells it anything any more
	command.Env = append(os.Environ(), generatorOf+"="+server.Listener.Addr().String()+" "+cookie)
	command.Stderr = os.Stderr
	orders, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		orders.Close()
		if err := command.Wait(); err != nil {
			t.Error(s.name, "the generator:", err)
		}
	})
	g := &generator{orders, bufio.NewReader(output)}
	g.turn(t, *each/4) // connections and caches are warm from here on
	return g
}

// turn has the generator ask for so long.
func (g *generator) turn(t *testing.T, each time.Duration) overHTTP {
	t.Helper()
	runtime.GC() // nobody pays for what another left
	start, cpu := time.Now(), cpuTime()
	fmt.Fprintln(g.orders, each)
	line, err := g.lines.ReadString('\n')
	took, spent := time.Since(start), cpuTime()-cpu
	n := 0
	if _, scanned := fmt.Sscan(line, &n); err != nil || scanned != nil || n == 0 {
		t.Fatal("the generator says ", line, err)
	}
	return overHTTP{perSecond: float64(n) / took.Seconds(), cpu: spent / time.Duration(n)}
}

// generate is what the generator does: a turn for each line that it is told, until
// whoever tells it has gone.
func generate(server string) {
	addr, cookie, _ := strings.Cut(server, " ")
	request := fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n", addr, cookie)
	var open []net.Conn
	for range connections {
		c, err := net.Dial("tcp", addr)
		check(err == nil)
		open = append(open, c)
	}
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		each, err := time.ParseDuration(orders.Text())
		check(err == nil)
		counts := make([]int, len(open))
		var all sync.WaitGroup
		for i, c := range open {
			all.Go(func() { counts[i] = askOver(c, request, each) })
		}
		all.Wait()
		n := 0
		for _, of := range counts {
			n += of
		}
		fmt.Println(n)
	}
}

// askOver sends one request after another and reads the answers. What is in them it
// looks at only once: the two processes share the processors, and the less the
// generator does the better.
func askOver(c net.Conn, request []byte, each time.Duration) (n int) {
	var space [4096]byte
	send := func() {
		_, err := c.Write(request)
		check(err == nil)
	}
	send()
	var first bytes.Buffer
	answer, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &first)), nil)
	check(err == nil && answer.StatusCode == http.StatusOK)
	got, err := io.ReadAll(answer.Body)
	check(err == nil && bytes.Equal(got, body))

	length := first.Len()
	n = 1
	for end := time.Now().Add(each); time.Now().Before(end); n++ {
		send()
		_, err := io.ReadFull(c, space[:length])
		check(err == nil && string(space[:12]) == "HTTP/1.1 200")
	}
	return n
}
