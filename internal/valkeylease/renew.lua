-- Let the lease end ARGV[2] ms from now, if ARGV[1] holds it. ARGV[3], if not
-- empty, is the holder's process, which may not have been subscribed when it
-- took the lease.
local lease = redis.pcall('GET', KEYS[1])
if type(lease) ~= 'string' or string.sub(lease, 1, #ARGV[1] + 1) ~= ARGV[1] .. '|' then return 0 end
local before, after = string.match(lease, '^(%x+|%d+|%d+|%d+|)(|.*)$')
if before and ARGV[3] ~= '' then
  local set = redis.pcall('SET', KEYS[1], before .. ARGV[3] .. after, 'PX', ARGV[2])
  if set.ok then return 1 end -- else the server is out of memory, and lets PEXPIRE pass
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
