-- Note that all entries with certain tags are removed, or stale, as of now.
--   KEYS  1 stamps  2 older stamps
--   ARGV  1 'r' removed or 'e' stale  2 the stamp is no less than this
--         3 so many fields make a hash old  4 our process  5... tags; '' is every entry's
-- Replies the stamp, in microseconds of the server's time. The hashes have a
-- field for each kind and tag, and '>', the last stamp. Looking a tag up costs
-- two reads; forgetting them costs nothing: the older hash goes as a whole, and
-- with it, by a stamp on every entry, all that is older than what it knew.
local time = redis.call('TIME')
local stamp = math.max(time[1] * 1000000 + time[2], tonumber(ARGV[2]))
local last = tonumber(redis.call('HGET', KEYS[1], '>') or '0')
if last >= stamp and last < 9007199254740000 then stamp = last + 1 end
local number = string.format('%.0f', stamp)

if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  local all = redis.call('HGET', KEYS[1], 'r')
  local lost = redis.call('HGET', KEYS[2], '>')
  redis.call('UNLINK', KEYS[2])
  redis.call('RENAME', KEYS[1], KEYS[2])
  if lost and tonumber(lost) > tonumber(all or '0') then all = lost end
  if all then redis.call('HSET', KEYS[1], 'r', all) end
end
for i = 5, #ARGV do
  if ARGV[1] == 'r' and ARGV[i] == '' then redis.call('UNLINK', KEYS[1], KEYS[2]) end -- no other stamp matters any more
  redis.call('HSET', KEYS[1], ARGV[1] .. ARGV[i], number)
end
redis.call('HSET', KEYS[1], '>', number)
local channel = string.match(KEYS[1], '^[^:]*') .. ':p:t'
for i = 5, #ARGV do
  redis.pcall('PUBLISH', channel, 't' .. #ARGV[i] .. ':' .. ARGV[i] .. ARGV[4] .. ':' .. ARGV[1] .. number)
end
return number
