-- End the lease, if ARGV[1] holds it; after a failed load a cool-down takes its
-- place.
--   KEYS  1 lease  2 fence
--   ARGV  1 token  2 first cool-down ms, 0: none  3 longest ms  4 text  5 fence ttl ms
-- A repetition after a lost reply finds no lease of ours: a failure counts once.
local lease = redis.pcall('GET', KEYS[1])
if not owned(lease, ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1]) -- first: a server out of memory allows it, and then lets the rest pass
if ARGV[2] == '0' then
  wake(lease, 'c', '')
  return 1
end
local fence, fails = row(lease)
fails = math.min(fails + 1, 9999)
local cool = string.format('%.0f', math.min(ARGV[3], ARGV[2] * 2 ^ (fails - 1)))
if fence then redis.pcall('SET', KEYS[2], fence .. '|' .. fails, 'PX', ARGV[5]) end
redis.pcall('SET', KEYS[1], '!|' .. fails .. '|' .. ARGV[4], 'PX', cool)
wake(lease, 'f', fails .. '|' .. cool .. '|' .. ARGV[4])
return 1
