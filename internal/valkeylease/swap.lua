-- Write a value and end the key's lease, if what is there begins with ARGV[1].
--   KEYS  1 lease  2 value
--   ARGV  1 prefix  2 value  3 ttl ms  4 our process  5 the key, if KEYS have its hash
--         6 1: track it
-- Replies 1 if written. A repetition after a lost reply finds the value that it
-- wrote and replies 1 again.
local value = redis.pcall('GET', KEYS[2])
if type(value) ~= 'string' then return 0 end
if string.sub(value, 1, #ARGV[1]) ~= ARGV[1] then
  return value == ARGV[2] and 1 or 0
end
local lease = redis.pcall('GET', KEYS[1])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[1])
wake(lease, 'c', '')
revoke(lease)
changed(KEYS[2], ARGV[4], ARGV[5], ARGV[2])
track(KEYS[2], ARGV[6])
return 1
