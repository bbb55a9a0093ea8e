-- The lease is
--   token|fence|since us|usual us|process|fails|owner|tag
-- and after it a line for each process that waits for its end; after a failed
-- load it is !|fails|text. Whatever else stands there is somebody else's.

local function owned(lease, token)
  return type(lease) == 'string' and string.sub(lease, 1, #token + 1) == token .. '|'
end

-- The fence, and the failures in a row before it.
local function row(lease)
  local fence, fails = string.match(lease, '^%x+|(%d+)|%d+|%d+|%x*|(%d+)|')
  return fence, tonumber(fails or '0')
end

local function message(lease, kind, payload)
  local fence = row(lease)
  return kind .. #KEYS[1] .. ':' .. KEYS[1] .. (fence or '0') .. ':' .. payload
end

local function channel() return string.match(KEYS[1], '^[^:]*') .. ':p:' end

-- Tell the holder of the lease in KEYS[1] that somebody else has ended it.
local function revoke(lease)
  local process = type(lease) == 'string' and string.match(lease, '^%x+|%d+|%d+|%d+|(%x+)|')
  if process then redis.pcall('PUBLISH', channel() .. process, message(lease, 'c', '')) end
end

-- Tell those who wait on the lease in KEYS[1] that it has ended, and by its fence
-- which lease it was: messages may be late. Where publishing is forbidden they
-- find out by looking.
local function wake(lease, kind, payload)
  if type(lease) ~= 'string' or string.sub(lease, 1, 1) == '!' then return end
  if not string.find(lease, '\n', 1, true) then return end
  local channel, message = channel(), message(lease, kind, payload)
  for process in string.gmatch(lease, '\n(%x+)') do
    redis.pcall('PUBLISH', channel .. process, message)
  end
end

-- As wake, with the value itself if it is no longer than limit.
local function wake_with(lease, value, limit)
  if #value <= tonumber(limit) then wake(lease, 'v', value) else wake(lease, 'c', '') end
end

-- Tell every process that listens that the value in name has changed: what key of
-- the cache it is, who has changed it, and how it begins now. long is the key
-- where name has but its hash, or might: by name alone nobody can tell it.
local function changed(name, writer, long, value)
  local key = long
  if key == '' then key = string.sub(name, string.find(name, '}:', 1, true) + 2) end
  local message = 'k' .. #key .. ':' .. key .. writer .. ':' .. string.sub(value, 1, 70)
  redis.pcall('PUBLISH', channel() .. 'k', message)
  if long ~= '' then redis.pcall('PUBLISH', channel() .. 'h', message) end
end

-- Have the server tell the caller, who has written name, when it changes next: it
-- tracks what is read.
local function track(name, wanted)
  if wanted == '1' then redis.call('EXISTS', name) end
end
