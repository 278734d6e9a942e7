package bench

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"
	gincookie "github.com/gin-contrib/sessions/cookie"
	ginmemory "github.com/gin-contrib/sessions/memstore"
	"github.com/gorilla/sessions"

	"github.com/sessionguard-go/sessionguard/store"
)

const (
	cookieStoreName = "gorilla CookieStore, HMAC"
	getAloneName    = "gorilla CookieStore, HMAC, Get alone: nothing slides"
	memstoreName    = "scs memstore"
	ginName         = "gin-contrib/sessions cookie"
)

// withinTheProcess are those that need no server, each with a store of its own.
func withinTheProcess(t *testing.T) []func() subject {
	cookieStore := func(pairs ...[]byte) *sessions.CookieStore {
		s := sessions.NewCookieStore(pairs...)
		s.MaxAge(int(idle / time.Second))
		return s
	}
	dir := memoryDir(t)
	encrypted := [][]byte{keys[0], []byte("an encryption key with 32 bytes!")}
	return []func() subject{
		bare,
		func() subject { return mustOurs(t, oursName, store.NewMemory()) },
		func() subject { return ofGorilla(cookieStoreName, cookieStore(keys...)) },
		func() subject { return ofGorilla("gorilla CookieStore, HMAC and AES", cookieStore(encrypted...)) },
		func() subject { // ends the sessions of the one before
			os.RemoveAll(dir)
			check(os.Mkdir(dir, 0o700) == nil)
			s := sessions.NewFilesystemStore(dir, keys...)
			s.MaxAge(int(idle / time.Second))
			return ofGorilla("gorilla FilesystemStore, in memory", s)
		},
		func() subject {
			return withoutSliding(getAloneName, cookieStore(keys...))
		},
		func() subject { return ofSCS(memstoreName, memstore.NewWithCleanupInterval(0)) },
		func() subject { return ofGin(ginName, gincookie.NewStore(keys[0])) },
		func() subject { return ofGin("gin-contrib/sessions memstore", ginmemory.NewStore(keys[0])) },
	}
}

// memoryDir is an empty directory in memory, where the system has such a thing.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "sessionguard-bench-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// The ways in which one protected request is asked for.
const (
	serial   = "one client, a writer that costs nothing"
	recorded = "one client, a reset httptest.ResponseRecorder"
	parallel = "as many clients as cores, a writer that costs nothing"
)

// The other requests. What needs a session comes before what makes a fresh subject.
var others = []string{"value read", "value written", "login", "logout", "forged cookie", "ended session's cookie"}

var kinds = append([]string{serial, recorded, parallel}, others...)

// TestWithinTheProcess compares what a request costs where the sessions are in this
// process or in the cookie.
func TestWithinTheProcess(t *testing.T) {
	makers := withinTheProcess(t)
	var names []string
	results := map[string]map[string][]cost{} // by what, and by whom
	for round := range *rounds {
		var all []subject
		var visitors [][]*http.Request
		for _, fresh := range makers {
			s := fresh()
			all, visitors = append(all, s), append(visitors, s.visitors(t, runtime.NumCPU()))
			if round == 0 {
				names = append(names, s.name)
			}
		}
		for _, what := range kinds {
			if results[what] == nil {
				results[what] = map[string][]cost{}
			}
			for i := range all {
				i = (i + round) % len(all) // who begins has no advantage
				s := all[i]
				if s.name == bareName && slices.Contains(others, what) {
					continue
				}
				got := measure(t, what, s, makers[i], visitors[i])
				results[what][s.name] = append(results[what][s.name], got)
			}
		}
	}
	how := turns(*rounds, *each)
	publish(t, "protected", how, protectedTable(names, results))
	publish(t, "others", how, othersTable(names, results))

	beside := func(what, name string) string {
		return timesAsMany(ratios(results[what][name], results[what][oursName], cpu), "less CPU")
	}
	headlines["cookiestore"] = headline{"sessions in the process", "gorilla `CookieStore`, saved to slide", beside(serial, cookieStoreName)}
	headlines["memstore"] = headline{"", "scs `memstore`", beside(serial, memstoreName)}
	headlines["gin"] = headline{"", "gin-contrib/sessions `cookie`", beside(serial, ginName)}
	headlines["read"] = headline{"and one value read", "gorilla `CookieStore`, not saved", beside("value read", getAloneName)}
}

// measure is one turn of one subject.
func measure(t *testing.T, what string, s subject, fresh func() subject, visitors []*http.Request) cost {
	t.Helper()
	one := client{s.page, newWriter(), visitors[:1]}
	expected := http.StatusOK
	var got cost
	switch what {
	case serial:
		got = spend(*each, one)
	case recorded:
		one.answer = newRecorder()
		got = spend(*each, one)
	case parallel:
		var all []client
		for i := range visitors {
			all = append(all, client{s.page, newWriter(), visitors[i : i+1]})
		}
		got = spend(*each, all...)
	case "value read":
		one.asks = s.read
		got = spend(*each, one)
	case "value written":
		one.asks = s.write
		got = spend(*each, one)
	case "forged cookie":
		one.requests = []*http.Request{forged(visitors[0])}
		expected = http.StatusUnauthorized
		got = spend(*each, one)
	case "login": // into a store of its own, which begins empty
		one.asks = fresh().login
		one.requests = []*http.Request{loginRequest}
		got = spend(*each, one)
	case "logout":
		s := fresh()
		one.asks, one.requests = s.logout, logouts(s.visitors(t, max(1, int(*each/(100*time.Microsecond)))))
		expected = http.StatusSeeOther
		got = spend(0, one)
	case "ended session's cookie":
		s := fresh()
		one.asks, one.requests = s.page, s.visitors(t, 1)
		spend(0, client{s.logout, newWriter(), logouts(one.requests)})
		if got = spend(*each, one); got.status != http.StatusOK { // it may let it in
			expected = http.StatusUnauthorized
		}
	}
	if got.status != expected {
		t.Fatalf("%s: %s: %d", s.name, what, got.status)
	}
	return got
}

// logouts are what people who are logged in send to log out, from a browser.
func logouts(visitors []*http.Request) []*http.Request {
	all := make([]*http.Request, len(visitors))
	for i, v := range visitors {
		all[i] = v.Clone(v.Context())
		all[i].Method = "POST"
		all[i].Header.Set("Accept", "text/html") // or there is no redirect
	}
	return all
}

// forged is a request whose cookie nobody has made.
func forged(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	name, value, _ := strings.Cut(r.Header.Get("Cookie"), "=")
	middle := len(value) / 2
	other := "AAAA"
	if value[middle:middle+4] == other {
		other = "BBBB"
	}
	r.Header.Set("Cookie", name+"="+value[:middle]+other+value[middle+4:])
	return r
}

func protectedTable(names []string, results map[string]map[string][]cost) string {
	var table strings.Builder
	table.WriteString("| | CPU | × sessionguard | allocations | | in a recorder: CPU | × sessionguard | in parallel: requests/s | sessionguard serves × as many |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, name := range names {
		one, recorder, both := results[serial][name], results[recorded][name], results[parallel][name]
		fmt.Fprintf(&table, "| %s | %s | %s | %.0f | %.0f B | %s | %s | %.0f | %s |\n", name,
			nanos(one), ratio(ratios(one, results[serial][oursName], cpu)),
			of(one, func(c cost) float64 { return c.allocs }), of(one, func(c cost) float64 { return c.bytes }),
			nanos(recorder), ratio(ratios(recorder, results[recorded][oursName], cpu)),
			of(both, perSecond), ratio(ratios(results[parallel][oursName], both, perSecond)))
	}
	return table.String()
}

func othersTable(names []string, results map[string]map[string][]cost) string {
	var table strings.Builder
	table.WriteString("| CPU, × sessionguard |")
	for _, what := range others {
		fmt.Fprintf(&table, " %s |", what)
	}
	table.WriteString("\n|---|" + strings.Repeat("---|", len(others)) + "\n")
	for _, name := range names[1:] {
		fmt.Fprintf(&table, "| %s |", name)
		for _, what := range others {
			got := results[what][name]
			note := ""
			if what == "ended session's cookie" && got[0].status == http.StatusOK {
				note = ", **lets it in**"
			}
			fmt.Fprintf(&table, " %s, %s%s |", nanos(got), ratio(ratios(got, results[what][oursName], cpu)), note)
		}
		table.WriteByte('\n')
	}
	return table.String()
}

func cpu(c cost) float64       { return c.cpu }
func perSecond(c cost) float64 { return c.perSecond }

// of is the median.
func of(all []cost, what func(cost) float64) float64 {
	values := make([]float64, len(all))
	for i, c := range all {
		values[i] = what(c)
	}
	median, _, _ := middle(values)
	return median
}

// ratios are those of the same rounds.
func ratios(all, base []cost, what func(cost) float64) []float64 {
	ratios := make([]float64, len(all))
	for i := range all {
		ratios[i] = what(all[i]) / what(base[i])
	}
	return ratios
}

// ratio is a median and the two between which all are.
func ratio(all []float64) string {
	median, low, high := middle(all)
	if median < 10 {
		return fmt.Sprintf("%.1f (%.1f–%.1f)", median, low, high)
	}
	return fmt.Sprintf("%.0f (%.0f–%.0f)", median, low, high)
}

func nanos(all []cost) string {
	ns := of(all, cpu)
	if ns < 10_000 {
		return fmt.Sprintf("%.2f µs", ns/1000)
	}
	return fmt.Sprintf("%.0f µs", ns/1000)
}
