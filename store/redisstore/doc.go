// Package redisstore keeps sessions in Redis, for any number of nodes: on a single
// server, behind Sentinel, or on a Cluster. It is a module of its own, built on
// [github.com/redis/rueidis].
//
// # Cost
//
// A protected request reads its session in one round trip. A second one moves the idle
// deadline; a guard does that at most once per 1/30 of the idle timeout.
//
// Every other call is one round trip as well: a script that uses the keys of one owner.
// Owners form 64 groups, spread evenly over the slots of a cluster, and all keys of a
// group share a slot. Some calls take more round trips: ByOwner if sessions have expired,
// DeleteByID one for each group, All and Count one for each page of sessions and at least
// one for each group.
//
// Create with a limit reads all sessions of the owner, without their values, in a single
// script, and Redis serves nobody else meanwhile. A limit that applies from the start
// (MaxSessions in the guard's Config) keeps their number small. Without one, any user can
// make it large by logging in often. No other script reads more than [store.MaxPage]
// sessions, except that Count checks whether 512 exist.
//
// A session takes about 600 B of memory, with its place in the index, plus its values.
// With a million sessions on one server and 32 logins at a time, Count takes a quarter of
// the time that the logins took, All half of it, and the guard's EndAll nine tenths. The
// shares are smaller if logins are spread over a cluster. A page keeps the server from
// others for 2 ms in All and in Count, and for 7 ms in EndAll. That is processor time,
// and a busy machine adds to it. These are the figures of
//
//	go test -run '^$' -bench Everyone -benchtime 1x -timeout 1h . -args -sessions 1000000
//
// on two shared cores, with Redis 7.0.
//
// A client of New's own gives 16 calls at a time connections of their own, of 128 KB each,
// and sends more than that through one that they share. It does so for each server of a
// cluster. Idle connections stay open.
//
// Every connection is pinged four times per Config.Timeout. [WaitReplicas] adds the way
// to a replica and back to each logout, and to each login that replaces or may end a
// session.
//
// # Guarantees
//
// Whatever changes a session is a conditional script. A call in flight while a session
// ends cannot bring it back. Of two saves at the same version one succeeds, on every
// node.
//
// Deadlines follow the clocks of the application's nodes, and shift by as much as those
// clocks differ. The server's clock only has to run evenly, and a replica's clock has to
// agree with it.
//
// A session's key expires by itself, [store.Grace] after [store.Record.GoneAt], or up to
// a quarter of the idle timeout later: a touch that has to move this expiry moves it
// further. So most touches change nothing but the time of the last activity. Each group
// has an index of its sessions, which expires with the last of them. Logins, ByOwner, All
// and Count remove stale entries from it, so that hardly more than a quarter are stale.
// The first touch of each quarter of the idle timeout restores a missing entry.
//
// If the server is unreachable, slow, a replica or out of memory, the call fails within
// Config.Timeout: half of it is for connecting and half for the response. A guard then
// responds with 503. It never treats the error as "logged out".
//
// A value that this package has not written is an error too. The error names its key as
// redis-cli takes it. Until that key is deleted, the sessions of its owner can be neither
// listed nor counted. All yields the sessions of other owners, and then the error.
//
// A command that may have been executed is not sent again, except Touch and commands that
// only read. While a cluster moves a slot, a call that needs keys on both nodes fails.
//
// # Requirements
//
// Redis 6.2 or later is required, for GETEX. A replica refuses GETEX because it counts as
// a write. So reading a session also fails if the server accepts no writes
// (min-replicas-to-write, stop-writes-on-bgsave-error).
//
// The tests run with rueidis 1.0.79 on
//
//   - Redis 7.0: a single server, a Cluster, and a primary with a replica and Sentinel
//   - Redis 7.0 over TLS (ClientOption.TLSConfig): a single server
//   - Valkey 8.1: a single server and a Cluster
//
// Not tried are Redis 6.2 and 8, Sentinel with Valkey, TLS with a Cluster or Sentinel,
// and the Redis-compatible servers and services of others (KeyDB, Dragonfly, Kvrocks,
// ElastiCache, MemoryDB, Memorystore, Azure).
//
// A user with an access list needs these commands on the prefix: GET, GETEX, GETRANGE,
// SET, SETRANGE, DEL, EXISTS, PEXPIRE, PTTL, ZADD, ZREM, ZCARD, ZRANDMEMBER, ZRANGEBYLEX,
// PUBLISH, SUBSCRIBE, EVAL and EVALSHA. Not tied to the prefix, the user needs
// @connection, with CacheFor MULTI and EXEC, and on a cluster CLUSTER SLOTS.
//
// Scripts derive the names of some keys from what they read, always in the slot of the
// first key. A proxy that has to know all keys in advance does not work.
//
// Two applications on one server need different Prefixes, or guards with different cookie
// names. With the same cookie name they share sessions by user ID. If they have the same
// Keys too, a login at one is a login at both.
//
// The error of rueidis.ParseURL quotes the URL, including the password.
//
// Set maxmemory-policy to noeviction. A server that is full then still accepts logouts
// and touches, but no logins and no changed values. With any other policy, eviction logs
// users out. If the server evicts an index, LoadByID, ByOwner, All, Count, DeleteByID
// and limits miss the sessions in it, a 64th of all. A session is back at the latest
// when its user has been active for a quarter of the idle timeout.
//
// # Keys
//
// All keys of a group begin with the prefix and the group's hash tag:
//
//	sessionguard:{10}:s:…    a session, or for a while what has become of it; 32 bytes follow
//	sessionguard:{10}:index  the group's sessions, by the hashes of realm and owner, and by ID
//	sessionguard:endings     the channel to which endings are published
//
// An index is one key, which a cluster moves as a whole. Of a million sessions it has
// 16,000, and about 3 MB.
//
// # Replication
//
// Replication is asynchronous. By default, a failover may lose the last confirmed writes:
// a login, but also a logout. After a lost logout the session is live again until it is
// ended once more or expires. In trials with Sentinel and a replica 100 ms behind, each
// kill of the primary brought back one to six sessions.
//
// With Config.WaitReplicas, a call that ends or replaces a session waits until replicas
// have received the change. It does so on a connection of its own, for at most 128 calls
// at a time:
//
//	redisstore.Config{WaitReplicas: redisstore.WaitReplicas{Number: 1}}
//
// If they have not received it in time, the call fails and a guard responds with 503. The
// session is gone from the primary all the same, and stays so unless a failover undoes
// it. While no replica is connected, these fail: every such call, the list of a user's or
// of all sessions, and a login from a browser that still sends the cookie of an earlier
// session. Plan for one replica more than Number if logouts must work while one is down.
// Each wait takes a round trip between the primary and its replicas.
//
// If a primary is cut off from everybody but some application nodes, it goes on serving
// them until they notice. Redis then discards what it has written since. WaitReplicas
// fails there, because the replicas are on the other side, but other writes are confirmed
// and lost. With
//
//	min-replicas-to-write 1
//	min-replicas-max-lag 10
//
// such a primary stops after ten seconds. It stops for reads too, because reading a
// session counts as a write. This takes three servers: of two, the one that is left after
// a failover has no replica and would refuse everything.
//
// # What Redis does not guarantee
//
// A crash of a server that syncs its append-only file once a second may lose the last
// writes, logouts among them. With "appendfsync always" it loses none. WAIT is no
// consensus: replicas confirm what they hold in memory. If there are more replicas than
// WaitReplicas.Number, one that has confirmed nothing may be promoted. Without
// persistence a restart ends all sessions, and brings none back.
//
// # Caching
//
// With Config.CacheFor, a protected request does not contact the server if this process
// has read the session within that time: it takes 0.2 µs instead of a round trip. The
// server notifies each connection when something read on it changes (CLIENT TRACKING,
// RESP3). Until the notification arrives, a node that has cached a session still accepts
// it after it has ended on another node:
//
//   - Normally, for a fraction of a millisecond after Delete has returned, or longer on a
//     busy machine. internal/bench/README.md has the figures and the command that
//     measures them.
//   - When the connection is lost, not at all: nothing that was read on it is used again.
//   - When the connection is dead without a sign, or the server hangs, until a ping
//     fails. That takes at most Config.Timeout, and never longer than CacheFor after the
//     session was requested.
//
// So CacheFor is the bound to rely on. That a session has ended is never taken from the
// cache, and this process sees its own writes at once. Cached sessions are read with GET,
// which a replica serves too. If a primary has been demoted and its connections were not
// closed, CacheFor counts from what the replica knew. The cache uses
// ClientOption.CacheSizeEachConn in total, 128 MB by default.
//
// With or without the cache, endings also reach the [store.Watcher] of other nodes, by
// pub/sub.
package redisstore
