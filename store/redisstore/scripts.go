package redisstore

import (
	"strconv"

	"github.com/redis/rueidis"
)

// All keys of a script are in one slot. Keys that a script derives from what it reads are
// in the slot of its first key.
//
// A server that is out of memory checks only the first write of a script, and refuses it if
// it may need more memory. So Create, Save and Replace begin with a write that may, and are
// refused before they change anything; Touch and Delete begin with a write that may not,
// and succeed.
//
// While a cluster moves a slot, each of two nodes has only some of its keys. A script then
// fails rather than treat a key on the other node as missing, and before it has changed
// anything that matters.

// prelude holds the functions that the scripts share. Each script returns a status, then
// its results: see runScript.
const prelude = `
local prefix = string.match(KEYS[1], '^[^{]*')

-- The prefix of the group's keys. No value is ever stored under this name itself.
local group = string.match(KEYS[1], '^[^}]*}:')

-- A script that changes nothing still ends with a write, which does nothing. A replica,
-- which may lag behind its primary, refuses it.
local function unchanged(...)
	redis.call('DEL', group)
	return {...}
end

-- Formats a number for Redis. Lua's own format of large numbers has an exponent.
local function int(n) return string.format('%.0f', n) end

-- Reads a string of a record, which follows its length as a uvarint. Returns the string
-- and the position after it.
local function read_string(value, at)
	local length, unit, byte = 0, 1
	repeat
		byte = string.byte(value, at)
		if not byte then return end
		length, unit, at = length + byte % 128 * unit, unit * 128, at + 1
	until byte < 128
	return string.sub(value, at, at + length - 1), at + length
end

local function parse_session(value)
	if #value < 45 then return end
	local s, length, _ = {value = value, version = string.sub(value, 10, 17)}
	s.last_seen, _, s.idle_timeout, s.expires, s.remember_until, length =
		struct.unpack('>i8i8i8i8i8I4', string.sub(value, 2, 45))
	s.values_at = 46 + length
	if #value < s.values_at - 1 then return end
	local at
	s.id, at = read_string(value, 46 + 33) -- after the record's format and key
	if at then s.owner, at = read_string(value, at) end
	return at and at <= s.values_at and s
end

-- Returns the Deadline and the GoneAt of a session, if it was last seen at the given time.
local function deadlines(s, last_seen)
	local deadline = math.min(last_seen + s.idle_timeout, s.expires)
	return deadline, math.max(deadline, s.remember_until)
end

-- Returns the session at a key, or nil and the status and result that explain why there
-- is none. EXISTS with two missing keys is an error in a slot that is being moved here;
-- GET of one missing key is not.
local function get(key)
	local value = redis.call('GET', key)
	if not value then
		redis.call('EXISTS', group, key)
		return nil, 'not found'
	end
	local kind = string.sub(value, 1, 1)
	local s = kind == 'S' and parse_session(value)
	if s then return s end
	if kind == 'M' or kind == 'E' then return nil, 'marker', value end
	return nil, 'corrupt', key
end

local function add_to_index(index, member, expires_at, ttl)
	if redis.call('EXISTS', index) == 0 then redis.call('EXISTS', group, index) end -- as in get
	redis.call('ZADD', index, int(expires_at), member)
	if redis.call('PTTL', index) < ttl then redis.call('PEXPIRE', index, int(ttl)) end
end

local function end_session(member, s, tombstone, ttl)
	redis.call('ZREM', group .. 'o:' .. s.owner, member)
	redis.call('SET', group .. 's:' .. member, tombstone, 'PX', ttl)
	redis.call('PUBLISH', prefix .. 'endings', tombstone .. s.id)
end
`

// touchScript has KEYS session; ARGV now, seen, member, grace.
var touchScript = rueidis.NewLuaScriptRetryable(prelude + `
local now, seen, grace = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local s, status, result = get(KEYS[1])
if not s then return unchanged(status, result) end
if seen >= deadlines(s, s.last_seen) then return unchanged('not found') end
if seen <= s.last_seen then return unchanged('ok') end
local _, gone_at = deadlines(s, seen)
local ttl = math.min(math.max(gone_at + grace - now, 1), 1e14)
redis.call('PEXPIRE', KEYS[1], int(ttl))
add_to_index(group .. 'o:' .. s.owner, ARGV[3], gone_at + grace, ttl)
redis.call('SETRANGE', KEYS[1], 1, struct.pack('>i8', seen))
return {'ok'}
`)

// saveScript has KEYS session; ARGV version, next version, values.
var saveScript = rueidis.NewLuaScript(prelude + `
local s, status, result = get(KEYS[1])
if not s then return unchanged(status, result) end
if s.version ~= ARGV[1] then return unchanged('conflict') end
redis.call('SET', KEYS[1], string.sub(s.value, 1, 9) .. ARGV[2] ..
	string.sub(s.value, 18, s.values_at - 1) .. ARGV[3], 'KEEPTTL')
return {'ok'}
`)

// createScript has KEYS session, index; ARGV now, member, value, its ttl, the time it
// expires, owner, limit, "1" to refuse at the limit, tombstone, its ttl.
var createScript = rueidis.NewLuaScript(prelude + `
local now, ttl, max = tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(ARGV[7])
local index, live, expired_keys, stale_members = KEYS[2], {}, {}, {}
if max > 0 then
	for _, member in ipairs(redis.call('ZRANGE', index, 0, -1)) do
		local key = group .. 's:' .. member
		local s, status = get(key)
		if status == 'corrupt' or s and s.owner ~= ARGV[6] then return unchanged('corrupt', key) end
		if not s then
			stale_members[#stale_members + 1] = member
		elseif select(2, deadlines(s, s.last_seen)) > now then
			s.member = member
			live[#live + 1] = s
		else -- does not count for the limit; delete it, so that no delayed touch makes it count
			expired_keys[#expired_keys + 1] = key
			stale_members[#stale_members + 1] = member
		end
	end
	if ARGV[8] == '1' and #live >= max then return unchanged('limit') end
else
	for _, member in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', ARGV[1], 'LIMIT', 0, 8)) do
		if redis.call('EXISTS', group, group .. 's:' .. member) == 0 then
			stale_members[#stale_members + 1] = member
		end
	end
end
if redis.call('EXISTS', KEYS[1]) == 1 then return unchanged('key taken') end

if ttl > 0 then
	redis.call('SET', KEYS[1], ARGV[3], 'PX', int(ttl))
	add_to_index(index, ARGV[2], tonumber(ARGV[5]), ttl)
end
for _, key in ipairs(expired_keys) do redis.call('DEL', key) end
for _, member in ipairs(stale_members) do redis.call('ZREM', index, member) end
table.sort(live, function(a, b) return a.last_seen < b.last_seen end)
local ended = {'ok'}
for i = 1, max > 0 and #live - max + 1 or 0 do
	end_session(live[i].member, live[i], ARGV[9], ARGV[10])
	ended[#ended + 1] = live[i].member
	ended[#ended + 1] = live[i].value
end
redis.call('DEL', group)
return ended
`)

// replaceScript has KEYS old session, new session, index; ARGV version, owner, new member,
// old member, value, its ttl, the time it expires, move marker, its ttl.
var replaceScript = rueidis.NewLuaScript(prelude + `
local s, status, result = get(KEYS[1])
if not s then return unchanged(status, result) end
if s.version ~= ARGV[1] then return unchanged('conflict') end
if s.owner ~= ARGV[2] then return unchanged('owner changed') end
if redis.call('EXISTS', KEYS[2]) == 1 then return unchanged('key taken') end
redis.call('ZCARD', KEYS[3]) -- fails here, before any change, if the index is no sorted set
local ttl = tonumber(ARGV[6])
if ttl > 0 then
	redis.call('SET', KEYS[2], ARGV[5], 'PX', int(ttl))
	add_to_index(KEYS[3], ARGV[3], tonumber(ARGV[7]), ttl)
end
redis.call('SET', KEYS[1], ARGV[8], 'PX', ARGV[9])
redis.call('ZREM', KEYS[3], ARGV[4])
return {'ok'}
`)

// deleteScript has KEYS session; ARGV member, tombstone, its ttl. It returns the session
// without its values.
var deleteScript = rueidis.NewLuaScript(prelude + `
local s, status, result = get(KEYS[1])
if not s then return unchanged(status, result) end
end_session(ARGV[1], s, ARGV[2], ARGV[3])
return {'ok', string.sub(s.value, 1, s.values_at - 1)}
`)

// byOwnerScript has KEYS index; ARGV owner, members. It returns "sessions", and pairs of a
// member and its value. Without members in ARGV it returns all sessions or, if they are
// more than a page, "names" and only their members.
var byOwnerScript = rueidis.NewLuaScriptRetryable(prelude + `
local reply, stale_members, members = {'ok', 'sessions'}, {}, ARGV
local owner = table.remove(members, 1)
if #members == 0 then
	members = redis.call('ZRANGE', KEYS[1], 0, -1)
	if #members > ` + strconv.Itoa(pageSize) + ` then
		redis.call('DEL', group)
		reply = {'ok', 'names'}
		for _, member in ipairs(members) do reply[#reply + 1] = member end
		return reply
	end
end
for _, member in ipairs(members) do
	local key = group .. 's:' .. member
	local s, status = get(key)
	if status == 'corrupt' or s and s.owner ~= owner then return unchanged('corrupt', key) end
	if s then
		reply[#reply + 1] = member
		reply[#reply + 1] = s.value
	else
		stale_members[#stale_members + 1] = member
	end
end
for _, member in ipairs(stale_members) do redis.call('ZREM', KEYS[1], member) end
redis.call('DEL', group)
return reply
`)
