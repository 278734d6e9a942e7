package storetest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// listerChecks test Lister: see also listerRaceChecks. Others may be using the database, so
// each check has realms of its own.
var listerChecks = []check{
	{"All yields every session of a realm as ByOwner returns it", func(t T, b store.Backend) {
		realm := newRealm()
		var created []store.Record
		for _, user := range []string{
			"", "ada", "ada2", "Ada", "ada ", "a\x00b", "a\x00", "\x00", "ada=1", "ada:1", "=", ":/", realm, "Jürgen 🦊", "%", "_", "*",
			"\xff\xfe", strings.Repeat("long", 2000), strings.Repeat("long", 2000) + "er",
		} {
			for range 2 {
				created = append(created, newRecordFor(realm+user, 5))
			}
		}
		mustCreate(t, b, created...)
		touched := created[0]
		require.NoError(t, b.Touch(t.Context(), touched.Key, touched.LastSeen+1))
		mustSave(t, b, withValues(touched, []byte("new")))
		require.NoError(t, b.Replace(t.Context(), created[1].Key, created[1].Version, successor(created[1])))

		listed := mustList(t, b, realm)
		require.ElementsMatch(t, idsOf(created), idsOf(listed))
		for _, r := range listed {
			page, err := b.ByOwner(t.Context(), r.Owner, "", store.MaxPage)
			require.NoError(t, err)
			at := slices.Index(idsOf(page), r.ID)
			require.GreaterOrEqual(t, at, 0, "All yields a session that its owner does not have")
			requireSameExceptValues(t, page[at], r)
		}
	}},
	{"All yields sessions past their Deadline", func(t T, b store.Backend) {
		realm := newRealm()
		dead := pastDeadline()
		for _, r := range dead {
			r.Owner = realm + rand.Text()
			r.Key = newKeyFor(r.Owner)
		}
		mustCreate(t, b, dead...)
		for range 2 {
			listed := mustList(t, b, realm)
			require.ElementsMatch(t, idsOf(dead), idsOf(listed))
			for _, r := range dead {
				requireSameExceptValues(t, r, listed[slices.Index(idsOf(listed), r.ID)])
			}
		}
	}},
	{"All and Count are of one realm", func(t T, b store.Backend) {
		name, other := "session-"+rand.Text()+"a", "session-"+rand.Text()
		want := map[string][]string{}
		for _, owner := range []string{
			name + "=1", name + "=", name + "=:/", name + ":1", name + ":=1", name + "/1", name, name + "b=1", name + "b",
			name[:len(name)-1] + "=1", strings.ToLower(name) + "=1", name + " =1", " " + name + "=1", "x" + name + "=1",
			other + "=" + name + "=1", other + ":" + name + "=1", other + "/" + name + "=1", name + "\x00=1", name + "\xff=1",
		} {
			r := newRecordFor(owner, 5)
			mustCreate(t, b, r)
			want[store.RealmOf(owner)] = append(want[store.RealmOf(owner)], r.ID)
		}
		want[newRealm()], want[other], want[name+"=1"] = nil, nil, nil // which no owner is of
		for realm, ids := range want {
			require.ElementsMatch(t, ids, idsOf(mustList(t, b, realm)), "%q", realm)
			requireCount(t, b, realm, len(ids))
		}
	}},
	{"All and Count have more than a page, and more than a page of one owner", func(t T, b store.Backend) {
		realm := newRealm()
		created := createMany(t, b, realm)
		require.ElementsMatch(t, idsOf(created), idsOf(mustList(t, b, realm)))
		requireCount(t, b, realm, len(created))
	}},

	{"All yields every session once, although sessions move, end and begin meanwhile", func(t T, b store.Backend) {
		realm := newRealm()
		created := createMany(t, b, realm)
		current, yielded, ended := map[string]store.Record{}, map[string]int{}, map[string]bool{}
		for _, r := range created {
			current[r.ID] = r
		}
		next := 0 // of created, the one that changes next
		for r, err := range b.(store.Lister).All(t.Context(), realm) {
			require.NoError(t, err)
			yielded[r.ID]++
			changing := current[created[next%len(created)].ID]
			switch next++; {
			case next%3 == 0:
				mustCreate(t, b, newRecordFor(changing.Owner, 5))
			case ended[changing.ID]:
			case next%7 == 0:
				mustDelete(t, b, changing.Key, store.ReasonEnded)
				ended[changing.ID] = true
			default:
				moved := successor(changing)
				require.NoError(t, b.Replace(t.Context(), changing.Key, changing.Version, moved))
				current[changing.ID] = moved
			}
		}
		for _, r := range created {
			switch n := yielded[r.ID]; {
			case ended[r.ID]:
				require.LessOrEqual(t, n, 1, "All yields a session twice")
			default:
				require.Equal(t, 1, n, "times that All yields a session that exists all the while")
			}
			delete(yielded, r.ID)
		}
		for _, n := range yielded {
			require.Equal(t, 1, n, "All yields a new session twice")
		}
	}},
	{"the loop over All may end the sessions that it yields, and use the backend", func(t T, b store.Backend) {
		realm := newRealm()
		created := createMany(t, b, realm)
		n := 0
		var some []store.Record // one call each would take long where each call waits for a disk
		for r, err := range b.(store.Lister).All(t.Context(), realm) {
			require.NoError(t, err)
			n++
			if some = append(some, r); len(some) == 7 || n == len(created) {
				ended, err := b.DeleteByID(t.Context(), endsOf(store.ReasonEnded, some...))
				require.NoError(t, err)
				require.Equal(t, idsOf(some), idsOf(ended), "All yields what is no session")
				some = nil
			}
			if n%100 == 1 {
				other := newRecordFor(newRealm()+"ada", 5)
				mustCreate(t, b, other)
				require.Equal(t, []string{other.ID}, idsOf(mustList(t, b, store.RealmOf(other.Owner))))
			}
		}
		require.Equal(t, len(created), n)
		require.Empty(t, mustList(t, b, realm))
		requireCount(t, b, realm, 0)
		for _, r := range created[:5] {
			requireEnded(t, b, r, store.ReasonEnded)
		}
	}},
	{"a loop over All that has not ended holds nothing", func(t T, b store.Backend) {
		realm := newRealm()
		created := createMany(t, b, realm)
		ctx, cancel := context.WithTimeout(t.Context(), endingTimeout) // only a failing test takes so long
		defer cancel()
		t = withContext{t, ctx}
		var stops []func()
		defer func() {
			for _, stop := range stops {
				stop()
			}
		}()
		for range 100 { // more than a backend has connections
			next, stop := iter.Pull2(b.(store.Lister).All(t.Context(), realm))
			stops = append(stops, stop)
			_, err, ok := next()
			require.True(t, ok)
			require.NoError(t, err)
		}
		moved := successor(created[0])
		require.NoError(t, b.Replace(t.Context(), created[0].Key, created[0].Version, moved))
		mustDelete(t, b, moved.Key, store.ReasonEnded)
		mustCreate(t, b, newRecordFor(created[0].Owner, 5))
		requireCount(t, b, realm, len(created))
	}},
	{"All yields nothing more once the loop has ended", func(t T, b store.Backend) {
		realm := newRealm()
		created := createMany(t, b, realm)
		for _, last := range []int{1, 2, store.MaxPage, store.MaxPage + 1, len(created)} {
			n := 0
			b.(store.Lister).All(t.Context(), realm)(func(_ store.Record, err error) bool {
				require.NoError(t, err)
				n++
				return n != last
			})
			require.Equal(t, last, n)
		}
	}},
	{"All and Count do not end early without an error if their context does", func(t T, b store.Backend) {
		realm := newRealm()
		created := createMany(t, b, realm)
		for _, last := range []int{0, 1, store.MaxPage, len(created) - 1} {
			ctx, cancel := context.WithCancel(t.Context())
			n, failed := 0, false
			if last == 0 {
				cancel()
				if counted, err := b.(store.Lister).Count(ctx, realm); err == nil {
					require.Equal(t, len(created), counted)
				}
			}
			for r, err := range b.(store.Lister).All(ctx, realm) {
				require.False(t, failed, "All goes on after an error")
				if failed = err != nil; failed {
					require.Nil(t, r.Session)
					require.NotErrorIs(t, err, store.ErrNotFound)
					continue
				}
				if n++; n == last {
					cancel()
				}
			}
			cancel()
			if !failed {
				require.Equal(t, len(created), n, "All ends early, without an error")
			}
		}
	}},

	{"Count follows what begins, moves and ends", func(t T, b store.Backend) {
		realm := newRealm()
		first := newRecordFor(realm+"ada", 20)
		second, third, other := newRecordFor(realm+"ada", 10), newRecordFor(realm+"ada", 5), newRecordFor(realm+"bob", 5)
		requireCount(t, b, realm, 0)
		mustCreate(t, b, first, second, other)
		requireCount(t, b, realm, 3)
		moved := successor(second)
		require.NoError(t, b.Replace(t.Context(), second.Key, second.Version, moved))
		require.ErrorIs(t, b.Replace(t.Context(), second.Key, second.Version, successor(second)), store.ErrNotFound)
		requireCount(t, b, realm, 3)
		_, err := b.Create(t.Context(), third, store.Limit{Max: 2, Refuse: true})
		require.ErrorIs(t, err, store.ErrLimit)
		requireCount(t, b, realm, 3)
		_, err = b.Create(t.Context(), third, store.Limit{Max: 1}) // which ends two
		require.NoError(t, err)
		requireCount(t, b, realm, 2)
		require.ErrorIs(t, b.Touch(t.Context(), first.Key, first.LastSeen+1), store.ErrNotFound)
		requireDeletesNothing(t, b, first.Key, store.ReasonEnded)
		for range 2 {
			_, err = b.DeleteByID(t.Context(), endsOf(store.ReasonEnded, third, moved))
			require.NoError(t, err)
			requireCount(t, b, realm, 1)
		}
		mustDelete(t, b, other.Key, store.ReasonLoggedOut)
		requireCount(t, b, realm, 0)
	}},
	{"sessions past GoneAt do not count, and remembered ones do", func(t T, b store.Backend) {
		realm := newRealm()
		live := newRecordFor(realm+"ada", 5)
		mustCreate(t, b, longGone(live.Owner)...)
		mustCreate(t, b, live)
		mustCreate(t, b, longGone(realm+"bob")...)
		requireCount(t, b, realm, 1)
		mustCreate(t, b, remembered(live.Owner)...)
		requireCount(t, b, realm, 3)
		_, err := b.Create(t.Context(), newRecordFor(live.Owner, 0), store.Limit{Max: 4})
		require.NoError(t, err)
		requireCount(t, b, realm, 4)
	}},
}

// listerRounds is rounds for checks that list a whole realm several times in each.
const listerRounds = rounds / 4

// listerRaceChecks test Lister beside concurrent calls.
var listerRaceChecks = []check{
	{"All and Count have every session, although others move them at the same time", func(t T, b store.Backend) {
		realm := newRealm()
		var created []store.Record
		for i := range 10 {
			created = append(created, newRecordFor(realm+string(rune('a'+i%5)), 5))
		}
		mustCreate(t, b, created...)
		current := slices.Clone(created)
		for range listerRounds {
			var listed []store.Record
			counted := 0
			moves := []func() error{
				func() (err error) {
					listed, err = list(t, b, realm)
					return err
				},
				func() (err error) {
					counted, err = b.(store.Lister).Count(t.Context(), realm)
					return err
				},
			}
			for i := range current {
				moves = append(moves, func() error {
					next := successor(current[i])
					next.Expires, next.Details.RememberUntil = current[i].Expires, current[i].Details.RememberUntil
					next.LastSeen, next.IdleTimeout = current[i].LastSeen, current[i].IdleTimeout
					err := b.Replace(t.Context(), current[i].Key, current[i].Version, next)
					current[i] = next
					return err
				})
			}
			require.NoError(t, errors.Join(concurrently(moves...)...))
			require.ElementsMatch(t, idsOf(created), idsOf(listed))
			require.Equal(t, len(created), counted)
		}
		for _, r := range current { // All and Count have taken none away
			require.Contains(t, ownedKeys(t, b, r.Owner), r.Key)
		}
	}},
	{"All and Count take nothing away from what begins at the same time", func(t T, b store.Backend) {
		realm := newRealm()
		for n := range listerRounds {
			r := newRecordFor(realm+rand.Text()[:1], 5)
			require.NoError(t, errors.Join(concurrently(
				func() error {
					_, err := b.Create(t.Context(), r, store.Limit{})
					return err
				},
				func() error {
					_, err := list(t, b, realm)
					return err
				},
				func() error {
					_, err := b.(store.Lister).Count(t.Context(), realm)
					return err
				},
			)...))
			require.Contains(t, ownedKeys(t, b, r.Owner), r.Key)
			requireCount(t, b, realm, n+1)
			require.Len(t, mustList(t, b, realm), n+1)
		}
	}},
}

// withContext is a T with another context.
type withContext struct {
	T
	ctx context.Context
}

func (t withContext) Context() context.Context { return t.ctx }

// newRealm returns a realm that nobody has used.
func newRealm() string { return "session-" + rand.Text() + "=" }

// createMany creates sessions of a realm: one owner has more than a page, and the others together.
func createMany(t T, b store.Backend, realm string) (created []store.Record) {
	t.Helper()
	for i := range 2*store.MaxPage + 20 {
		owner := realm + "one"
		if i%2 == 1 {
			owner = realm + rand.Text()
		}
		created = append(created, newRecordFor(owner, 5))
	}
	var creates []func() error
	for part := range slices.Chunk(created, (len(created)+7)/8) {
		creates = append(creates, func() error {
			for _, r := range part {
				if _, err := b.Create(t.Context(), r, store.Limit{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, errors.Join(concurrently(creates...)...))
	return created
}

func mustList(t T, b store.Backend, realm string) []store.Record {
	t.Helper()
	listed, err := list(t, b, realm)
	require.NoError(t, err)
	return listed
}

// list returns what All yields, in the order of owners and IDs.
func list(t T, b store.Backend, realm string) (listed []store.Record, err error) {
	seen := map[string]bool{}
	for r, err := range b.(store.Lister).All(t.Context(), realm) {
		if err == nil && seen[r.ID] { // it may never end
			err = errors.New("All yields a session twice")
		}
		if err != nil {
			return nil, err
		}
		seen[r.ID] = true
		listed = append(listed, r)
	}
	slices.SortFunc(listed, func(x, y store.Record) int {
		return cmp.Or(cmp.Compare(x.Owner, y.Owner), cmp.Compare(x.ID, y.ID))
	})
	return listed, nil
}

func requireCount(t T, b store.Backend, realm string, want int) {
	t.Helper()
	n, err := b.(store.Lister).Count(t.Context(), realm)
	require.NoError(t, err)
	require.Equal(t, want, n, "sessions of the realm")
}
