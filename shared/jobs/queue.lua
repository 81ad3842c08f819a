-- How a job leaves a worker's hands: one script, so that each step is whole or not done.
-- ARGV[1] names the step. Whoever finishes a job or puts it back must first take its lease away:
-- who lost the lease changes nothing, and so a job is never on its queue twice.

local steps = {}

-- KEYS: started jobs, the job. ARGV: the lease.
function steps.finish()
  if redis.call('ZREM', KEYS[1], ARGV[2]) == 0 then return 0 end
  return redis.call('DEL', KEYS[2])
end

-- KEYS: started jobs, the job, its queue. ARGV: the lease, the job's id, change of the attempts left,
-- why the last one failed.
function steps.put_back()
  if redis.call('ZREM', KEYS[1], ARGV[2]) == 0 or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
  redis.call('HINCRBY', KEYS[2], 'retries_left', ARGV[4])
  redis.call('HSET', KEYS[2], 'status', 'queued', 'last_failure', ARGV[5])
  return redis.call('LPUSH', KEYS[3], ARGV[3])
end

-- KEYS: jobs between queue and lease, the queue. ARGV: the id of one whose worker died there.
function steps.rescue()
  if redis.call('LREM', KEYS[1], 1, ARGV[2]) == 0 then return 0 end
  return redis.call('LPUSH', KEYS[2], ARGV[2])
end

return steps[ARGV[1]]()
