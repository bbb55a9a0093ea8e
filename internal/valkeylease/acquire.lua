-- Read a value or take its lease, in one step.
--   KEYS  1 lease  2 fence  3 value
--   ARGV  1 token  2 lease ttl ms  3 owner  4 tag  5 fence ttl ms
--         6 guard: 0 no value, 1 any value, 2 any but one that begins with 7
-- Replies {2, value, now}, {1, fence, now} or {0, lease, pttl, now}; now is the
-- server's time in microseconds.
-- The lease is token|fence|since|owner|tag.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

if ARGV[6] ~= '0' then
  local value = redis.pcall('GET', KEYS[3]) -- a table if the type is foreign: no value
  if type(value) == 'string' and
     (ARGV[6] == '1' or string.sub(value, 1, #ARGV[7]) ~= ARGV[7]) then
    return {2, value, now}
  end
end

local lease = redis.pcall('GET', KEYS[1])
if type(lease) == 'string' and string.sub(lease, 1, #ARGV[1] + 1) == ARGV[1] .. '|' then
  -- Ours: the reply to an earlier attempt was lost.
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {1, tonumber(string.match(lease, '^%x+|(%d+)|')), now}
end
if lease then
  if type(lease) ~= 'string' then lease = '' end -- a foreign type: held by who knows whom
  return {0, lease, redis.call('PTTL', KEYS[1]), now}
end

-- Rises through a restart or flush by the clock, through a step back of the
-- clock by the last fence. Numbers beyond 2^53 are not ours.
local fence = now
local last = redis.pcall('GET', KEYS[2])
last = type(last) == 'string' and tonumber(last) or 0
if last >= now and last < 9007199254740000 then fence = last + 1 end
redis.call('SET', KEYS[2], string.format('%.0f', fence), 'PX', ARGV[5])
redis.call('SET', KEYS[1],
  ARGV[1] .. '|' .. string.format('%.0f|%.0f', fence, now) .. '|' .. ARGV[3] .. '|' .. ARGV[4],
  'NX', 'PX', ARGV[2])
return {1, fence, now}
