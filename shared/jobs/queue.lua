-- How a job leaves its queue and a worker's hands: one script, so that each step is whole or not done.
-- Whoever finishes a job or puts it back must first take its lease away: who lost the lease changes nothing,
-- and so a job is never on its queue twice.
--
-- KEYS: started jobs, the job, its queue, jobs between queue and lease, jobs that wait for their time, and what stands
-- while a lease was taken from its worker. ARGV: the step, the job's id, the lease, and what the step says.
local started, job, queue, between, later, taken = unpack(KEYS)
local id, lease = ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local steps = {}

function steps.finish()
  if redis.call('ZREM', started, lease) == 0 then return 0 end
  return redis.call('DEL', job)
end

-- ARGV: change of the attempts left, why the last one failed, how many have failed in a row, seconds to wait (below
-- 0: behind all others), and seconds for which it stands that the lease was taken away; 0 where its own worker says so.
function steps.put_back()
  if redis.call('ZREM', started, lease) == 0 or redis.call('EXISTS', job) == 0 then return 0 end
  redis.call('HINCRBY', job, 'retries_left', ARGV[4])
  redis.call('HSET', job, 'status', 'queued', 'last_failure', ARGV[5], 'failures', ARGV[6])
  if tonumber(ARGV[8]) > 0 then redis.call('SET', taken, 1, 'EX', ARGV[8]) end
  if tonumber(ARGV[7]) > 0 then return redis.call('ZADD', later, now + ARGV[7], id) end
  return redis.call(tonumber(ARGV[7]) < 0 and 'RPUSH' or 'LPUSH', queue, id)
end

-- ARGV: its worker, for how many seconds, and the job's fields. Where Redis forgot the lease, it is held again, unless
-- another worker has the job by now.
function steps.renew()
  if redis.call('EXISTS', taken) == 1 then return 0 end
  if not redis.call('ZSCORE', started, lease) then
    if redis.call('EXISTS', job) == 1 and redis.call('HGET', job, 'worker_name') ~= ARGV[4] then
      if redis.call('LREM', queue, 0, id) + redis.call('ZREM', later, id) == 0 then return 0 end
    end
    redis.call('HSET', job, unpack(ARGV, 6))
    redis.call('HSET', job, 'status', 'started', 'worker_name', ARGV[4])
  end
  redis.call('ZADD', started, now + ARGV[5], lease)
  return 1
end

-- Whether another worker than ARGV's has the job, or may have it. Where Redis forgot the lease, it is held again.
function steps.is_lost()
  if redis.call('EXISTS', taken) == 1 then return 1 end
  if redis.call('ZSCORE', started, lease) then return 0 end
  local by = redis.call('HMGET', job, 'status', 'worker_name')
  return by[1] == 'started' and by[2] ~= ARGV[4] and 1 or 0
end

-- A job whose worker died between queue and lease.
function steps.rescue()
  if redis.call('LREM', between, 1, id) == 0 then return 0 end
  return redis.call('LPUSH', queue, id)
end

-- Jobs whose time has come are on their queue again.
function steps.promote()
  local due = redis.call('ZRANGEBYSCORE', later, 0, now)
  for _, each in ipairs(due) do
    redis.call('ZREM', later, each)
    redis.call('LPUSH', queue, each)
  end
  return #due
end

-- Forgets a job that is on no queue and in nobody's hands: what was set aside, or what half a Redis has left.
function steps.forget_stray()
  if redis.call('LPOS', queue, id) or redis.call('LPOS', between, id) or redis.call('ZSCORE', later, id) then return 0 end
  for _, held in ipairs(redis.call('ZRANGE', started, 0, -1)) do
    if string.sub(held, 1, #id + 1) == id .. ':' then return 0 end
  end
  return redis.call('DEL', job)
end

return steps[ARGV[1]]()
