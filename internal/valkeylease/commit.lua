-- Write a value and end the lease that guarded its load, if it is still ours.
--   KEYS  1 lease  2 value
--   ARGV  1 token  2 value  3 value ttl ms
-- Replies 1 if written. A repetition after a lost reply finds the value that it
-- wrote and replies 1 again.
local lease = redis.pcall('GET', KEYS[1])
if type(lease) == 'string' and string.sub(lease, 1, #ARGV[1] + 1) == ARGV[1] .. '|' then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
  redis.call('DEL', KEYS[1])
  return 1
end
if redis.pcall('GET', KEYS[2]) == ARGV[2] then return 1 end
return 0
