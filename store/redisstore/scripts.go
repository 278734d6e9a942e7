package redisstore

import (
	"strconv"

	"github.com/redis/rueidis"
)

// Each script has all its keys in one slot. Those that it finds by what it reads are in
// the slot of the first.
//
// A server that is out of memory refuses a script's first write if that may need more,
// and none after it. So Create, Save and Replace begin with one that may, and change
// nothing; Touch and Delete begin with one that may not, and go through.
//
// While a cluster moves a slot, either node has some of its keys only. A script fails
// there rather than take a key for missing that is on the other, and before it has
// changed anything that counts.

// prelude is what scripts share.
const prelude = `
local prefix = string.match(KEYS[1], '^[^{]*')
local base = string.match(KEYS[1], '^[^}]*}:')

-- A script that finds nothing to write ends with a write that changes nothing. A
-- replica, which may not know what the primary knows, refuses it.
local function unchanged(...)
	redis.call('DEL', base)
	return {...}
end

-- Numbers as Redis reads them: Lua's own form of large ones has an exponent.
local function int(n) return string.format('%.0f', n) end

-- In a record, a text comes after its length as a uvarint.
local function text(value, at)
	local length, unit, byte = 0, 1
	repeat
		byte = string.byte(value, at)
		if not byte then return end
		length, unit, at = length + byte % 128 * unit, unit * 128, at + 1
	until byte < 128
	return string.sub(value, at, at + length - 1), at + length
end

local function session(value)
	if #value < 45 then return end
	local s, length, _ = {value = value, version = string.sub(value, 10, 17)}
	s.seen, _, s.idle, s.expires, s.remember, length = struct.unpack('>i8i8i8i8i8I4', string.sub(value, 2, 45))
	s.values = 46 + length
	if #value < s.values - 1 then return end
	local at
	s.id, at = text(value, 46 + 33) -- after the record's format and key
	if at then s.owner, at = text(value, at) end
	return at and at <= s.values and s
end

-- The end of a session, and the moment from which it is over, if seen at that time.
local function ending(s, seen)
	local last = math.min(seen + s.idle, s.expires)
	return last, math.max(last, s.remember)
end

-- What is at a key: a session, or why there is none. Two missing keys are an error where
-- one is not: in a slot that is being moved here.
local function get(key)
	local value = redis.call('GET', key)
	if not value then
		redis.call('EXISTS', base, key)
		return nil, 'gone'
	end
	local kind = string.sub(value, 1, 1)
	local s = kind == 'S' and session(value)
	if s then return s end
	if kind == 'M' or kind == 'E' then return nil, 'left', value end
	return nil, 'corrupt', key
end

local function enlist(index, member, score, ttl)
	if redis.call('EXISTS', index) == 0 then redis.call('EXISTS', base, index) end -- as above
	redis.call('ZADD', index, int(score), member)
	if redis.call('PTTL', index) < ttl then redis.call('PEXPIRE', index, int(ttl)) end
end

local function finish(member, s, tombstone, ttl)
	redis.call('ZREM', base .. 'o:' .. s.owner, member)
	redis.call('SET', base .. 's:' .. member, tombstone, 'PX', ttl)
	redis.call('PUBLISH', prefix .. 'endings', tombstone .. s.id)
end
`

// touch: KEYS session. ARGV now, seen, member, grace.
var touch = rueidis.NewLuaScriptRetryable(prelude + `
local now, seen, grace = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local s, why, what = get(KEYS[1])
if not s then return unchanged(why, what) end
if seen >= ending(s, s.seen) then return unchanged('gone') end
if seen <= s.seen then return unchanged('ok') end
local _, over = ending(s, seen)
local ttl = math.min(math.max(over + grace - now, 1), 1e14)
redis.call('PEXPIRE', KEYS[1], int(ttl))
enlist(base .. 'o:' .. s.owner, ARGV[3], over + grace, ttl)
redis.call('SETRANGE', KEYS[1], 1, struct.pack('>i8', seen))
return {'ok'}
`)

// save: KEYS session. ARGV version, next version, values.
var save = rueidis.NewLuaScript(prelude + `
local s, why, what = get(KEYS[1])
if not s then return unchanged(why, what) end
if s.version ~= ARGV[1] then return unchanged('conflict') end
redis.call('SET', KEYS[1], string.sub(s.value, 1, 9) .. ARGV[2] ..
	string.sub(s.value, 18, s.values - 1) .. ARGV[3], 'KEEPTTL')
return {'ok'}
`)

// create: KEYS session, index. ARGV now, member, value, time to live, when that ends,
// owner, limit, whether to refuse, tombstone, its time to live.
var create = rueidis.NewLuaScript(prelude + `
local now, ttl, max = tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(ARGV[7])
local index, live, dead, gone = KEYS[2], {}, {}, {}
if max > 0 then
	for _, member in ipairs(redis.call('ZRANGE', index, 0, -1)) do
		local key = base .. 's:' .. member
		local s, why, what = get(key)
		if why == 'corrupt' or s and s.owner ~= ARGV[6] then return unchanged('corrupt', key) end
		if not s then
			gone[#gone + 1] = member
		elseif select(2, ending(s, s.seen)) > now then
			s.member = member
			live[#live + 1] = s
		else -- does not count, and a touch that is heard of late must not make it
			dead[#dead + 1] = key
			gone[#gone + 1] = member
		end
	end
	if ARGV[8] == '1' and #live >= max then return unchanged('limit') end
else
	for _, member in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', ARGV[1], 'LIMIT', 0, 8)) do
		if redis.call('EXISTS', base, base .. 's:' .. member) == 0 then gone[#gone + 1] = member end
	end
end
if redis.call('EXISTS', KEYS[1]) == 1 then return unchanged('taken') end

if ttl > 0 then
	redis.call('SET', KEYS[1], ARGV[3], 'PX', int(ttl))
	enlist(index, ARGV[2], tonumber(ARGV[5]), ttl)
end
for _, key in ipairs(dead) do redis.call('DEL', key) end
for _, member in ipairs(gone) do redis.call('ZREM', index, member) end
table.sort(live, function(a, b) return a.seen < b.seen end)
local ended = {'ok'}
for i = 1, max > 0 and #live - max + 1 or 0 do
	finish(live[i].member, live[i], ARGV[9], ARGV[10])
	ended[#ended + 1] = live[i].member
	ended[#ended + 1] = live[i].value
end
redis.call('DEL', base)
return ended
`)

// replace: KEYS old session, session, index. ARGV version, owner, member, old member,
// value, time to live, when that ends, move, its time to live.
var replace = rueidis.NewLuaScript(prelude + `
local s, why, what = get(KEYS[1])
if not s then return unchanged(why, what) end
if s.version ~= ARGV[1] then return unchanged('conflict') end
if s.owner ~= ARGV[2] then return unchanged('owner') end
if redis.call('EXISTS', KEYS[2]) == 1 then return unchanged('taken') end
redis.call('ZCARD', KEYS[3]) -- fails now, if at all
local ttl = tonumber(ARGV[6])
if ttl > 0 then
	redis.call('SET', KEYS[2], ARGV[5], 'PX', int(ttl))
	enlist(KEYS[3], ARGV[3], tonumber(ARGV[7]), ttl)
end
redis.call('SET', KEYS[1], ARGV[8], 'PX', ARGV[9])
redis.call('ZREM', KEYS[3], ARGV[4])
return {'ok'}
`)

// remove: KEYS session. ARGV member, tombstone, its time to live.
var remove = rueidis.NewLuaScript(prelude + `
local s, why, what = get(KEYS[1])
if not s then return unchanged(why, what) end
finish(ARGV[1], s, ARGV[2], ARGV[3])
return {'ok', string.sub(s.value, 1, s.values - 1)}
`)

// list: KEYS index. ARGV owner, members. Without members it is all of them or, if these
// are more than one portion, only their names.
var list = rueidis.NewLuaScriptRetryable(prelude + `
local found, gone, members = {'ok', 'sessions'}, {}, ARGV
local owner = table.remove(members, 1)
if #members == 0 then
	members = redis.call('ZRANGE', KEYS[1], 0, -1)
	if #members > ` + strconv.Itoa(portion) + ` then
		redis.call('DEL', base)
		found = {'ok', 'names'}
		for _, member in ipairs(members) do found[#found + 1] = member end
		return found
	end
end
for _, member in ipairs(members) do
	local key = base .. 's:' .. member
	local s, why = get(key)
	if why == 'corrupt' or s and s.owner ~= owner then return unchanged('corrupt', key) end
	if s then
		found[#found + 1] = member
		found[#found + 1] = s.value
	else
		gone[#gone + 1] = member
	end
end
for _, member in ipairs(gone) do redis.call('ZREM', KEYS[1], member) end
redis.call('DEL', base)
return found
`)
