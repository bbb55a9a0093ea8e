-- Write a value and end the lease that guarded its load, if it is still ours.
--   KEYS  1 lease  2 value  3 fence
--   ARGV  1 token  2 value  3 value ttl ms  4 largest value to push  5 fence ttl ms
--         6 our process  7 the key, if KEYS have its hash  8 1: track it
-- Replies 1 if written. A repetition after a lost reply finds the value that it
-- wrote and replies 1 again.
local lease = redis.pcall('GET', KEYS[1])
if owned(lease, ARGV[1]) then
  local replaced = redis.call('PTTL', KEYS[2]) ~= -2
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
  redis.call('DEL', KEYS[1])
  local fence, fails = row(lease)
  if fails > 0 then redis.call('SET', KEYS[3], fence, 'PX', ARGV[5]) end
  wake_with(lease, ARGV[2], ARGV[4])
  -- Where there was nothing, nobody has anything older in memory.
  if replaced then changed(KEYS[2], ARGV[6], ARGV[7], ARGV[2]) end
  track(KEYS[2], ARGV[8])
  return 1
end
if redis.pcall('GET', KEYS[2]) == ARGV[2] then return 1 end
return 0
