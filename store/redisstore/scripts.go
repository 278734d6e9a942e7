package redisstore

// All keys of a script are in one slot. Keys that a script derives from what it reads are
// in the slot of its first key.
//
// A server that is out of memory checks only the first write of a script, and refuses it if
// it may need more memory. So Create, Save and Replace begin with a write that may, and are
// refused before they change anything; Touch, where it does more than touchInPlace, and Delete
// begin with a write that may not, and succeed.
//
// While a cluster moves a slot, each of two nodes has only some of its keys. A script then
// fails rather than treat a key on the other node as missing, and before it has changed
// anything that matters.

// prelude holds the functions that the scripts share. Each script returns a status, or a list
// of a status and results: see runScript.
const prelude = `
local prefix = string.match(KEYS[1], '^[^{]*')

-- The prefix of the group's keys. No value is ever stored under this name itself.
local group = string.match(KEYS[1], '^[^}]*}:')

-- The index of the group's sessions, a sorted set. All scores are 0, so that its entries are in
-- the order of their bytes. An entry is
--   6 bytes of the hash of the owner's realm,
--   18 bytes of the hash of the owner,
--   the session's ID, which has no zero byte,
--   a zero byte,
--   the 32 bytes of the session's key: its member.
-- So the sessions of a realm are a range of the index, those of an owner a range in that, and
-- those in the order of their IDs. Only scripts make entries.
local index = group .. 'index'

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

local function parse_session(key, value)
	if string.sub(value, 47, 78) ~= string.sub(key, -32) then return end -- a session of another key
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
	local s = kind == 'S' and parse_session(key, value)
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

-- Return what the entries of a realm and of an owner begin with: see store.RealmOf. The hash only
-- brings together what is in one range: scripts also compare the owners' names, so that two owners
-- with the same hash never meet. A word is 12 of its hexadecimal digits.
local function word(hash, i) return tonumber(string.sub(hash, 12 * i - 11, 12 * i), 16) end
local function of_realm(realm) return struct.pack('>I6', word(redis.sha1hex(realm), 1)) end
local function of_owner(owner)
	local hash = redis.sha1hex(owner)
	return of_realm(string.match(owner, '^[^=:/]*[=:/]?')) ..
		struct.pack('>I6I6I6', word(hash, 1), word(hash, 2), word(hash, 3))
end

local function member_of(entry) return string.sub(entry, -32) end
local function key_of(entry) return group .. 's:' .. member_of(entry) end
local function entry_of(owner, id, key) return of_owner(owner) .. id .. '\0' .. member_of(key) end

-- Returns the entries that begin with range and follow a position in it: count of them or, if it is
-- nil, all.
local function read_range(range, position, count)
	local head, last = string.match(range, '^(.*)([^\255])\255*$')
	local limit = head and '(' .. head .. string.char(string.byte(last) + 1) or '+'
	local args = {'ZRANGEBYLEX', index, '(' .. range .. position, limit}
	if count then for _, arg in ipairs({'LIMIT', 0, count}) do args[#args + 1] = arg end end
	local entries = redis.call(unpack(args))
	if #entries == 0 then redis.call('EXISTS', group, index) end -- as in parse
	return entries
end

-- Returns the position of what follows an entry of a range, for the next page. After a session, it
-- is that of the next ID: the session may meanwhile have moved to another key.
local function position_after(range, entry, is_session)
	return is_session and string.sub(entry, #range + 1, -34) .. '\1' or string.sub(entry, #range + 1)
end

-- Returns an owner's session by its ID, as read returns it, or nil and why there is none.
local function find(owner, id, read)
	local range = of_owner(owner)
	for _, entry in ipairs(redis.call('ZRANGEBYLEX', index, '[' .. range .. id .. '\0', '(' .. range .. id .. '\1')) do
		if #entry == #range + #id + 33 then -- else the ID has a zero byte, and these are bytes of a key
			local s, status, result = read(key_of(entry))
			if status == 'corrupt' then return nil, status, result end
			if s and s.owner == owner then
				s.entry = entry
				return s
			end
		end
	end
	redis.call('EXISTS', group, index) -- as in parse
	return nil, 'not found'
end

-- Returns a page of sessions, as a reply: the position of the next page, or '' if there is none,
-- and pairs of a member and the session's head, which is '' if the value is corrupt. Sessions of
-- other owners are left out, if there is an owner.
local function read_page(range, position, count, owner)
	local reply, stale, is_session = {'ok', ''}, {}, false
	local entries = read_range(range, position, count)
	for _, entry in ipairs(entries) do
		local s, status = get_head(key_of(entry))
		is_session = s or status == 'corrupt'
		if not is_session then
			stale[#stale + 1] = entry
		elseif not s or not owner or s.owner == owner then
			reply[#reply + 1] = member_of(entry)
			reply[#reply + 1] = s and s.head or ''
		end
	end
	if #entries == tonumber(count) then reply[2] = position_after(range, entries[#entries], is_session) end
	for _, entry in ipairs(stale) do redis.call('ZREM', index, entry) end
	write_nothing()
	return reply
end

local function add_to_index(entry, ttl)
	if redis.call('EXISTS', index) == 0 then redis.call('EXISTS', group, index) end -- as in parse
	redis.call('ZADD', index, 0, entry)
	if redis.call('PTTL', index) < ttl then redis.call('PEXPIRE', index, int(ttl)) end
end

local function end_session(s, tombstone, ttl)
	redis.call('ZREM', index, s.entry)
	redis.call('SET', key_of(s.entry), tombstone, 'PX', ttl)
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

// saveScript has KEYS session; ARGV version, value. It keeps the time of the last activity.
var saveScript = newScript(changes, `
local s, status, result = get(KEYS[1])
if not s then return unchanged(status, result) end
if s.version ~= ARGV[1] then return unchanged('conflict') end
redis.call('SET', KEYS[1], string.sub(s.value, 1, 9) .. string.sub(ARGV[2], 10), 'KEEPTTL')
return 'ok'
`)

// createScript has KEYS session, index; ARGV now, ID, value, its ttl, owner, limit, "1" to
// refuse at the limit, tombstone, its ttl. It returns pairs of a member and the head of a session
// that has ended.
//
// Redis does not say which sessions have expired, so each login looks whether four of the index
// have. As it adds one entry and removes four times the share that is stale, that share does not
// stay above a quarter.
var createScript = newScript(changes, `
local now, ttl, owner, max = tonumber(ARGV[1]), tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local range, live, expired_keys, stale = of_owner(owner), {}, {}, {}
local sample, exist = redis.call('ZRANDMEMBER', index, -4), {'EXISTS', group}
for i, entry in ipairs(sample) do exist[i + 2] = key_of(entry) end
if redis.call(unpack(exist)) < #sample then
	for _, entry in ipairs(sample) do
		if redis.call('EXISTS', group, key_of(entry)) == 0 then stale[#stale + 1] = entry end
	end
end
for _, entry in ipairs(max > 0 and read_range(range, '') or {}) do
	local key = key_of(entry)
	local s, status = get_head(key)
	if status == 'corrupt' then return unchanged('corrupt', key) end
	if not s then
		stale[#stale + 1] = entry
	elseif s.owner == owner then
		if select(2, deadlines(s, s.last_seen)) > now then
			s.entry = entry
			live[#live + 1] = s
		else -- does not count for the limit; delete it, so that no delayed touch makes it count
			expired_keys[#expired_keys + 1] = key
			stale[#stale + 1] = entry
		end
	end
end
if max > 0 and ARGV[7] == '1' and #live >= max then return unchanged('limit') end
if redis.call('EXISTS', KEYS[1]) == 1 then return unchanged('key taken') end

if ttl > 0 then
	redis.call('SET', KEYS[1], ARGV[3], 'PX', int(ttl))
	add_to_index(range .. ARGV[2] .. '\0' .. member_of(KEYS[1]), ttl)
end
for _, key in ipairs(expired_keys) do redis.call('DEL', key) end
for _, entry in ipairs(stale) do redis.call('ZREM', index, entry) end
table.sort(live, function(a, b) return a.last_seen < b.last_seen end)
local ended = {'ok'}
for i = 1, max > 0 and #live - max + 1 or 0 do
	end_session(live[i], ARGV[8], ARGV[9])
	ended[#ended + 1] = member_of(live[i].entry)
	ended[#ended + 1] = live[i].head
end
write_nothing()
return ended
`)

// createOverLimitScript is createScript with a limit for which sessions may have to end.
var createOverLimitScript = createScript.as(ends)

// replaceScript has KEYS old session, new session, index; ARGV version, owner, ID, value, its
// ttl, move marker, its ttl.
var replaceScript = newScript(ends, `
local s, status, result = get(KEYS[1])
if not s then return unchanged(status, result) end
if s.version ~= ARGV[1] then return unchanged('conflict') end
if s.owner ~= ARGV[2] then return unchanged('owner changed') end
if redis.call('EXISTS', KEYS[2]) == 1 then return unchanged('key taken') end
redis.call('ZCARD', index) -- fails here, before any change, if the index is no sorted set
local ttl = tonumber(ARGV[5])
if ttl > 0 then
	redis.call('SET', KEYS[2], ARGV[4], 'PX', int(ttl))
	add_to_index(entry_of(s.owner, ARGV[3], KEYS[2]), ttl)
end
redis.call('SET', KEYS[1], ARGV[6], 'PX', ARGV[7])
redis.call('ZREM', index, entry_of(s.owner, s.id, KEYS[1]))
return 'ok'
`)

// deleteScript has KEYS session; ARGV tombstone, its ttl. It returns the head of the session.
var deleteScript = newScript(ends, `
local s, status, result = get_head(KEYS[1])
if not s then return unchanged(status, result) end
s.entry = entry_of(s.owner, s.id, KEYS[1])
end_session(s, ARGV[1], ARGV[2])
return {'ok', s.head}
`)

// loadByIDScript has KEYS index; ARGV owner, ID. It returns the session's member and value.
var loadByIDScript = newScript(repeatable, `
local s, status, result = find(ARGV[1], ARGV[2], get)
if not s then return unchanged(status, result) end
return unchanged('ok', member_of(s.entry), s.value)
`)

// byOwnerScript has KEYS index; ARGV owner, the position in the owner's sessions, the number of
// entries to read. It returns what read_page returns.
var byOwnerScript = newScript(repeatable, `
return read_page(of_owner(ARGV[1]), ARGV[2], ARGV[3], ARGV[1])
`).as(ends) // EndUser may repeat one that could not wait

// allScript has KEYS index; ARGV realm, the position in its sessions, the number of entries to
// read. It returns what read_page returns.
var allScript = newScript(repeatable, `
return read_page(of_realm(ARGV[1]), ARGV[2], ARGV[3])
`).as(ends) // as EndAll may

// countScript has KEYS index; ARGV as allScript, then now. It returns the position of the next
// page, or ” if there is none, and the number of sessions in this one that are not past their
// GoneAt.
var countScript = newScript(repeatable, `
local range, is_session, count, stale, now = of_realm(ARGV[1]), false, 0, {}, tonumber(ARGV[4])
local entries = read_range(range, ARGV[2], ARGV[3])
for _, entry in ipairs(entries) do
	local key = key_of(entry)
	local head = redis.call('GETRANGE', key, 0, 44)
	is_session = string.sub(head, 1, 1) == 'S' and #head == 45
	if is_session then
		local s, last_seen, _ = {}
		last_seen, _, s.idle_timeout, s.expires, s.remember_until = struct.unpack('>i8i8i8i8i8', head, 2)
		if select(2, deadlines(s, last_seen)) > now then count = count + 1 end
	elseif select(2, parse(key, head)) == 'corrupt' then
		return unchanged('corrupt', key)
	else
		stale[#stale + 1] = entry
	end
end
for _, entry in ipairs(stale) do redis.call('ZREM', index, entry) end
write_nothing()
return {'ok', #entries == tonumber(ARGV[3]) and position_after(range, entries[#entries], is_session) or '', int(count)}
`)

// deleteByIDScript has KEYS index; ARGV for each session to end owner, ID, tombstone, its ttl. It
// returns the position among the sessions to end, the member and the head of each session that it
// has ended.
var deleteByIDScript = newScript(ends, `
local found, reply = {}, {'ok'}
for i = 1, #ARGV, 4 do
	local s, status, result = find(ARGV[i], ARGV[i + 1], get_head)
	if status == 'corrupt' then return unchanged(status, result) end
	if s then
		s.position = i
		found[s.entry] = s
	end
end
for _, s in pairs(found) do
	end_session(s, ARGV[s.position + 2], ARGV[s.position + 3])
	for _, result in ipairs({int((s.position - 1) / 4), member_of(s.entry), s.head}) do reply[#reply + 1] = result end
end
write_nothing()
return reply
`)

// pingScript has KEYS the prefix of a group's keys, under which nothing is stored. It changes
// nothing, but is refused where a login would be.
var pingScript = newScript(ends, `
redis.call('SET', KEYS[1], '', 'XX')
write_nothing()
return 'ok'
`)
