package sqltest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// Ending a page of sessions takes as many round trips as ending one.
func TestManySessionsEndInFewRoundTrips(t *testing.T) {
	const many = 2*store.MaxPage + 10
	for _, name := range []string{"PostgreSQL", "MariaDB"} {
		t.Run(name, func(t *testing.T) {
			d, m := metered(t, name)
			s, owner := d.node(t, sqlstore.Config{Timeout: 10 * time.Second}), newOwner()
			endings := make(chan store.Ending, many)
			if d.dialect == sqlstore.PostgreSQL {
				l := databases[name](t).listener(t, sqlstore.Config{})
				require.NoError(t, l.Watch(t.Context(), func(e store.Ending) { endings <- e }))
			}
			createMany(t, s, many, func() store.Record { return newRecordOf(owner) })
			before, ended := m.roundTrips.Load(), map[string]bool{}
			for after, pages := "", 0; pages < 3; pages++ {
				page, err := s.ByOwner(t.Context(), owner, after, store.MaxPage)
				require.NoError(t, err)
				var ends []store.End
				for i, r := range page {
					require.Empty(t, r.Values)
					reason := store.ReasonEnded
					if i%2 == 0 {
						reason = store.ReasonCredentialsChanged
					}
					after, ends = r.ID, append(ends, store.End{Owner: owner, ID: r.ID, Reason: reason})
				}
				records, err := s.DeleteByID(t.Context(), ends)
				require.NoError(t, err)
				for _, r := range records {
					require.False(t, ended[r.ID])
					ended[r.ID] = true
				}
			}
			require.Len(t, ended, many)
			require.Less(t, m.roundTrips.Load()-before, int64(45))
			rest, err := s.ByOwner(t.Context(), owner, "", store.MaxPage)
			require.NoError(t, err)
			require.Empty(t, rest)
			if d.dialect == sqlstore.PostgreSQL {
				for range many {
					e := <-endings
					require.True(t, ended[e.ID])
					delete(ended, e.ID)
				}
			}
		})
	}
}

// Otherwise the pages would not end, or one call would end the session that another names.
func TestIDThatContradictsTheRecordIsAnError(t *testing.T) {
	forEachCorruptor(t, func(t *testing.T, c corruptor) {
		r := newRecord()
		create(t, c, r)
		for _, id := range []string{"", "another", "\xff"} {
			c.setColumn(t, r.Key, "session_id", []byte(id))
			for _, after := range []string{"", r.ID} {
				if id > after {
					_, err := c.ByOwner(t.Context(), r.Owner, after, store.MaxPage)
					requireNamesKey(t, err, r)
				}
			}
			_, err := c.LoadByID(t.Context(), r.Owner, id)
			requireNamesKey(t, err, r)
			_, err = c.DeleteByID(t.Context(), []store.End{{Owner: r.Owner, ID: id, Reason: store.ReasonEnded}})
			requireNamesKey(t, err, r)
		}
		_, err := c.Load(t.Context(), r.Key)
		require.NoError(t, err)
	})
}
