-- Delete a value and end whatever lease guards its load, or cool-down forbids
-- it: a load that began before must not write it again.
--   KEYS  1 lease  2 value      ARGV  1 our process  2 the key, if KEYS have its hash
local lease = redis.pcall('GET', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[2])
wake(lease, 'c', '')
revoke(lease)
changed(KEYS[2], ARGV[1], ARGV[2], '')
return 1
