package bench

import (
	"bytes"
	crand "crypto/rand"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2/memstore"

	"github.com/sessionguard-go/sessionguard/store"
)

// TestStalls measures the longest response time while many sessions expire at once and are
// removed. Four in five requests are for the page, one is a login.
func TestStalls(t *testing.T) {
	span := 10 * *turnLength // a quarter of it before the sessions expire
	subjects := []func(*testing.T, int, time.Time, time.Duration) filledSubject{newFilledMemory, newFilledSCS}
	shares := []int{0, *sessionCount / 10, *sessionCount}
	worst := make([]map[int][]float64, len(subjects))
	heapLeft := make([][]float64, len(subjects))
	names := make([]string, len(subjects))
	base := measureHeap().heap
	for range min(*rounds, 3) {
		for i, newFilled := range subjects {
			for _, share := range shares {
				cleanup := span / 4
				if share == 0 {
					cleanup = 0 // it visits all sessions, even if none has expired
				}
				var s filledSubject
				var at time.Time
				for filling := time.Duration(*sessionCount) * 6 * time.Microsecond; ; filling *= 2 {
					at = time.Now().Add(filling + span/4)
					if s = newFilled(t, share, at, cleanup); time.Until(at) > span/4 {
						break // none has expired yet
					}
					s.stop()
				}
				names[i] = s.name
				full := measureHeap()
				time.Sleep(time.Until(at) - span/4)
				got := longestWait(t, s.subject, at.Add(span*3/4))
				if worst[i] == nil {
					worst[i] = map[int][]float64{}
				}
				worst[i][share] = append(worst[i][share], got)
				if share == *sessionCount {
					heapLeft[i] = append(heapLeft[i], 100*(measureHeap().heap-base)/(full.heap-base))
				}
				s.stop()
				runtime.KeepAlive(s)
			}
		}
	}
	table := "| worst wait | none expire | a tenth | more than with none | all | more than with none | heap of the sessions then left |\n|---|---|---|---|---|---|---|\n"
	for i, name := range names {
		table += "| " + name + " |"
		for _, share := range shares {
			table += " " + formatMilliseconds(worst[i][share]) + " |"
			if share > 0 {
				more := make([]float64, len(worst[i][share]))
				for round, wait := range worst[i][share] {
					more[round] = wait - worst[i][0][round]
				}
				table += " " + formatMilliseconds(more) + " |"
			}
		}
		left, _, _ := medianAndRange(heapLeft[i])
		table += fmt.Sprintf(" %.0f %% |\n", left)
	}
	publish(t, "stalls", describeTurns(min(*rounds, 3), span), table)
}

// A filledSubject has many sessions in its store, of which some expire at the same time.
type filledSubject struct {
	subject
	stop func()
}

func newFilledMemory(t *testing.T, expiring int, at time.Time, _ time.Duration) filledSubject {
	m := store.NewMemory()
	s := newGuardSubject(t, guardName, m)
	check(len(s.loggedIn(t, 1)) == 1)
	all, err := m.ByOwner(t.Context(), "__Host-Http-session="+ada.id, "", 1)
	check(err == nil && len(all) == 1)
	for i := range *sessionCount {
		session, details := *all[0].Session, all[0].Detail()
		_, _ = crand.Read(session.Key[:])
		session.ID, session.Owner = "id"+strconv.Itoa(i), "__Host-Http-session=user"+strconv.Itoa(i)
		session.Values, session.Details = bytes.Clone(session.Values), &details
		if i < expiring {
			session.Expires = store.TimeOf(at).Add(-store.Grace)
		}
		_, err := m.Create(t.Context(), store.Record{Session: &session, LastSeen: all[0].LastSeen}, store.Limit{})
		check(err == nil)
	}
	return filledSubject{s, func() {}}
}

func newFilledSCS(t *testing.T, expiring int, at time.Time, cleanup time.Duration) filledSubject {
	m := memstore.NewWithCleanupInterval(cleanup)
	s := newSCSSubject(memstoreName, m)
	_, token, _ := strings.Cut(s.loggedIn(t, 1)[0].Header.Get("Cookie"), "=")
	data, found, err := m.Find(token)
	check(found && err == nil)
	for i := range *sessionCount {
		another := crand.Text() + crand.Text()
		expires := time.Now().Add(idle)
		if i < expiring {
			expires = at
		}
		err := m.Commit(another[:len(token)], bytes.Clone(data), expires)
		check(err == nil)
	}
	return filledSubject{s, func() {
		if cleanup > 0 {
			m.StopCleanup()
		}
	}}
}

// formatMilliseconds formats the median and the range of times, in ms.
func formatMilliseconds(µs []float64) string {
	median, low, high := medianAndRange(slices.Clone(µs))
	return fmt.Sprintf("%.1f ms (%.1f–%.1f)", median/1000, low/1000, high/1000)
}

// longestWait sends requests until end, and returns how long the slowest took, in µs.
func longestWait(t *testing.T, s subject, end time.Time) float64 {
	page := s.loggedIn(t, 1)[0]
	w := newDiscardWriter()
	var r http.Request
	longest := time.Duration(0)
	for sent, n := time.Now(), 0; sent.Before(end); n++ {
		h := s.page
		r = *page
		if n%5 == 0 {
			h, r = s.login, *loginOfUser(n)
			sent = time.Now()
		}
		w.reset()
		h.ServeHTTP(w, &r)
		check(w.code() == http.StatusOK)
		now := time.Now()
		longest = max(longest, now.Sub(sent))
		sent = now
	}
	return microseconds(longest)
}
