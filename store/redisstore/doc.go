// Package redisstore keeps sessions on Redis, for any number of nodes: on one server, on
// one behind Sentinel, or on a Cluster. It is a module of its own, on
// [github.com/redis/rueidis].
//
// # What it costs
//
// A protected request asks the server once, and once more when it moves the idle
// deadline, which a guard does at most once in 1/30 of the idle timeout. Every other
// call is one round trip as well: one script on the keys of one owner, which share a
// slot of a cluster. There are 64 such groups, spread evenly over the slots. Creating a
// session with a limit, and ByOwner, read all sessions of their owner, the first of
// them in one step that everybody else waits for. A limit that is there from the start
// (MaxSessions in the guard's Config) keeps them few; without one, whoever can log in can
// make them many.
//
// Every connection is pinged four times in Config.Timeout.
//
// # What it promises
//
// Touch, Save, Create, Replace and Delete are conditional scripts: what is in flight when
// a session ends brings nothing back, and of two saves at one version one wins, on every
// node. Times are those of the application; the server's clock only has to run evenly, and
// that of a replica to agree with it. The clocks of two nodes shift deadlines by as much
// as they differ. Keys expire by
// themselves, [store.Grace] after [store.Record.GoneAt], and an owner's index with the
// last of its sessions; it is cleaned by logins and heals by touches.
//
// A server that is unreachable, slow, a replica or out of memory is an error within
// Config.Timeout, half of which is for the connection and half for the answer; a guard
// answers it with 503. So is a record that nobody here has written: the error names its
// key, and until that is deleted nothing lists or counts its owner's sessions. Neither is
// ever "logged out". A command that may have happened is not sent twice, except Touch and
// those that only read. While a cluster moves a slot, what needs keys on both nodes is an
// error.
//
// # What it needs
//
// Redis 6.2 or later, for GETEX, which a replica refuses: so even reading a session counts
// as a write, and is an error where the server accepts none (min-replicas-to-write,
// stop-writes-on-bgsave-error). It is tested with 7.0. Valkey has all that is used, but
// has not been tried. A user with an access list needs these on the prefix: GET,
// GETEX, SET, SETRANGE, DEL, EXISTS, PEXPIRE, PTTL, ZADD, ZREM, ZCARD, ZRANGE,
// ZRANGEBYSCORE, PUBLISH and SUBSCRIBE, and EVAL and EVALSHA; without a prefix
// @connection, with CacheFor MULTI and EXEC, and on a cluster CLUSTER SLOTS. Scripts find
// keys by what they read, always in the slot of the first; a proxy that has to know all
// of them will not do.
//
// Two applications on one server need a Prefix each, or different cookie names in their
// guards. With the same name they share users' sessions by ID, and with the same Keys a
// login at one is a login at both. To end all sessions, delete the keys of the prefix.
//
// The error of rueidis.ParseURL quotes the URL, with the password in it.
//
// Set maxmemory-policy to noeviction. A server that is full then lets people out, and on,
// but not in. One that evicts logs people out, and where it evicts an index, ByOwner and
// limits miss its sessions until they are touched.
//
// # What Redis does not promise
//
// Replication is asynchronous. A failover, or a crash of a server that syncs its
// append-only file once a second, may forget what was confirmed last: a login, and also a
// logout. The session is then back until it ends again or expires. The same holds for a
// primary that is cut off until it notices. min-replicas-to-write and "appendfsync
// always" make that window small; nothing closes it. Without persistence a restart logs
// everybody out, and brings nobody back.
//
// # Caching
//
// With Config.CacheFor, a protected request asks nobody if this process has read the
// session within that time: 0.2 µs instead of a round trip. The server tells each
// connection when what it has read changes (CLIENT TRACKING, RESP3). Until that arrives, a
// session that has ended on one node is still accepted on others that have it cached:
//
//   - Normally: a fraction of a millisecond from when Delete has returned, or longer where
//     the processor has no time for it. internal/bench/README.md has the figures, and the
//     command that measures them.
//   - When the connection is lost: nothing that was read on it is served any more.
//   - When it is dead without a sign, or the server hangs: until a ping finds out, no
//     later than Config.Timeout, and never longer than CacheFor from when the session
//     was asked for.
//
// So CacheFor is the bound to rely on. What ends a session is never taken from the
// cache, and this process's own writes are seen at once. A session is read with GET,
// which a replica answers too: where a primary has been demoted and its connections were
// not closed, CacheFor begins with what the replica knew. The cache takes
// ClientOption.CacheSizeEachConn, by default 128 MB, in all.
//
// An end also reaches the other nodes' [store.Watcher] by pub/sub, cached or not.
package redisstore
