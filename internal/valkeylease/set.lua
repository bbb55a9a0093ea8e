-- Write a value and end whatever lease guards its load: a load that began
-- before must not overwrite it.
--   KEYS  1 lease  2 value      ARGV  1 value  2 ttl ms
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[1])
return 1
