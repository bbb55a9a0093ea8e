-- Name the process of a lease's holder, which was not subscribed when it took the
-- lease, and have those who wait look again: now they can see whether it lives.
--   KEYS  1 lease      ARGV  1 token  2 process
local lease = redis.pcall('GET', KEYS[1])
if not owned(lease, ARGV[1]) then return 0 end
local before, after = string.match(lease, '^(%x+|%d+|%d+|%d+|)(|.*)$')
if not before then return 0 end
redis.call('SET', KEYS[1], before .. ARGV[2] .. after, 'KEEPTTL')
wake(lease, 'c', '')
return 1
