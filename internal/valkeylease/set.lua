-- Write a value and end whatever lease guards its load, or cool-down forbids
-- it: a load that began before must not overwrite it.
--   KEYS  1 lease  2 value
--   ARGV  1 value  2 ttl ms  3 largest value to push  4 our process  5 the key, if KEYS have its hash
--         6 1: track it
local lease = redis.pcall('GET', KEYS[1])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[1])
wake_with(lease, ARGV[1], ARGV[3])
revoke(lease) -- last: to who waits in the holder's process this is an old message by then
changed(KEYS[2], ARGV[4], ARGV[5], ARGV[1])
track(KEYS[2], ARGV[6])
return 1
