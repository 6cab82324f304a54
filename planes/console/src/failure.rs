//! How commands fail: an exit code, a stable code, the cause, and what to do next.

use host::entropy::EntropyError;
use host::files::FileError;
use serve::{CallError, ClientError};
use std::io;

/// Longest part of a text from elsewhere that a failure repeats.
const ECHO_MAX: usize = 2_000;

/// How a command ends. The numbers are stable; `palisade --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Success = 0,
    /// It did not, for a reason without a number of its own.
    Failure = 1,
    /// It was asked in a way that it does not understand.
    Usage = 2,
    /// What it was asked about is not there.
    NotFound = 3,
    /// The caller is not known, or may not do this.
    Refused = 4,
    /// The control plane, or a part that it needs, does not answer.
    Unreachable = 5,
    /// The execution that was waited for did not complete.
    Faulted = 6,
    /// A signature, a proof or a control did not hold.
    Unverified = 7,
    /// Networks are not what they should be, or nobody can say that they are.
    Unheld = 8,
}

/// The exit codes as `--help` lists them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failure
  2  usage: the command line is not understood
  3  not found
  4  refused: not signed in, or not permitted
  5  unreachable: the control plane or a data plane does not answer
  6  the execution faulted, was cancelled or was given up (`run --wait`)
  7  verification failed (`verify`, `audit verify`)
  8  networks do not hold: a probe, a host without an answer, open drift (`network probe|drift`)";

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// A stable code: the API's own, or one of the command line's.
    pub code: String,
    /// What went wrong.
    pub cause: String,
    /// More about it, one line each: faults in a document, the last lines of a log.
    pub details: Vec<String>,
    /// What to do next.
    pub next_step: String,
}

/// What a command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Exit {
    /// The process's exit status.
    #[must_use]
    pub(crate) const fn status(self) -> u8 {
        self as u8
    }

    /// The exit for an API problem of this HTTP status.
    #[must_use]
    pub(crate) const fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Refused,
            404 | 410 => Self::NotFound,
            502..=504 => Self::Unreachable,
            _ => Self::Failure,
        }
    }
}

impl Failure {
    /// A failure with its cause and its next step.
    #[must_use]
    pub(crate) fn new(
        exit: Exit,
        code: &str,
        cause: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            cause: cause.into(),
            details: Vec::new(),
            next_step: next_step.into(),
        }
    }

    /// A command line that cannot be followed.
    #[must_use]
    pub(crate) fn usage(cause: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", cause, next_step)
    }

    /// A signature or proof that does not hold.
    #[must_use]
    pub(crate) fn unverified(cause: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self::new(Exit::Unverified, "verification_failed", cause, next_step)
    }

    /// A file of the caller's that cannot be read as what it should be.
    #[must_use]
    pub(crate) fn bad_file(path: &std::path::Path, why: impl core::fmt::Display, next_step: &str) -> Self {
        Self::new(Exit::Failure, "file_invalid", format!("`{}`: {why}", path.display()), next_step)
    }

    /// Says more about it.
    #[must_use]
    pub(crate) fn details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    /// Replaces the next step.
    #[must_use]
    pub(crate) fn next_step(mut self, next_step: impl Into<String>) -> Self {
        self.next_step = next_step.into();
        self
    }

    /// The failure as people read it, on stderr.
    #[must_use]
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("error[{}]: {}\n", self.code, self.cause);
        for detail in &self.details {
            text.push_str(&format!("  {detail}\n"));
        }
        text.push_str(&format!("next: {}\n", self.next_step));
        crate::output::printable(&text)
    }

    /// The failure as programs read it, on stderr, with `--output json`.
    #[must_use]
    pub(crate) fn to_json(&self) -> String {
        let value = serde_json::json!({ "error": {
            "code": self.code,
            "cause": self.cause,
            "details": self.details,
            "next_step": self.next_step,
            "exit": self.exit.status(),
        }});
        format!("{value}\n")
    }
}

impl From<api::Problem> for Failure {
    fn from(problem: api::Problem) -> Self {
        let cause = match &problem.detail {
            Some(detail) => format!("{}: {detail}", problem.title),
            None => problem.title.clone(),
        };
        let faults = problem.faults.iter().map(|fault| {
            format!("line {}, column {}: {} ({})", fault.line, fault.column, fault.message, fault.code)
        });
        let next_step = match problem.retry_after_s {
            Some(seconds) => format!("{} ({seconds} s)", problem.next_step),
            None => problem.next_step.clone(),
        };
        Self::new(Exit::of_status(problem.status), &problem.code, echo(&cause), next_step)
            .details(faults.collect())
    }
}

impl Failure {
    /// The failure of a call to `url`.
    #[must_use]
    pub(crate) fn of_call(url: &str, error: CallError) -> Self {
        const UP: &str = "is `palisade up` running? Start it, or point at another one: --state-dir or --url";
        let unreachable =
            |cause: String, next: &str| Self::new(Exit::Unreachable, "unreachable", cause, next);
        match error {
            CallError::Problem(problem, _) => (*problem).into(),
            CallError::Timeout => unreachable(
                format!("`{url}` did not answer in time"),
                "try again; if it stays, look at the control plane's log and at /readyz",
            ),
            CallError::Unreachable(ClientError::NotHttps(bad)) => Self::usage(
                format!("`{bad}` is not an https URL with a host"),
                "write the control plane's address like https://localhost:8443",
            ),
            CallError::Unreachable(ClientError::Untrusted { authority, reason }) => unreachable(
                format!("the certificate of `{authority}` is refused: {reason}"),
                "check that --ca-file (or PALISADE_CA_FILE) holds this control plane's CA; \
                 `palisade up` keeps it in ca.pem of its state directory",
            ),
            CallError::Unreachable(error @ ClientError::Unreachable { .. }) => {
                unreachable(format!("nothing answers at `{url}` ({error})"), UP)
            }
            CallError::Unreachable(error) => unreachable(format!("`{url}`: {error}"), UP),
            error @ (CallError::Malformed { .. } | CallError::TooLarge(_)) => Self::new(
                Exit::Failure,
                "answer_malformed",
                format!("`{url}`: {error}"),
                "check that the URL is a Palisade control plane of the same release as this command",
            ),
            CallError::Request(why) => {
                Self::usage(format!("the request cannot be sent: {why}"), "check the URL and the arguments")
            }
        }
    }

    /// The failure of reading or writing a file.
    #[must_use]
    pub(crate) fn of_file(error: &FileError, next_step: &str) -> Self {
        let exit = match error {
            FileError::System { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::NotFound,
            FileError::System { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::Refused
            }
            FileError::ForeignOwner { .. } => Exit::Refused,
            _ => Exit::Failure,
        };
        Self::new(exit, "file", error.to_string(), next_step)
    }

    /// The failure of writing what a command shows.
    #[must_use]
    pub(crate) fn of_output(error: &io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::BrokenPipe { OUTPUT_CLOSED } else { "output" };
        Self::new(
            Exit::Failure,
            code,
            format!("the output cannot be written: {error}"),
            "check the disk or the command that reads the output",
        )
    }

    /// Whether whoever read the output went away, which is no failure (`palisade ... | head`).
    #[must_use]
    pub(crate) fn is_closed_pipe(&self) -> bool {
        self.code == OUTPUT_CLOSED
    }
}

/// The code of an output that nobody reads any more.
const OUTPUT_CLOSED: &str = "output_closed";

impl From<EntropyError> for Failure {
    fn from(error: EntropyError) -> Self {
        Self::new(Exit::Failure, "entropy", error.to_string(), "check the kernel's random number source")
    }
}

fn echo(text: &str) -> String {
    text.chars().take(ECHO_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn every_problem_code_maps_to_the_documented_exit() {
        let exit = |code: api::Code| Failure::from(api::Problem::new(code)).exit;
        for code in api::Code::ALL {
            let expected = match code.status() {
                401 | 403 => Exit::Refused,
                404 | 410 => Exit::NotFound,
                502 | 503 => Exit::Unreachable,
                _ => Exit::Failure,
            };
            assert_eq!(exit(*code), expected, "{}", code.as_str());
        }
    }

    #[test]
    fn every_exit_is_documented_with_its_number() {
        let all = [
            Exit::Success,
            Exit::Failure,
            Exit::Usage,
            Exit::NotFound,
            Exit::Refused,
            Exit::Unreachable,
            Exit::Faulted,
            Exit::Unverified,
            Exit::Unheld,
        ];
        for (number, exit) in all.into_iter().enumerate() {
            assert_eq!(usize::from(exit.status()), number);
            assert!(EXIT_CODES.contains(&format!("\n  {number}  ")), "{exit:?}");
        }
    }

    #[test]
    fn a_problem_keeps_its_code_its_faults_and_its_next_step() {
        let fault = api::problem::Fault {
            code: "unknown_task".into(),
            message: "`listen` is not supported".into(),
            pointer: "/do/0".into(),
            line: 7,
            column: 5,
        };
        let problem = api::Problem::new(api::Code::WorkflowInvalid).faults(vec![fault]);
        let failure = Failure::of_call("https://x", CallError::Problem(Box::new(problem), StatusCode::OK));
        let text = failure.to_text();
        assert!(text.starts_with("error[workflow_invalid]: The workflow document is refused\n"), "{text}");
        assert!(text.contains("\n  line 7, column 5: `listen` is not supported (unknown_task)\n"), "{text}");
        assert!(text.contains("\nnext: Mend the faults"), "{text}");
    }

    #[test]
    fn a_dead_address_says_that_nothing_answers_and_what_to_start() {
        let error = ClientError::Unreachable { authority: "localhost:8443".into(), reason: "refused".into() };
        let failure = Failure::of_call("https://localhost:8443", CallError::Unreachable(error));
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.cause.starts_with("nothing answers at `https://localhost:8443`"), "{failure}");
        assert!(failure.next_step.contains("is `palisade up` running?"));
    }

    #[test]
    fn control_characters_from_elsewhere_never_reach_the_terminal() {
        let failure = Failure::new(Exit::Failure, "x", "a\u{1b}[31mred", "b\u{9b}c");
        assert!(!failure.to_text().contains(['\u{1b}', '\u{9b}']));
    }
}
