-- Delete a value and end whatever lease guards its load, or cool-down forbids
-- it: a load that began before must not write it again.
--   KEYS  1 lease  2 value
local lease = redis.pcall('GET', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[2])
wake(lease, 'c', '')
revoke(lease)
return 1
