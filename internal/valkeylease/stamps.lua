-- Look up the stamps of tags.
--   KEYS  1 stamps  2 older stamps      ARGV  tags
-- Replies for each tag when it was removed and when it was made stale, '0': never.
local reply = {}
for _, tag in ipairs(ARGV) do
  local new = redis.call('HMGET', KEYS[1], 'r' .. tag, 'e' .. tag)
  local old = redis.call('HMGET', KEYS[2], 'r' .. tag, 'e' .. tag)
  reply[#reply + 1] = new[1] or old[1] or '0'
  reply[#reply + 1] = new[2] or old[2] or '0'
end
return reply
