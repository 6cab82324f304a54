//! Process logs: structured lines on stderr. They hold no secret and no payload; the audit log is elsewhere.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

/// The environment variable that overrides the configured level, in `tracing`'s filter syntax.
pub const LEVEL_VARIABLE: &str = "PALISADE_LOG";

/// Libraries held at `warn` whatever the level: `sqlx` writes the database key at `debug`, and the others
/// write headers, which carry tokens. `hickory` is silent: it writes the names that tenants' workflows call, at
/// `error` too, and returns whatever it says there.
const QUIET: [&str; 9] = [
    "sqlx=warn",
    "hyper=warn",
    "hyper_util=warn",
    "h2=warn",
    "rustls=warn",
    "tower=warn",
    "hickory_net=off",
    "hickory_proto=off",
    "hickory_resolver=off",
];

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line, for collectors.
    Json,
    /// For a person at a terminal.
    Human,
}

/// Says why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The level is not one.
    #[error("`{0}` is not a log level; use error, warn, info, debug or trace, or a list of target=level")]
    Level(String),
    /// The process logs already.
    #[error("logging was started twice")]
    Twice,
}

/// Starts logging to stderr at `level`, or at what the environment's [`LEVEL_VARIABLE`] says.
///
/// # Errors
/// When the level cannot be read, or the process logs already.
pub fn init(format: LogFormat, level: &str) -> Result<(), LogsError> {
    let wanted = std::env::var(LEVEL_VARIABLE).unwrap_or_else(|_| level.to_owned());
    // A line that cannot be written is lost and nothing else: told to stderr, the loss would be a panic when that
    // is the file on the full disk.
    let lines = tracing_subscriber::fmt().log_internal_errors(false);
    let lines = lines.with_env_filter(filter(&wanted)?).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Human => lines.with_target(false).try_init(),
    }
    .map_err(|_| LogsError::Twice)
}

fn filter(level: &str) -> Result<EnvFilter, LogsError> {
    let refused = || LogsError::Level(level.chars().take(100).collect());
    let mut filter = EnvFilter::try_new(level).map_err(|_| refused())?;
    for quiet in QUIET {
        filter = filter.add_directive(quiet.parse::<Directive>().map_err(|_| refused())?);
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_that_log_secrets_stay_quiet_at_any_level() {
        for level in ["trace", "sqlx=trace,info", "hyper=debug", "hickory_resolver=debug"] {
            let filter = filter(level).unwrap().to_string();
            assert!(filter.contains("sqlx=warn") && !filter.contains("sqlx=trace"), "{filter}");
            assert!(filter.contains("hyper=warn") && !filter.contains("hyper=debug"), "{filter}");
            assert!(filter.contains("hickory_resolver=off"), "{filter}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_stops_nothing() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let logged = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "logs::tests::process_that_logs", "--nocapture"])
            .env(LOGS_VARIABLE, "yes")
            .stderr(full)
            .output()
            .unwrap();
        assert!(logged.status.success(), "{logged:?}");
    }

    const LOGS_VARIABLE: &str = "PALISADE_TEST_LOGS";

    /// Not a test by itself: the one above runs it in a process of its own, with a stderr that takes nothing.
    #[test]
    fn process_that_logs() {
        if std::env::var_os(LOGS_VARIABLE).is_some() {
            init(LogFormat::Json, "info").unwrap();
            tracing::error!("the disk is full");
        }
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        assert!(matches!(filter("palisade=loud"), Err(LogsError::Level(_))));
    }
}
