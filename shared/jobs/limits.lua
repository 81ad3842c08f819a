-- One process tells how many slots at an endpoint it holds and wants besides, and hears how many it gets, and how many
-- other processes there are.
--
-- KEYS: the endpoint's processes, each "slots held:waiting since:asked last". The times are milliseconds of Redis's
-- clock; one that waits for nothing waits since 0.
-- ARGV: this process, the slots it holds, those it wants besides, all there are, and milliseconds: how long a process
-- that is silent keeps its slots, how long it keeps its turn, and how long others may be passed over.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local me, wants, free = ARGV[1], tonumber(ARGV[3]), ARGV[4] - ARGV[2]
local since, longest, others = now, now, 0
local known = redis.call('HGETALL', KEYS[1])
for i = 1, #known, 2 do
  local held, waits, asked = string.match(known[i + 1], '(%d+):(%d+):(%d+)')
  waits = tonumber(waits)
  if known[i] == me then
    if waits > 0 then since = waits end
  elseif asked + ARGV[5] < now then
    redis.call('HDEL', KEYS[1], known[i])
  else
    free, others = free - held, others + 1
    if waits > 0 and asked + ARGV[6] > now then longest = math.min(longest, waits) end
  end
end
local gets = math.max(0, math.min(wants, free))
if longest < since and longest + ARGV[7] < now then gets = 0 end
if gets == wants then since = 0 elseif gets > 0 then since = now end
redis.call('HSET', KEYS[1], me, string.format('%d:%d:%d', ARGV[2] + gets, since, now))
redis.call('PEXPIRE', KEYS[1], ARGV[5] * 2)
return {gets, others}
