package store_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// A guard makes these calls for you. After the logout, a request that was still running can
// neither touch nor save the session.
func ExampleMemory() {
	ctx := context.Background()
	sessions := store.NewMemory()

	now := store.TimeOf(time.Now())
	login := store.Record{
		Session: &store.Session{
			Key:           store.Key{1, 2, 3}, // a SHA-256, never a constant
			Owner:         "session=alice",
			Authenticated: now,
			Expires:       now.Add(12 * time.Hour),
			IdleTimeout:   30 * time.Minute,
		},
		LastSeen: now,
	}
	if _, err := sessions.Create(ctx, login, store.Limit{Max: 3}); err != nil {
		fmt.Println(err)
		return
	}

	session, err := sessions.Load(ctx, login.Key)
	fmt.Println(session.Owner, err)

	ended, err := sessions.Delete(ctx, login.Key, store.ReasonLoggedOut)
	fmt.Println("deleted:", ended.Owner, err)
	err = sessions.Touch(ctx, login.Key, now.Add(time.Minute))
	fmt.Println(err, errors.Is(err, store.ErrNotFound))
	// Output:
	// session=alice <nil>
	// deleted: session=alice <nil>
	// store: no such session true
}

// At the limit, an owner's new session ends the least recently seen one.
func ExampleNewMemory() {
	ctx := context.Background()
	sessions := store.NewMemory()
	now := store.TimeOf(time.Now())

	for i, device := range []string{"laptop", "phone", "tablet"} {
		ended, err := sessions.Create(ctx, store.Record{
			Session: &store.Session{
				Key:         store.Key{byte(i)},
				ID:          device,
				Owner:       "session=alice",
				Expires:     now.Add(12 * time.Hour),
				IdleTimeout: 30 * time.Minute,
			},
			LastSeen: now.Add(time.Duration(i) * time.Second),
		}, store.Limit{Max: 2})
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, e := range ended {
			fmt.Println(device, "ended", e.ID)
		}
	}
	// Output:
	// tablet ended laptop
}

// Watch reports every ending. A guard cuts the streams of that session.
func ExampleMemory_Watch() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	sessions := store.NewMemory()
	err := sessions.Watch(ctx, func(e store.Ending) { fmt.Println(e.ID, "has ended:", e.Reason) })
	if err != nil {
		fmt.Println(err)
		return
	}

	now := store.TimeOf(time.Now())
	key := store.Key{1, 2, 3}
	_, err = sessions.Create(ctx, store.Record{
		Session: &store.Session{
			Key: key, ID: "laptop", Owner: "session=alice",
			Expires: now.Add(12 * time.Hour), IdleTimeout: 30 * time.Minute,
		},
		LastSeen: now,
	}, store.Limit{})
	if err == nil {
		_, err = sessions.Delete(ctx, key, store.ReasonEnded)
	}
	fmt.Println(err)

	// A later request learns the reason from Load.
	_, err = sessions.Load(ctx, key)
	fmt.Println(err)
	// Output:
	// laptop has ended: ended
	// <nil>
	// store: the session has ended: ended
}
