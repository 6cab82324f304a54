-- A plan's token as it went out, and the key that signed it: evidence that outlives the key. The token lies beside
-- the input: a change of state never rewrites it.
ALTER TABLE executions ADD COLUMN plan_key TEXT;
ALTER TABLE execution_inputs ADD COLUMN plan_token TEXT;
