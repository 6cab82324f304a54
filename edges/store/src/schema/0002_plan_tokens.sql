-- A plan's token as it went out, and the key that signed it: evidence that outlives the key.
ALTER TABLE executions ADD COLUMN plan_key TEXT;
ALTER TABLE executions ADD COLUMN plan_token TEXT;
