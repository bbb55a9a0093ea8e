-- End the lease, if ARGV[1] holds it.
local lease = redis.pcall('GET', KEYS[1])
if type(lease) == 'string' and string.sub(lease, 1, #ARGV[1] + 1) == ARGV[1] .. '|' then
  return redis.call('DEL', KEYS[1])
end
return 0
