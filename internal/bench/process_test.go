package bench

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
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
	encrypted := [][]byte{keys[0], []byte("an encryption key with 32 bytes!")}
	return []func() subject{
		bare,
		func() subject { return mustOurs(t, oursName, store.NewMemory()) },
		func() subject { return ofGorilla(cookieStoreName, cookieStore(keys...)) },
		func() subject { return ofGorilla("gorilla CookieStore, HMAC and AES", cookieStore(encrypted...)) },
		func() subject {
			s := sessions.NewFilesystemStore(memoryDir(t), keys...)
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

// memoryDir is a directory in memory, where the system has such a thing.
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

// The other requests.
var others = []string{"value read", "value written", "login", "logout", "forged cookie", "ended session's cookie"}

// TestWithinTheProcess compares what a request costs where the sessions are in this
// process or in the cookie.
func TestWithinTheProcess(t *testing.T) {
	subjects := withinTheProcess(t)
	names := make([]string, len(subjects))
	results := map[string]map[string][]cost{} // by what, and by whom
	for range *rounds {
		for i, fresh := range subjects {
			names[i] = fresh().name
			for what, got := range turn(t, fresh) {
				if results[what] == nil {
					results[what] = map[string][]cost{}
				}
				results[what][names[i]] = append(results[what][names[i]], got)
			}
		}
	}
	publish(t, "protected", protectedTable(names, results))
	publish(t, "others", othersTable(names, results))

	beside := func(what, name string) string {
		return timesAsMany(ratios(results[what][name], results[what][oursName], cpu), "less CPU")
	}
	headlines["cookiestore"] = headline{"sessions in the process", "gorilla `CookieStore`, saved to slide", beside(serial, cookieStoreName)}
	headlines["memstore"] = headline{"", "scs `memstore`", beside(serial, memstoreName)}
	headlines["gin"] = headline{"", "gin-contrib/sessions `cookie`", beside(serial, ginName)}
	headlines["read"] = headline{"and one value read", "gorilla `CookieStore`, not saved", beside("value read", getAloneName)}
}

// turn measures everything of one subject.
func turn(t *testing.T, fresh func() subject) map[string]cost {
	t.Helper()
	got := map[string]cost{}
	measure := func(what string, h http.Handler, each time.Duration, requests ...*http.Request) {
		got[what] = spend(h, []client{{newWriter(), requests}}, each)
	}
	s := fresh()
	measure("login", s.login, *each, httptest.NewRequest("POST", "/login", nil))

	s = fresh()
	visitors := s.visitors(t, max(runtime.NumCPU(), int(*each/(20*time.Microsecond))))
	one := visitors[0]
	measure(serial, s.page, *each, one)
	got[recorded] = spend(s.page, []client{{newRecorder(), visitors[:1]}}, *each)
	var clients []client
	for i := range runtime.NumCPU() {
		clients = append(clients, client{newWriter(), visitors[i : i+1]})
	}
	got[parallel] = spend(s.page, clients, *each)
	if s.name == bareName {
		return got
	}
	measure("value read", s.read, *each, one)
	measure("value written", s.write, *each, one)
	measure("forged cookie", s.page, *each, forged(one))

	logouts := make([]*http.Request, len(visitors))
	for i, v := range visitors {
		logouts[i] = v.Clone(t.Context())
		logouts[i].Method = "POST"
		logouts[i].Header.Set("Accept", "text/html") // as a browser does, to be redirected
	}
	measure("logout", s.logout, 0, logouts...)
	measure("ended session's cookie", s.page, *each, one)

	for what, of := range got {
		expected := http.StatusOK
		switch {
		case what == "logout":
			expected = http.StatusSeeOther
		case what == "forged cookie", what == "ended session's cookie" && of.status != http.StatusOK:
			expected = http.StatusUnauthorized
		}
		if of.status != expected {
			t.Fatalf("%s: %s: %d", s.name, what, of.status)
		}
	}
	return got
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
	table.WriteString("| | CPU | × sessionguard | allocations | | in a recorder: CPU | × sessionguard | in parallel: requests/s | × sessionguard |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, name := range names {
		one, recorder, both := results[serial][name], results[recorded][name], results[parallel][name]
		fmt.Fprintf(&table, "| %s | %s | %s | %.0f | %.0f B | %s | %s | %.0f | %s |\n", name,
			nanos(one), ratio(ratios(one, results[serial][oursName], cpu)),
			of(one, func(c cost) float64 { return c.allocs }), of(one, func(c cost) float64 { return c.bytes }),
			nanos(recorder), ratio(ratios(recorder, results[recorded][oursName], cpu)),
			of(both, perSecond), ratio(ratios(both, results[parallel][oursName], perSecond)))
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
