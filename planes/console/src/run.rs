//! Runs a workflow, and waits for its end if asked to.

use crate::client::{Call, Client};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Format, Output};
use crate::progress::Progress;
use crate::tenant::Choice;
use api::execution::{
    ExecutionState, ExecutionView, ExecutionWait, IDEMPOTENCY_KEY_MAX, INPUT_MAX, StartExecution,
};
use serde_json::value::RawValue;
use std::io::{Read as _, stdin};
use std::path::{Path, PathBuf};
use terms::{ExecutionId, Name};
use wire::json::Bounds;

/// The bounds of an input: what a plan can carry.
const INPUT: Bounds =
    Bounds { bytes: INPUT_MAX, depth: wire::plan::BOUNDS.depth, nodes: wire::plan::BOUNDS.nodes };

/// How long one request waits for an execution's end.
const WAIT_MS: u64 = 20_000;

/// Runs a workflow's latest version
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade run orders --input orders.json
  palisade run orders --input orders.json --wait --tenant acme
  palisade run orders --input - --idempotency-key order-4711 < orders.json

With --wait the exit code says how the execution ended: 0 completed, 6 anything else.")]
pub(crate) struct Options {
    /// The workflow's name
    workflow: Name,
    /// The input, JSON; `-` is stdin; `{}` if absent
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Waits for the end
    #[arg(long)]
    wait: bool,
    /// Makes a retry safe: the same key never starts a second execution
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    idempotency_key: Option<String>,
    #[command(flatten)]
    tenant: Choice,
}

/// Runs a workflow.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(options: Options, client: &Client, output: &mut Output<'_>) -> Outcome<Exit> {
    let input = match &options.input {
        Some(file) => read_json(file)?,
        None => json("{}".to_owned(), Path::new("-"))?,
    };
    let key = match options.idempotency_key {
        Some(key) => key,
        None => new_key()?,
    };
    let tenant = options.tenant.pick(client).await?;
    let started = start(client, &tenant, options.workflow, input, &key).await?;
    if !options.wait {
        output.one(&started)?;
        return Ok(Exit::Success);
    }
    let progress = Progress::spinner("running");
    let ended = wait(client, &tenant, started.id, &progress).await?;
    progress.finish();
    output.one(&ended)?;
    if output.format() == Format::Table && ended.state == ExecutionState::Completed {
        output.text(&format!("\noutput: palisade execution output {} --tenant {tenant}\n", ended.id))?;
    }
    Ok(exit_of(ended.state))
}

/// Starts an execution. The same `key` never starts a second one.
///
/// # Errors
/// [`Failure`]; if nobody knows whether it was started, the next step says how to find out.
pub(crate) async fn start(
    client: &Client,
    tenant: &str,
    workflow: Name,
    input: Box<RawValue>,
    key: &str,
) -> Outcome<ExecutionView> {
    let body = StartExecution { workflow, input, limits: None };
    let call = Call::to("start_execution").at(tenant).body(&body).idempotency_key(key);
    client.send(call).await.map_err(|failure| match failure.exit {
        Exit::Unreachable => {
            let retry = format!("{}; --idempotency-key {key} makes the retry safe", failure.next_step);
            failure.next_step(retry)
        }
        _ => failure,
    })
}

/// Waits until an execution has ended.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn wait(
    client: &Client,
    tenant: &str,
    id: ExecutionId,
    progress: &Progress,
) -> Outcome<ExecutionView> {
    let query = ExecutionWait { wait_ms: Some(WAIT_MS) };
    loop {
        let shown: ExecutionView =
            client.send(Call::to("show_execution").at(tenant).at(id).query(&query)).await?;
        if shown.state.is_final() {
            return Ok(shown);
        }
        progress.step(&format!("execution {id} is {}", shown.state.as_str()));
    }
}

/// A new key that nobody used before.
///
/// # Errors
/// When the kernel gives no entropy.
pub(crate) fn new_key() -> Outcome<String> {
    Ok(format!("palisade-{:032x}", u128::from_be_bytes(host::entropy::bytes()?)))
}

/// Reads a file, or stdin for `-`, of at most `max` bytes.
///
/// # Errors
/// When it cannot be read, or is larger.
pub(crate) fn read_input(file: &Path, max: usize, next_step: &str) -> Outcome<Vec<u8>> {
    if file != Path::new("-") {
        return host::files::read_bounded(file, max).map_err(|error| Failure::of_file(&error, next_step));
    }
    let mut bytes = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    stdin().take(bound).read_to_end(&mut bytes).map_err(|e| Failure::bad_file(file, e, next_step))?;
    if bytes.len() > max {
        return Err(Failure::bad_file(file, format!("it is larger than {max} bytes"), next_step));
    }
    Ok(bytes)
}

/// The exit code for how an execution ended.
#[must_use]
pub(crate) const fn exit_of(state: ExecutionState) -> Exit {
    match state {
        ExecutionState::Completed => Exit::Success,
        ExecutionState::Faulted | ExecutionState::Cancelled | ExecutionState::GaveUp => Exit::Faulted,
        ExecutionState::Queued | ExecutionState::Sent | ExecutionState::Accepted => Exit::Failure,
    }
}

fn read_json(file: &Path) -> Outcome<Box<RawValue>> {
    let bytes = read_input(file, INPUT_MAX, INPUT_NEXT)?;
    let text = String::from_utf8(bytes).map_err(|error| Failure::bad_file(file, error, INPUT_NEXT))?;
    json(text, file)
}

/// What to do with an input that is refused.
const INPUT_NEXT: &str = "send JSON without duplicate names, at most 1 MiB and 64 levels deep";

fn json(text: String, file: &Path) -> Outcome<Box<RawValue>> {
    wire::json::check(text.as_bytes(), &INPUT).map_err(|e| Failure::bad_file(file, e, INPUT_NEXT))?;
    RawValue::from_string(text).map_err(|error| Failure::bad_file(file, error, INPUT_NEXT))
}

fn idempotency_key(text: &str) -> Result<String, String> {
    let is_printable = text.bytes().all(|b| b.is_ascii_graphic());
    if (1..=IDEMPOTENCY_KEY_MAX).contains(&text.len()) && is_printable {
        return Ok(text.to_owned());
    }
    Err(format!("a key has 1 to {IDEMPOTENCY_KEY_MAX} printable characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_completed_execution_ends_with_zero() {
        assert_eq!(exit_of(ExecutionState::Completed), Exit::Success);
        for state in [ExecutionState::Faulted, ExecutionState::Cancelled, ExecutionState::GaveUp] {
            assert_eq!(exit_of(state), Exit::Faulted);
        }
    }

    #[test]
    fn an_input_that_is_not_strict_json_is_refused_before_anything_is_sent() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        for bad in ["", "{", "{\"a\":1,\"a\":2}", "1 2", &deep] {
            let failure = json(bad.to_owned(), Path::new("in.json")).unwrap_err();
            assert_eq!(failure.code, "file_invalid", "{bad}");
            assert!(failure.cause.starts_with("`in.json`"));
        }
    }

    #[test]
    fn an_input_keeps_its_bytes() {
        let text = "{\"amount\":12345678901234567890.10,\"b\":1e300}";
        assert_eq!(json(text.to_owned(), Path::new("-")).unwrap().get(), text);
    }

    #[test]
    fn idempotency_keys_are_bounded_and_new_ones_differ() {
        assert!(idempotency_key("order-4711").is_ok());
        for bad in ["", "a b", "\u{e4}", &"x".repeat(256)] {
            assert!(idempotency_key(bad).is_err(), "{bad}");
        }
        let key = new_key().unwrap();
        assert!(idempotency_key(&key).is_ok() && key != new_key().unwrap());
    }
}
