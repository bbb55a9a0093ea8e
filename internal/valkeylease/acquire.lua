-- Read a value or take its lease, in one step.
--   KEYS  1 lease  2 fence  3 value
--   ARGV  1 token  2 lease ttl ms  3 fence ttl ms
--         4 guard: 0 no value, 1 any value, 2 any but one that begins with 5
--         6 1: tell the time also with a value
--         7 usual us  8 our process as a holder, '' if nobody could see it live
--         9 our process as one who waits, '' if it cannot be told
--         10 owner  11 tag  12... processes that we believe dead
-- Replies {2, value[, now]}, {1, fence, now, taken over}, {3, cool-down, pttl}
-- or {0, lease without its token, pttl, now, pushed}; now is the server's time
-- in microseconds.
if ARGV[4] ~= '0' then
  local value = redis.pcall('GET', KEYS[3]) -- a table if the type is foreign: no value
  if type(value) == 'string' and
     (ARGV[4] == '1' or string.sub(value, 1, #ARGV[5]) ~= ARGV[5]) then
    if ARGV[6] ~= '1' then return {2, value} end -- the common case: not a call more than it needs
    local time = redis.call('TIME')
    return {2, value, time[1] * 1000000 + time[2]}
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local lease = redis.pcall('GET', KEYS[1])
if type(lease) == 'string' and string.sub(lease, 1, #ARGV[1] + 1) == ARGV[1] .. '|' then
  -- Ours: the reply to an earlier attempt was lost.
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {1, tonumber(string.match(lease, '^%x+|(%d+)|')), now, 0}
end

-- Dead is who we believe so and who is subscribed no more: it may have come back.
-- Only while we are subscribed here ourselves: on a node that was just promoted
-- nobody is, and what we believe is of its predecessor.
local function dead(process)
  for i = 12, #ARGV do
    if ARGV[i] == process then
      local channel = string.match(KEYS[1], '^[^:]*') .. ':p:'
      local seen = redis.pcall('PUBSUB', 'NUMSUB', channel .. process, channel .. ARGV[8])
      return seen[2] == 0 and seen[4] ~= 0 -- not so if the question was refused: then there is no count
    end
  end
  return false
end

-- Note that our process waits, unless the lease is no lease or the list is full.
local function enlist(process)
  if ARGV[9] == '' or not process or #lease > 65536 then return 0 end
  if not string.find(lease .. '\n', '\n' .. ARGV[9] .. '\n', 1, true) then
    redis.call('APPEND', KEYS[1], '\n' .. ARGV[9]) -- keeps the ttl
  end
  return 1
end

local waiting, taken = '', 0
if lease then
  local pttl = redis.call('PTTL', KEYS[1])
  if type(lease) ~= 'string' then return {0, '', pttl, now, 0} end
  local cooling = string.sub(lease, 1, 2) == '!|'
  if cooling and pttl >= 0 then return {3, lease, pttl} end
  if not cooling then
    local process = string.match(lease, '^%x+|%d+|%d+|%d+|(%x*)|')
    if not process or process == '' or not dead(process) then
      local pushed = enlist(process)
      return {0, string.match(lease, '^%x+|([^\n]*)') or '', pttl, now, pushed}
    end
    waiting = string.match(lease, '\n.*$') or '' -- they wait for the new holder now
    taken = 1
  end
end

-- Rises through a restart or flush by the clock, through a step back of the
-- clock by the last fence. Numbers beyond 2^53 are not ours.
local fence, fails = now, '0'
local last = redis.pcall('GET', KEYS[2])
if type(last) == 'string' then
  fails = string.match(last, '^%d+|(%d%d?%d?%d?)$') or '0'
  last = tonumber(string.match(last, '^%d+') or '0')
  if last >= now and last < 9007199254740000 then fence = last + 1 end
end
local number = string.format('%.0f', fence)
redis.call('SET', KEYS[2], fails == '0' and number or number .. '|' .. fails, 'PX', ARGV[3])
redis.call('SET', KEYS[1],
  ARGV[1] .. '|' .. number .. '|' .. string.format('%.0f', now) .. '|' .. ARGV[7] .. '|' .. ARGV[8] ..
  '|' .. fails .. '|' .. ARGV[10] .. '|' .. ARGV[11] .. waiting,
  'PX', ARGV[2])
return {1, fence, now, taken}
