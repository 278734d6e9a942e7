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
	getOnlyName     = "gorilla CookieStore, HMAC, Get alone: nothing slides"
	memstoreName    = "scs memstore"
	ginName         = "gin-contrib/sessions cookie"
)

// inProcessSubjects returns constructors of the subjects that need no server, each with a
// new store.
func inProcessSubjects(t *testing.T) []func() subject {
	cookieStore := func(pairs ...[]byte) *sessions.CookieStore {
		s := sessions.NewCookieStore(pairs...)
		s.MaxAge(int(idle / time.Second))
		return s
	}
	dir := memoryDir(t)
	encrypted := [][]byte{keys[0], []byte("an encryption key with 32 bytes!")}
	return []func() subject{
		bareSubject,
		func() subject { return newGuardSubject(t, guardName, store.NewMemory()) },
		func() subject { return newLeastSubject(t, newGuardSubject(t, guardName, store.NewMemory())) },
		func() subject { return newCheckingSubject(t, newGuardSubject(t, guardName, store.NewMemory())) },
		func() subject { return newCheckingSubjectOnMemory(t, newGuardSubject(t, guardName, store.NewMemory())) },
		func() subject { return newGuardSubject(t, touchingName, newAlwaysTouched(store.NewMemory())) },
		func() subject { return newGorillaSubject(cookieStoreName, cookieStore(keys...)) },
		func() subject {
			return newGorillaSubject("gorilla CookieStore, HMAC and AES", cookieStore(encrypted...))
		},
		func() subject { // deletes the sessions of the previous one
			os.RemoveAll(dir)
			check(os.Mkdir(dir, 0o700) == nil)
			s := sessions.NewFilesystemStore(dir, keys...)
			s.MaxAge(int(idle / time.Second))
			return newGorillaSubject("gorilla FilesystemStore, in memory", s)
		},
		func() subject {
			return newGorillaSubjectWithoutSave(getOnlyName, cookieStore(keys...))
		},
		func() subject { return newSCSSubject(memstoreName, memstore.NewWithCleanupInterval(0)) },
		func() subject { return newSCSSubjectWithJSON(memstoreName, memstore.NewWithCleanupInterval(0)) },
		func() subject { return newSCSSubjectWithoutSlide(memstoreName, memstore.NewWithCleanupInterval(0)) },
		func() subject { return newGinSubject(ginName, gincookie.NewStore(keys[0])) },
		func() subject { return newGinSubject("gin-contrib/sessions memstore", ginmemory.NewStore(keys[0])) },
	}
}

// memoryDir returns an empty directory, in memory if the system has a file system for that.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "sessionguard-bench-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// The ways to send the request for the protected page.
const (
	serial   = "one client, a writer that costs nothing"
	recorded = "one client, a reset httptest.ResponseRecorder"
	parallel = "as many clients as cores, a writer that costs nothing"
)

// otherKinds are the other requests. Those that use the session of the subject come before
// those that make a fresh subject.
var otherKinds = append([]string{"value read", "value written", "login", "logout"}, refusedKinds...)

// refusedKinds are those of clients that are not logged in.
var refusedKinds = []string{"forged cookie", "ended session's cookie"}

var kinds = append([]string{serial, recorded, parallel}, otherKinds...)

// TestInProcess compares what a request costs if the sessions are in this process or in the
// cookie.
func TestInProcess(t *testing.T) {
	makers := inProcessSubjects(t)
	var names []string
	results := map[string]map[string][]cost{} // by kind and name, one per round
	for round := range *rounds {
		var all []subject
		var requests [][]*http.Request
		for _, fresh := range makers {
			s := fresh()
			all, requests = append(all, s), append(requests, s.loggedIn(t, runtime.NumCPU()))
			if round == 0 {
				names = append(names, s.name)
			}
		}
		for _, kind := range kinds {
			if results[kind] == nil {
				results[kind] = map[string][]cost{}
			}
			for i := range all {
				i = (i + round) % len(all) // another one begins each round
				s := all[i]
				if !s.serves(kind) {
					continue
				}
				got := measureKind(t, kind, s, makers[i], requests[i])
				results[kind][s.name] = append(results[kind][s.name], got)
			}
		}
	}
	how := describeTurns(*rounds, *turnLength)
	publish(t, "protected", how, protectedTable(names, results))
	publish(t, "others", how, othersTable(names, results))

	timesLess := func(kind, name string) string {
		return formatTimes(ratios(results[kind][name], results[kind][guardName], cpu), "less CPU")
	}
	inProcess := "sessions in the process, no value read, without HTTP"
	headlines["cookiestore"] = headline{inProcess, "gorilla `CookieStore`, saved to slide", timesLess(serial, cookieStoreName)}
	headlines["memstore"] = headline{inProcess, "scs `memstore`", timesLess(serial, memstoreName)}
	headlines["json"] = headline{inProcess, "scs `memstore` with a codec for JSON", timesLess(serial, memstoreName+jsonName)}
	headlines["gin"] = headline{inProcess, "gin-contrib/sessions `cookie`", timesLess(serial, ginName)}
	headlines["read"] = headline{"sessions in the process, one value read, without HTTP", "gorilla `CookieStore`, not saved", timesLess("value read", getOnlyName)}
}

// serves reports whether a subject is measured with a kind of request.
func (s subject) serves(kind string) bool {
	switch s.name {
	case checkingOnMemoryName:
		return kind == "login"
	case bareName, touchingName:
		return !slices.Contains(otherKinds, kind)
	case leastName, checkingName:
		return kind != "value read" && kind != "value written" && kind != "logout" && (kind != "login" || s.name == checkingName)
	}
	return true
}

// measureKind gives one subject one turn with one kind of request.
func measureKind(t *testing.T, kind string, s subject, fresh func() subject, requests []*http.Request) cost {
	t.Helper()
	one := client{handler: s.page, writer: newDiscardWriter(), requests: requests[:1]}
	expected := http.StatusOK
	var got cost
	switch kind {
	case serial:
		got = measureCost(*turnLength, one)
	case recorded:
		one.writer = newReusableRecorder()
		got = measureCost(*turnLength, one)
	case parallel:
		var all []client
		for i := range requests {
			all = append(all, client{handler: s.page, writer: newDiscardWriter(), requests: requests[i : i+1]})
		}
		got = measureCost(*turnLength, all...)
	case "value read":
		one.handler = s.read
		got = measureCost(*turnLength, one)
	case "value written":
		one.handler = s.write
		got = measureCost(*turnLength, one)
	case "forged cookie":
		one.requests = []*http.Request{forgedRequest(requests[0])}
		expected = http.StatusUnauthorized
		got = measureCost(*turnLength, one)
	case "login": // into a store that is empty at first
		one.handler = fresh().login
		one.requests, one.logsIn = []*http.Request{loginRequest}, true
		got = measureCost(*turnLength, one)
	case "logout":
		s := fresh()
		var users []string
		for i := range max(1, int(*turnLength/(100*time.Microsecond))) {
			users = append(users, userName(i))
		}
		one.handler, one.requests = s.logout, logoutRequests(s.loggedInAs(t, users...))
		expected = http.StatusSeeOther
		got = measureCost(0, one)
	case "ended session's cookie":
		s := fresh()
		one.handler, one.requests = s.page, s.loggedIn(t, 1)
		measureCost(0, client{handler: s.logout, writer: newDiscardWriter(), requests: logoutRequests(one.requests)})
		if got = measureCost(*turnLength, one); got.status != http.StatusOK { // some subjects let it in
			expected = http.StatusUnauthorized
		}
	}
	if got.status != expected {
		t.Fatalf("%s: %s: %d", s.name, kind, got.status)
	}
	return got
}

// logoutRequests returns logouts by a browser, with the cookies of requests.
func logoutRequests(requests []*http.Request) []*http.Request {
	all := make([]*http.Request, len(requests))
	for i, r := range requests {
		all[i] = r.Clone(r.Context())
		all[i].Method = "POST"
		all[i].Header.Set("Accept", "text/html") // otherwise the response is no redirect
	}
	return all
}

// forgedRequest returns r with a cookie that the subject did not make.
func forgedRequest(r *http.Request) *http.Request {
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
		if one == nil { // only its login was measured
			continue
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %.0f | %.0f B | %s | %s | %.0f | %s |\n", name,
			formatCPU(one), formatRatio(ratios(one, results[serial][guardName], cpu)),
			medianOf(one, func(c cost) float64 { return c.allocs }), medianOf(one, func(c cost) float64 { return c.bytes }),
			formatCPU(recorder), formatRatio(ratios(recorder, results[recorded][guardName], cpu)),
			medianOf(both, perSecond), formatRatio(ratios(results[parallel][guardName], both, perSecond)))
	}
	return table.String()
}

func othersTable(names []string, results map[string]map[string][]cost) string {
	var table strings.Builder
	table.WriteString("| CPU, × sessionguard |")
	for _, kind := range otherKinds {
		fmt.Fprintf(&table, " %s |", kind)
	}
	table.WriteString("\n|---|" + strings.Repeat("---|", len(otherKinds)) + "\n")
	for _, name := range names {
		if results["login"][name] == nil && results[refusedKinds[0]][name] == nil { // only the page was measured
			continue
		}
		fmt.Fprintf(&table, "| %s |", name)
		for _, kind := range otherKinds {
			got := results[kind][name]
			if got == nil {
				table.WriteString(" |")
				continue
			}
			note := ""
			if kind == "ended session's cookie" && got[0].status == http.StatusOK {
				note = ", **lets it in**"
			}
			fmt.Fprintf(&table, " %s, %s%s |", formatCPU(got), formatRatio(ratios(got, results[kind][guardName], cpu)), note)
		}
		table.WriteByte('\n')
	}
	return table.String()
}

func cpu(c cost) float64       { return c.cpu }
func perSecond(c cost) float64 { return c.perSecond }

// medianOf returns the median of a field of all costs.
func medianOf(all []cost, field func(cost) float64) float64 {
	values := make([]float64, len(all))
	for i, c := range all {
		values[i] = field(c)
	}
	median, _, _ := medianAndRange(values)
	return median
}

// ratios returns the ratio of a field of all to that of base, for each round.
func ratios(all, base []cost, field func(cost) float64) []float64 {
	ratios := make([]float64, len(all))
	for i := range all {
		ratios[i] = field(all[i]) / field(base[i])
	}
	return ratios
}

// formatRatio formats the median and the range.
func formatRatio(all []float64) string {
	median, low, high := medianAndRange(all)
	if median < 10 {
		return fmt.Sprintf("%.1f (%.1f–%.1f)", median, low, high)
	}
	return fmt.Sprintf("%.0f (%.0f–%.0f)", median, low, high)
}

func formatCPU(all []cost) string {
	ns := medianOf(all, cpu)
	if ns < 10_000 {
		return fmt.Sprintf("%.2f µs", ns/1000)
	}
	return fmt.Sprintf("%.0f µs", ns/1000)
}
