package redisstore

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"
)

func TestReadAfterCancelledReadKeepsItsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(time.Minute, 1<<20).newConnection(rueidis.CacheStoreOption{}).(*connection)
		flight := func() rueidis.CacheEntry {
			_, entry := c.Flight("name", "GET", time.Minute, time.Now())
			return entry
		}
		require.Nil(t, flight())
		waiter := flight().(*pendingRead)
		c.Cancel("name", "GET", context.Canceled)
		<-waiter.done
		require.ErrorIs(t, waiter.err, context.Canceled)

		time.Sleep(time.Second)
		require.Nil(t, flight(), "the next caller must send a new read")
		require.Zero(t, c.reads["name"].requestedAt, "the response to the first read may be taken for that to the second")
		c.Cancel("name", "GET", context.Canceled)
		c.Cancel("name", "GET", context.Canceled)
		c.Close(context.Canceled)
	})
}
