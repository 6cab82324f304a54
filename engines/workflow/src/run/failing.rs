//! Raises errors, catches them, and tries again.

use super::evaluate::Surroundings;
use super::frame::{Activity, Frame, Phase, TaskFrame, Trying};
use super::machine::{Flow, Going, Machine, lost};
use super::problem::{FaultKind, Problem, RunFault, Stop};
use super::task::within;
use crate::duration::DURATION_MS_MAX;
use crate::jq::Value;
use crate::model::{Action, Backoff, Catch, Definition, Raise, Retry};

/// The longest text of an error's parts that is kept, in characters.
const TEXT_MAX: usize = 2_000;

/// What a `try` does with an error.
enum Decision {
    Pass,
    Retry { delay_ms: u64 },
    Handle,
    Ignore,
}

impl Machine {
    /// The error that a `raise` task makes, or why it can't be made.
    pub(crate) fn raised(
        &mut self,
        definition: &Definition,
        raise: &Raise,
        around: Surroundings<'_>,
    ) -> Result<Stop, Stop> {
        let error = match raise {
            Raise::Whole(id) => self.evaluate(definition, *id, around)?,
            Raise::Fields(fields) => {
                let parts = [
                    ("type", Some(&fields.kind)),
                    ("status", Some(&fields.status)),
                    ("title", fields.title.as_ref()),
                    ("detail", fields.detail.as_ref()),
                    ("instance", fields.instance.as_ref()),
                ];
                let mut entries = crate::jq::Map::default();
                for (key, template) in parts {
                    if let Some(template) = template {
                        entries.insert(key.into(), self.fill(definition, template, around)?);
                    }
                }
                Value::map(entries)
            }
        };
        let problem = problem_of(&error, around.pointer)
            .map_err(|detail| Stop::error(FaultKind::Validation, around.pointer, detail))?;
        Ok(Stop::Error(Box::new(RunFault { kind: FaultKind::Raised, problem })))
    }

    /// Takes frames off until a `try` catches the error; the fault that ends the run if none does.
    pub(crate) fn unwind(
        &mut self,
        definition: &Definition,
        fault: Box<RunFault>,
    ) -> Result<Going, Box<RunFault>> {
        let mut fault = fault;
        loop {
            let Some(frame) = self.frames.last() else { return Err(fault) };
            let attempting = match frame {
                Frame::Task(frame) => match &frame.activity {
                    Activity::Trying(trying) => trying.phase == Phase::Attempt,
                    Activity::Plain
                    | Activity::Calling
                    | Activity::Waiting { .. }
                    | Activity::Looping { .. } => false,
                },
                Frame::Block { .. } => false,
            };
            if attempting {
                match self.catch(definition, &fault) {
                    Ok(Some(flow)) => return Ok(Ok(flow)),
                    Ok(None) => {}
                    Err(Stop::Error(other)) => fault = other,
                    Err(Stop::Limit(limit)) => return Err(limit),
                }
            }
            self.pop();
        }
    }

    /// Lets the `try` on top have the error.
    fn catch(&mut self, definition: &Definition, fault: &RunFault) -> Result<Option<Flow>, Stop> {
        let frame = self.top_task().ok_or_else(lost)?.clone();
        let Some(task) = definition.task(frame.id) else { return Err(lost()) };
        let (Action::Try { catch, .. }, Activity::Trying(trying)) = (&task.action, &frame.activity) else {
            return Err(lost());
        };
        let error = fault.problem.to_value();
        if !matches(catch, &error) {
            return Ok(None);
        }
        self.shadow(catch.variable);
        self.set_variable(catch.variable, error);
        let around = within(&frame, task);
        match self.decide(definition, catch, trying, around)? {
            Decision::Pass => Ok(None),
            Decision::Ignore => self.finish(definition, frame.input.clone()).map(Some),
            Decision::Handle => {
                let Some(body) = catch.body else { return Err(lost()) };
                self.set_phase(Phase::Handler);
                Ok(Some(self.enter(body, frame.input.clone())))
            }
            Decision::Retry { delay_ms } => {
                self.count_retry();
                if delay_ms == 0 {
                    return self.attempt(definition).map(Some);
                }
                let until = self.after(delay_ms);
                self.set_phase(Phase::Pause { until });
                Ok(Some(self.wait_until(until)))
            }
        }
    }

    fn decide(
        &mut self,
        definition: &Definition,
        catch: &Catch,
        trying: &Trying,
        around: Surroundings<'_>,
    ) -> Result<Decision, Stop> {
        let caught = self.holds(definition, catch.when, around)?
            && !self.excepted(definition, catch.except_when, around)?;
        if !caught {
            return Ok(Decision::Pass);
        }
        if let Some(retry) = &catch.retry {
            let delay_ms = self.delay_ms(retry, trying.retries);
            let spent_ms =
                u64::try_from(self.now.ms_since(trying.began)).unwrap_or(0).saturating_add(delay_ms);
            let allowed =
                trying.retries < retry.attempts && retry.total_ms.is_none_or(|total| spent_ms <= total);
            if allowed
                && self.holds(definition, retry.when, around)?
                && !self.excepted(definition, retry.except_when, around)?
            {
                return Ok(Decision::Retry { delay_ms });
            }
        }
        Ok(match (&catch.body, &catch.retry) {
            (Some(_), _) => Decision::Handle,
            // A policy that is exhausted has not handled the error.
            (None, Some(_)) => Decision::Pass,
            (None, None) => Decision::Ignore,
        })
    }

    fn excepted(
        &mut self,
        definition: &Definition,
        condition: Option<crate::jq::ExpressionId>,
        around: Surroundings<'_>,
    ) -> Result<bool, Stop> {
        match condition {
            None => Ok(false),
            Some(_) => self.holds(definition, condition, around),
        }
    }

    /// Begins an attempt of the `try` on top.
    pub(crate) fn attempt(&mut self, definition: &Definition) -> Going {
        let frame = self.top_task().ok_or_else(lost)?;
        let input = frame.input.clone();
        let Some(Action::Try { body, catch }) = definition.task(frame.id).map(|task| &task.action) else {
            return Err(lost());
        };
        let limit = catch.retry.as_ref().and_then(|retry| retry.attempt_ms);
        let deadline = limit.map(|ms| self.after(ms));
        if let Some(trying) = self.trying() {
            trying.phase = Phase::Attempt;
            trying.attempt_deadline = deadline;
        }
        Ok(self.enter(*body, input))
    }

    fn trying(&mut self) -> Option<&mut Trying> {
        let Some(Frame::Task(frame)) = self.frames.last_mut() else { return None };
        let TaskFrame { activity: Activity::Trying(trying), .. } = &mut **frame else { return None };
        Some(trying)
    }

    fn set_phase(&mut self, phase: Phase) {
        if let Some(trying) = self.trying() {
            trying.phase = phase;
        }
    }

    fn count_retry(&mut self) {
        if let Some(trying) = self.trying() {
            trying.retries = trying.retries.saturating_add(1);
        }
    }

    fn delay_ms(&self, retry: &Retry, retries: u64) -> u64 {
        let delay = match retry.backoff {
            Backoff::Constant => retry.delay_ms,
            Backoff::Linear => retry.delay_ms.saturating_mul(retries.saturating_add(1)),
            Backoff::Exponential => {
                let exponent = u32::try_from(retries).unwrap_or(u32::MAX);
                retry.delay_ms.saturating_mul(2_u64.checked_pow(exponent).unwrap_or(u64::MAX))
            }
        };
        let jitter = retry.jitter_ms.map_or(0, |(from, upto)| {
            let width = upto.saturating_sub(from).saturating_add(1);
            from.saturating_add(self.spread(retries).checked_rem(width).unwrap_or(0))
        });
        delay.saturating_add(jitter).min(DURATION_MS_MAX)
    }

    /// A number that differs between runs and attempts, and is the same when a journal is replayed.
    fn spread(&self, retries: u64) -> u64 {
        let numbers = self.steps.to_be_bytes().into_iter().chain(retries.to_be_bytes());
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = self.execution_id.bytes().chain(numbers).fold(0xcbf2_9ce4_8422_2325, fnv);
        (hash ^ (hash >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
    }
}

/// Whether an error has everything that a filter asks for.
fn matches(catch: &Catch, error: &Value) -> bool {
    let Value::Map(parts) = error else { return false };
    catch.filter.iter().all(|(key, wanted)| parts.get(key) == Some(wanted))
}

/// Reads an error that a workflow made.
fn problem_of(error: &Value, pointer: &str) -> Result<Problem, &'static str> {
    let Value::Map(parts) = error else { return Err("an error is an object with `type` and `status`") };
    let text = |key: &str| match parts.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::Text(text)) => Some(text.chars().take(TEXT_MAX).collect::<String>()),
        Some(other) => Some(other.to_json().as_text().unwrap_or_default().chars().take(TEXT_MAX).collect()),
    };
    let status = parts.get("status").and_then(Value::as_int).and_then(|status| u16::try_from(status).ok());
    Ok(Problem {
        r#type: text("type").ok_or("an error needs a `type`")?,
        status: status
            .filter(|status| (100..=599).contains(status))
            .ok_or("an error's `status` is 100 to 599")?,
        title: text("title"),
        detail: text("detail"),
        instance: text("instance").or_else(|| Some(pointer.to_owned())),
    })
}
