package redisstore

import (
	"context"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/store"
)

// touchInPlace is what most touches do: they change the time of the last activity, where the
// session's key does not expire too early for that. Otherwise, and whenever there is more to find
// out, nothing has been changed, and the rest of touchScript does the work. So it does for the first
// touch of each quarter of the idle timeout, counted back from Expires: an index that lacks the
// session lacks it no longer than that. This precedes the prelude, whose functions take longer to
// define than all of it, and reads no more than the first 78 bytes, which have the times and the
// key. SETRANGE fails without effect where the server is out of memory or accepts no writes.
const touchInPlace = `
do
	local head, seen = redis.call('GETRANGE', KEYS[1], 0, 77), tonumber(ARGV[2])
	if #head == 78 and string.byte(head) == 83 and string.sub(head, 47) == string.sub(KEYS[1], -32) then
		local last_seen, _, idle_timeout, expires, remember_until = struct.unpack('>i8i8i8i8i8', head, 2)
		local gone_at = math.max(math.min(seen + idle_timeout, expires), remember_until)
		if last_seen < seen and seen < math.min(last_seen + idle_timeout, expires) and
			seen - last_seen <= (seen - expires) % (idle_timeout / 4) and
			redis.call('PTTL', KEYS[1]) >= gone_at + ARGV[3] - ARGV[1] and
			type(redis.pcall('SETRANGE', KEYS[1], 1, struct.pack('>i8', seen))) == 'number' then
			return 'ok'
		end
	end
end
`

// touchScript has KEYS session; ARGV now, seen, grace. It lets the key live for a quarter of the
// idle timeout longer than the session needs it, so that the next touches need not. What may fail
// comes before the first change: the index must not expire before a session that lives on.
var touchScript = &script{effect: repeatable, Lua: rueidis.NewLuaScriptRetryable(touchInPlace + prelude + `
local now, seen, grace = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local s, status, result = get(KEYS[1])
if not s then return unchanged(status, result) end
if seen >= deadlines(s, s.last_seen) then return unchanged('not found') end
if seen <= s.last_seen then return unchanged('ok') end
local _, gone_at = deadlines(s, seen + s.idle_timeout / 4)
local ttl = math.min(math.max(gone_at + grace - now, 1), 1e14)
write_nothing() -- else the index would be refused where the server is out of memory
add_to_index(entry_of(s.owner, s.id, KEYS[1]), ttl)
redis.call('PEXPIRE', KEYS[1], int(ttl))
redis.call('SETRANGE', KEYS[1], 1, struct.pack('>i8', seen))
return 'ok'
`)}

// Touch implements [store.Backend].
func (s *Store) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	_, err := s.runScript(ctx, touchScript, s.sessionKey(key), nil,
		nowMillis(), formatInt(int64(seen)), formatInt(store.Grace.Milliseconds()))
	if err == nil && s.cache != nil {
		s.recent.addTouch(key, seen)
		return nil
	}
	s.noteWrite(key)
	return s.plainNotFound(key, err)
}
