-- Try what wake-ups and liveness need: publish ARGV[2] to the channel ARGV[1],
-- and count who is subscribed to it.
-- Replies {1 if publishing is allowed, subscribers or -1 if the question is refused}.
local sent = redis.pcall('PUBLISH', ARGV[1], ARGV[2])
local seen = redis.pcall('PUBSUB', 'NUMSUB', ARGV[1])
return {type(sent) == 'number' and 1 or 0, type(seen[2]) == 'number' and seen[2] or -1}
