package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
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

// connections is the number of concurrent HTTP clients.
const connections = 16

// An httpResult is what one subject achieved in one turn.
type httpResult struct {
	perSecond float64
	cpu       time.Duration // of the server's process, per request
}

// TestOverHTTP compares what a protected request costs a real server. Another process sends
// the requests over loopback connections.
func TestOverHTTP(t *testing.T) {
	cookieStore := sessions.NewCookieStore(keys...)
	cookieStore.MaxAge(int(idle / time.Second))
	subjects := []subject{bareSubject()}
	guard := newGuardSubject(t, guardName, store.NewMemory())
	for _, s := range []subject{
		guard, newLeastSubject(t, guard), newCheckingSubject(t, guard),
		newGorillaSubject(cookieStoreName, cookieStore),
		newSCSSubject(memstoreName, memstore.NewWithCleanupInterval(0)),
	} {
		subjects = append(subjects, bareWithHeadersOf(t, s), s)
	}
	generators := make([]*generator, len(subjects))
	for i, s := range subjects {
		generators[i] = newGenerator(t, s)
	}
	results := make([][]httpResult, len(subjects))
	// Many short turns, because the differences are small.
	n, short := 10**rounds, *turnLength/10
	for round := range n {
		for i := range generators {
			i = (i + round) % len(generators) // another one begins each round
			results[i] = append(results[i], generators[i].turn(t, short))
		}
	}
	// moreThanBare returns the CPU, in µs, that a subject needed more than the bare handler,
	// for each round.
	moreThanBare := func(subject int) (all []float64) {
		for round, got := range results[subject] {
			all = append(all, microseconds(got.cpu-results[0][round].cpu))
		}
		return all
	}

	table := "| | requests/s | CPU of the server per request | more than the bare handler | of that, net/http's for such a cookie and such headers |\n|---|---|---|---|---|\n"
	added, whole := map[string]float64{}, map[string]float64{}
	perRound := map[string][]float64{}      // the CPU in µs
	for i := 0; i < len(subjects); i += 2 { // each follows the bare handler with its headers
		name := subjects[i].name
		var rates []float64
		for _, got := range results[i] {
			rates, perRound[name] = append(rates, got.perSecond), append(perRound[name], microseconds(got.cpu))
		}
		whole[name] = quartiles(slices.Clone(perRound[name]))[1]
		table += fmt.Sprintf("| %s | %.0f | %.1f µs |", name, quartiles(rates)[1], whole[name])
		if i > 0 {
			added[name] = quartiles(moreThanBare(i))[1]
			table += fmt.Sprintf(" %s | %s |\n", formatQuartiles(moreThanBare(i)), formatQuartiles(moreThanBare(i-1)))
		} else {
			table += " | |\n"
		}
	}
	publish(t, "http", describeTurns(n, short), table)
	addedOfWhole := func(name string) string { return fmt.Sprintf("%.0f of %.0f", added[name], whole[name]) }
	headlines["http"] = headline{"over HTTP: CPU more than with a bare handler", "", fmt.Sprintf("%.1f µs of %.0f, where it is %s with scs `memstore` and %s with gorilla `CookieStore`",
		added[guardName], whole[guardName], addedOfWhole(memstoreName), addedOfWhole(cookieStoreName))}
	var times []float64
	for round, cpu := range perRound[memstoreName] {
		times = append(times, cpu/perRound[guardName][round])
	}
	headlines["overhttp"] = headline{"over HTTP, with net/http's own cost", "scs `memstore`", formatTimes(times, "less CPU")}
}

// bareWithHeadersOf returns s with a bare handler in place of its page. Requests and
// responses have the same cookie and headers as with s, so net/http does the same work.
func bareWithHeadersOf(t *testing.T, s subject) subject {
	t.Helper()
	recorded := recordResponse(s.page, s.loggedIn(t, 1)[0])
	s.page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { recorded.send(w) })
	return s
}

// quartiles returns the three quartiles. The second is the median. It sorts values.
func quartiles(values []float64) (q [3]float64) {
	slices.Sort(values)
	for i := range q {
		q[i] = values[len(values)*(i+1)/4]
	}
	return q
}

func formatQuartiles(µs []float64) string {
	q := quartiles(µs)
	return fmt.Sprintf("%.1f µs (%.1f–%.1f)", q[1], q[0], q[2])
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// A generator is the process that sends requests to one subject's server.
type generator struct {
	commands io.Writer
	results  *bufio.Reader
}

// generatorEnv is the environment variable that makes this program a load generator. Its
// value is the server's address, a space and the cookie to send.
const generatorEnv = "SESSIONGUARD_BENCH_GENERATOR"

func newGenerator(t *testing.T, s subject) *generator {
	t.Helper()
	server := httptest.NewServer(s.page)
	t.Cleanup(server.Close)
	cookie := s.loggedIn(t, 1)[0].Header.Get("Cookie")

	command := exec.Command(os.Args[0]) // ends when its standard input is closed
	command.Env = append(os.Environ(), generatorEnv+"="+server.Listener.Addr().String()+" "+cookie)
	command.Stderr = os.Stderr
	commands, err := command.StdinPipe()
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
		commands.Close()
		if err := command.Wait(); err != nil {
			t.Error(s.name, "load generator:", err)
		}
	})
	g := &generator{commands, bufio.NewReader(output)}
	g.turn(t, *turnLength/4) // warms up connections and caches
	return g
}

// turn makes the generator send requests for the given time.
func (g *generator) turn(t *testing.T, length time.Duration) httpResult {
	t.Helper()
	runtime.GC() // so that garbage of the turn before does not count
	start, cpu := time.Now(), cpuTime()
	fmt.Fprintln(g.commands, length)
	line, err := g.results.ReadString('\n')
	took, spent := time.Since(start), cpuTime()-cpu
	n := 0
	if _, scanned := fmt.Sscan(line, &n); err != nil || scanned != nil || n == 0 {
		t.Fatal("load generator: ", line, err)
	}
	return httpResult{perSecond: float64(n) / took.Seconds(), cpu: spent / time.Duration(n)}
}

// generate is the load generator's main function. For each line of standard input, which is
// a duration, it sends requests that long and prints their number.
func generate(server string) {
	addr, cookie, _ := strings.Cut(server, " ")
	request := fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n", addr, cookie)
	var open []net.Conn
	for range connections {
		c, err := net.Dial("tcp", addr)
		check(err == nil)
		open = append(open, c)
	}
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		length, err := time.ParseDuration(commands.Text())
		check(err == nil)
		counts := make([]int, len(open))
		var all sync.WaitGroup
		for i, c := range open {
			all.Go(func() { counts[i] = sendRequests(c, request, length) })
		}
		all.Wait()
		n := 0
		for _, count := range counts {
			n += count
		}
		fmt.Println(n)
	}
}

// sendRequests sends one request after another and reads the responses. It parses only the
// first: the generator shares the processors with the server, so it should do little.
func sendRequests(c net.Conn, request []byte, duration time.Duration) (n int) {
	var space [4096]byte
	send := func() {
		_, err := c.Write(request)
		check(err == nil)
	}
	send()
	var first bytes.Buffer
	response, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &first)), nil)
	check(err == nil && response.StatusCode == http.StatusOK)
	got, err := io.ReadAll(response.Body)
	check(err == nil && bytes.Equal(got, body))

	length := first.Len()
	n = 1
	for end := time.Now().Add(duration); time.Now().Before(end); n++ {
		send()
		_, err := io.ReadFull(c, space[:length])
		check(err == nil && string(space[:12]) == "HTTP/1.1 200")
	}
	return n
}
