package redisstore

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
local function write_nothing() redis.call('DEL', group) end
local function unchanged(...)
	write_nothing()
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

-- Returns the session that a value is, or nil and the status and result that explain why
-- it is none. EXISTS with two missing keys is an error in a slot that is being moved here;
-- GET of one missing key is not.
local function parse(key, value)
	if not value or value == '' and redis.call('EXISTS', key) == 0 then
		redis.call('EXISTS', group, key)
		return nil, 'not found'
	end
	local kind = string.sub(value, 1, 1)
	local s = kind == 'S' and parse_session(value)
	if s then return s end
	if kind == 'M' or kind == 'E' then return nil, 'marker', value end
	return nil, 'corrupt', key
end

-- Returns the session at a key, or what parse returns.
local function get(key) return parse(key, redis.call('GET', key)) end

-- The same, without reading most of a session's values. Its head is the session without them.
local function get_head(key)
	local value = redis.call('GETRANGE', key, 0, 1023)
	if #value == 1024 and string.sub(value, 1, 1) == 'S' then
		value = redis.call('GETRANGE', key, 0, 44 + struct.unpack('>I4', string.sub(value, 42, 45)))
	end
	local s, status, result = parse(key, value)
	if s then s.head = string.sub(value, 1, s.values_at - 1) end
	return s, status, result
end

-- An entry of an owner's index is the session's ID, a zero byte and the session's member.
-- All scores are 0, so entries are in the order of IDs.
local function entry_of(id, member) return id .. '\0' .. member end
local function member_of(entry) return string.sub(entry, -43) end

-- Returns the index's entries of an ID.
local function find_entries(index, id)
	return redis.call('ZRANGEBYLEX', index, '[' .. id .. '\0', '(' .. id .. '\1')
end

local function add_to_index(index, entry, ttl)
	if redis.call('EXISTS', index) == 0 then redis.call('EXISTS', group, index) end -- as in parse
	redis.call('ZADD', index, 0, entry)
	if redis.call('PTTL', index) < ttl then redis.call('PEXPIRE', index, int(ttl)) end
end

local function end_session(member, s, tombstone, ttl)
	redis.call('ZREM', group .. 'o:' .. s.owner, entry_of(s.id, member))
	redis.call('SET', group .. 's:' .. member, tombstone, 'PX', ttl)
	redis.call('PUBLISH', prefix .. 'endings', tombstone .. s.id)
end
`

// waitingPrelude is the prelude of scripts that wait for replicas. Since Redis 7.2, WAIT waits for
// the last write of its connection that has changed something, and confirms what another
// connection has just ended to whoever repeats it. So a script that changes nothing then sends
// something to the replicas. A server that is out of memory only refuses the SET.
const waitingPrelude = prelude + `
write_nothing = function()
	local ttl = redis.call('PTTL', KEYS[1])
	if ttl > 0 then
		redis.call('PEXPIRE', KEYS[1], int(ttl))
	else
		redis.call('SET', group, '', 'PX', 1)
		redis.call('DEL', group)
	end
end
`

// touchScript has KEYS session; ARGV now, seen, member, grace.
var touchScript = newScript(repeatable, `
local now, seen, grace = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local s, status, result = get(KEYS[1])
if not s then return unchanged(status, result) end
if seen >= deadlines(s, s.last_seen) then return unchanged('not found') end
if seen <= s.last_seen then return unchanged('ok') end
local _, gone_at = deadlines(s, seen)
local ttl = math.min(math.max(gone_at + grace - now, 1), 1e14)
redis.call('PEXPIRE', KEYS[1], int(ttl))
add_to_index(group .. 'o:' .. s.owner, entry_of(s.id, ARGV[3]), ttl)
redis.call('SETRANGE', KEYS[1], 1, struct.pack('>i8', seen))
return {'ok'}
`)

// saveScript has KEYS session; ARGV version, value. It keeps the time of the last activity.
var saveScript = newScript(changes, `
local s, status, result = get(KEYS[1])
if not s then return unchanged(status, result) end
if s.version ~= ARGV[1] then return unchanged('conflict') end
redis.call('SET', KEYS[1], string.sub(s.value, 1, 9) .. string.sub(ARGV[2], 10), 'KEEPTTL')
return {'ok'}
`)

// createScript has KEYS session, index; ARGV now, index entry, value, its ttl, owner, limit,
// "1" to refuse at the limit, tombstone, its ttl. It returns pairs of a member and the head
// of a session that has ended.
var createScript = newScript(changes, `
local now, ttl, max = tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(ARGV[6])
local index, live, expired_keys, stale_entries = KEYS[2], {}, {}, {}
if max > 0 then
	for _, entry in ipairs(redis.call('ZRANGE', index, 0, -1)) do
		local key = group .. 's:' .. member_of(entry)
		local s, status = get_head(key)
		if status == 'corrupt' or s and s.owner ~= ARGV[5] then return unchanged('corrupt', key) end
		if not s then
			stale_entries[#stale_entries + 1] = entry
		elseif select(2, deadlines(s, s.last_seen)) > now then
			s.member = member_of(entry)
			live[#live + 1] = s
		else -- does not count for the limit; delete it, so that no delayed touch makes it count
			expired_keys[#expired_keys + 1] = key
			stale_entries[#stale_entries + 1] = entry
		end
	end
	if ARGV[7] == '1' and #live >= max then return unchanged('limit') end
else -- IDs are random, so the next few are a random sample
	for _, entry in ipairs(redis.call('ZRANGEBYLEX', index, '(' .. ARGV[2], '+', 'LIMIT', 0, 8)) do
		if redis.call('EXISTS', group, group .. 's:' .. member_of(entry)) == 0 then
			stale_entries[#stale_entries + 1] = entry
		end
	end
end
if redis.call('EXISTS', KEYS[1]) == 1 then return unchanged('key taken') end

if ttl > 0 then
	redis.call('SET', KEYS[1], ARGV[3], 'PX', int(ttl))
	add_to_index(index, ARGV[2], ttl)
end
for _, key in ipairs(expired_keys) do redis.call('DEL', key) end
for _, entry in ipairs(stale_entries) do redis.call('ZREM', index, entry) end
table.sort(live, function(a, b) return a.last_seen < b.last_seen end)
local ended = {'ok'}
for i = 1, max > 0 and #live - max + 1 or 0 do
	end_session(live[i].member, live[i], ARGV[8], ARGV[9])
	ended[#ended + 1] = live[i].member
	ended[#ended + 1] = live[i].head
end
write_nothing()
return ended
`)

// createOverLimitScript is createScript with a limit for which sessions may have to end.
var createOverLimitScript = createScript.as(ends)

// replaceScript has KEYS old session, new session, index; ARGV version, owner, new index
// entry, old member, value, its ttl, move marker, its ttl.
var replaceScript = newScript(ends, `
local s, status, result = get(KEYS[1])
if not s then return unchanged(status, result) end
if s.version ~= ARGV[1] then return unchanged('conflict') end
if s.owner ~= ARGV[2] then return unchanged('owner changed') end
if redis.call('EXISTS', KEYS[2]) == 1 then return unchanged('key taken') end
redis.call('ZCARD', KEYS[3]) -- fails here, before any change, if the index is no sorted set
local ttl = tonumber(ARGV[6])
if ttl > 0 then
	redis.call('SET', KEYS[2], ARGV[5], 'PX', int(ttl))
	add_to_index(KEYS[3], ARGV[3], ttl)
end
redis.call('SET', KEYS[1], ARGV[7], 'PX', ARGV[8])
redis.call('ZREM', KEYS[3], entry_of(s.id, ARGV[4]))
return {'ok'}
`)

// deleteScript has KEYS session; ARGV member, tombstone, its ttl. It returns the head of the
// session.
var deleteScript = newScript(ends, `
local s, status, result = get_head(KEYS[1])
if not s then return unchanged(status, result) end
end_session(ARGV[1], s, ARGV[2], ARGV[3])
return {'ok', s.head}
`)

// loadByIDScript has KEYS index; ARGV owner, ID. It returns the session's member and value.
var loadByIDScript = newScript(repeatable, `
for _, entry in ipairs(find_entries(KEYS[1], ARGV[2])) do
	local key = group .. 's:' .. member_of(entry)
	local s, status = get(key)
	if status == 'corrupt' or s and s.owner ~= ARGV[1] then return unchanged('corrupt', key) end
	if s then return unchanged('ok', member_of(entry), s.value) end
end
redis.call('EXISTS', group, KEYS[1]) -- as in parse
return unchanged('not found')
`)

// byOwnerScript has KEYS index; ARGV owner, the least entry that may be returned, the number
// of entries to read. It returns the last entry that it has read, or "" if there are no more,
// and pairs of a member and a session's head.
var byOwnerScript = newScript(repeatable, `
local index, reply, stale_entries = KEYS[1], {'ok', ''}, {}
local entries = redis.call('ZRANGEBYLEX', index, ARGV[2], '+', 'LIMIT', 0, ARGV[3])
if #entries == 0 then redis.call('EXISTS', group, index) end -- as in parse
if #entries == tonumber(ARGV[3]) then reply[2] = entries[#entries] end
for _, entry in ipairs(entries) do
	local member = member_of(entry)
	local key = group .. 's:' .. member
	local s, status = get_head(key)
	if status == 'corrupt' or s and s.owner ~= ARGV[1] then return unchanged('corrupt', key) end
	if s then
		reply[#reply + 1] = member
		reply[#reply + 1] = s.head
	else
		stale_entries[#stale_entries + 1] = entry
	end
end
for _, entry in ipairs(stale_entries) do redis.call('ZREM', index, entry) end
write_nothing()
return reply
`).as(ends) // EndUser may repeat one that could not wait

// deleteByIDScript has as many KEYS, each an index, as there are sessions to end; ARGV for
// each of them owner, ID, tombstone, its ttl. It returns the position among KEYS, the member
// and the head of each session that it has ended.
var deleteByIDScript = newScript(ends, `
local found, reply = {}, {'ok'}
for i, index in ipairs(KEYS) do
	local owner, id = ARGV[4 * i - 3], ARGV[4 * i - 2]
	local entries = find_entries(index, id)
	if #entries == 0 then redis.call('EXISTS', group, index) end -- as in parse
	for _, entry in ipairs(entries) do
		local member = member_of(entry)
		local key = group .. 's:' .. member
		local s, status = get_head(key)
		if status == 'corrupt' or s and s.owner ~= owner then return unchanged('corrupt', key) end
		if s then
			s.member, s.position = member, i
			found[member] = s
		end
	end
end
for _, s in pairs(found) do
	end_session(s.member, s, ARGV[4 * s.position - 1], ARGV[4 * s.position])
	for _, result in ipairs({int(s.position), s.member, s.head}) do reply[#reply + 1] = result end
end
write_nothing()
return reply
`)
