//! The whole command line: which nouns there are, and what a failed command prints.

use crate::failure::{EXIT_CODES, Exit, Failure, Outcome};
use crate::output::{Format, Output, stdout_is_terminal};
use crate::{
    alarm, assure, audit, completions, config, connection, data_plane, event, execution, heartbeat, key,
    network, node, run, sidecar, tenant, token, up, usage, verify, workflow,
};
use clap::{CommandFactory as _, Parser};
use std::ffi::OsString;
use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  palisade up --demo                                      bring everything up with a sample
  palisade tenant create acme
  palisade workflow apply orders.yaml --tenant acme
  palisade run orders --input orders.json --tenant acme --wait
  palisade network probe
  palisade audit verify
  palisade assure run

";

/// Runs workflows in isolated data planes, under signed plans, with metering and logs that anyone can verify.
#[derive(Debug, Parser)]
#[command(name = "palisade", version, after_help = format!("{EXAMPLES}{EXIT_CODES}"))]
#[command(disable_help_subcommand = true, arg_required_else_help = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The form of the output
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    connection: connection::Options,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Up(up::Options),
    #[command(subcommand)]
    Tenant(tenant::Command),
    #[command(subcommand)]
    Workflow(workflow::Command),
    Run(run::Options),
    #[command(subcommand)]
    Execution(execution::Command),
    Usage(usage::Options),
    #[command(subcommand)]
    Heartbeat(heartbeat::Command),
    #[command(subcommand)]
    Sidecar(sidecar::Command),
    #[command(subcommand, name = "data-plane")]
    DataPlane(data_plane::Command),
    #[command(subcommand)]
    Node(node::Command),
    #[command(subcommand)]
    Network(network::Command),
    #[command(subcommand)]
    Keys(key::Command),
    #[command(subcommand)]
    Audit(audit::Command),
    #[command(subcommand)]
    Verify(verify::Command),
    Events(event::Options),
    Alarms(alarm::Options),
    #[command(subcommand)]
    Assure(assure::Command),
    #[command(subcommand)]
    Config(config::Command),
    #[command(subcommand)]
    Token(token::Command),
    Completions(completions::Options),
}

/// Runs the command line `arguments`, whose first one is the program's name, and says how it ended.
pub async fn invoke(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` are errors to the parser, and go to stdout with status 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.status()));
        }
    };
    let format = cli.output;
    let mut sink = stdout().lock();
    let mut output = Output::new(format, stdout_is_terminal(), &mut sink);
    let outcome = dispatch(cli, &mut output).await;
    let outcome = outcome.and_then(|exit| output.flush().map(|()| exit));
    ExitCode::from(ended(outcome, format).status())
}

/// The parser, for help texts and completions.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

async fn dispatch(cli: Cli, output: &mut Output<'_>) -> Outcome<Exit> {
    let at = &cli.connection;
    let done = |()| Exit::Success;
    match cli.command {
        Command::Up(options) => Box::pin(up::run(options, at, output)).await,
        Command::Tenant(command) => tenant::run(command, &at.connect()?, output).await.map(done),
        Command::Workflow(command) => workflow::run(command, &at.connect()?, output).await.map(done),
        Command::Run(options) => run::run(options, &at.connect()?, output).await,
        Command::Execution(command) => execution::run(command, &at.connect()?, output).await.map(done),
        Command::Usage(options) => usage::run(options, &at.connect()?, output).await.map(done),
        Command::Heartbeat(command) => heartbeat::run(command, &at.connect()?, output).await.map(done),
        Command::Sidecar(command) => sidecar::run(command, &at.connect()?, output).await.map(done),
        Command::DataPlane(command) => data_plane::run(command, &at.connect()?, output).await.map(done),
        Command::Node(command) => node::run(command, at, output).await,
        Command::Network(command) => network::run(command, &at.connect()?, output).await,
        Command::Keys(command) => key::run(command, &at.connect()?, output).await.map(done),
        Command::Audit(command) => Box::pin(audit::run(command, at, output)).await.map(done),
        Command::Verify(command) => verify::run(command, output).map(done),
        Command::Events(options) => event::run(options, &at.connect()?, output).await.map(done),
        Command::Alarms(options) => alarm::run(options, &at.connect()?, output).await.map(done),
        Command::Assure(command) => assure::run(command, &at.connect()?, output).await,
        Command::Config(command) => config::run(command, output).await,
        Command::Token(command) => token::run(command, output).map(done),
        Command::Completions(options) => completions::run(options, output).map(done),
    }
}

/// Runs a command line as [`invoke`] does, into `sink`.
#[cfg(test)]
pub(crate) async fn invoke_with(arguments: &[&str], sink: &mut Vec<u8>) -> Outcome<Exit> {
    let cli = Cli::try_parse_from(arguments).expect("a valid command line");
    let mut output = Output::new(cli.output, false, sink);
    dispatch(cli, &mut output).await
}

fn ended(outcome: Outcome<Exit>, format: Format) -> Exit {
    let failure = match outcome {
        Ok(exit) => return exit,
        Err(failure) if failure.is_closed_pipe() => return Exit::Success,
        Err(failure) => failure,
    };
    let text = rendered(&failure, format);
    // Nobody is left to tell that stderr is closed.
    let _ = stderr().lock().write_all(text.as_bytes());
    failure.exit
}

fn rendered(failure: &Failure, format: Format) -> String {
    match format {
        Format::Table => failure.to_text(),
        Format::Json => failure.to_json(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples_in_its_help() {
        let mut commands = Vec::new();
        leaves(command(), "palisade", &mut commands);
        assert!(commands.len() > 30, "{}", commands.len());
        for (path, mut command) in commands {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:"), "`{path}` has no examples");
            let verbs = path.strip_prefix("palisade ").unwrap_or_default();
            assert!(
                help.contains(&format!("  palisade {verbs}")),
                "`{path}` has an example of another command"
            );
        }
    }

    #[test]
    fn every_command_in_an_example_is_understood() {
        let mut commands = Vec::new();
        leaves(command(), "palisade", &mut commands);
        let mut seen = 0;
        for (path, mut command) in commands {
            let help = command.render_long_help().to_string();
            let examples = help.split("Examples:").nth(1).unwrap();
            for line in examples.lines().filter_map(|line| line.strip_prefix("  palisade ")) {
                // A comment stands two spaces apart; a pipe or a redirection ends the command.
                let words = line.split("  ").next().unwrap();
                let words = words.split(['|', '<', '>', ';']).next().unwrap();
                let arguments = core::iter::once("palisade").chain(words.split_whitespace());
                let parsed = Cli::try_parse_from(arguments);
                assert!(parsed.is_ok(), "`{path}`: `{words}`: {}", parsed.unwrap_err());
                seen += 1;
            }
        }
        assert!(seen > 40, "{seen}");
    }

    /// Scripts depend on names and options: a change of them is seen, and meant.
    #[test]
    fn the_commands_are_the_committed_ones() {
        let mut commands = Vec::new();
        leaves(command(), "palisade", &mut commands);
        let lines = commands.iter().map(|(path, command)| format!("{path}{}\n", arguments(command)));
        let written: String = lines.collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/commands.txt");
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            std::fs::write(path, &written).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == written,
            "commands.txt is stale: UPDATE_GOLDENS=1 cargo test, in planes/console"
        );
    }

    #[test]
    fn the_help_lists_every_exit_code() {
        let help = command().render_long_help().to_string();
        assert!(help.contains(EXIT_CODES.lines().last().unwrap().trim()), "{help}");
    }

    #[test]
    fn no_option_takes_a_secret() {
        let mut commands = Vec::new();
        leaves(command(), "palisade", &mut commands);
        for (path, command) in commands {
            for argument in command.get_arguments() {
                let name = argument.get_long().unwrap_or_default();
                let is_secret = ["password", "secret", "token"].contains(&name);
                assert!(!is_secret, "`{path}` takes --{name}: secrets travel in files");
            }
        }
    }

    #[test]
    fn an_unknown_command_is_a_usage_error() {
        let error = Cli::try_parse_from(["palisade", "tennant", "list"]).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.status()));
        assert!(error.to_string().contains("tenant"), "suggests the right one: {error}");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let broken = Failure::of_output(&std::io::ErrorKind::BrokenPipe.into());
        assert!(broken.is_closed_pipe());
        let full = Failure::of_output(&std::io::ErrorKind::StorageFull.into());
        assert!(!full.is_closed_pipe());
    }

    #[test]
    fn a_failure_is_one_json_object_when_json_was_asked_for() {
        let failure = Failure::new(Exit::NotFound, "not_found", "no", "look");
        let value: serde_json::Value = serde_json::from_str(&rendered(&failure, Format::Json)).unwrap();
        assert_eq!(value["error"]["code"], "not_found");
        assert_eq!(value["error"]["exit"], 3);
    }

    /// A command's own arguments: those that every command has are left out.
    fn arguments(command: &clap::Command) -> String {
        let own = command.get_arguments().filter(|a| !a.is_global_set() && a.get_id() != "help");
        own.map(|argument| match argument.get_long() {
            None if argument.is_required_set() => format!(" <{}>", argument.get_id()),
            None => format!(" [<{}>]", argument.get_id()),
            Some(long) if argument.is_required_set() => format!(" --{long} <..>"),
            Some(long) if argument.get_action().takes_values() => format!(" [--{long} <..>]"),
            Some(long) => format!(" [--{long}]"),
        })
        .collect()
    }

    /// Every command without subcommands of its own, with its whole path.
    fn leaves(mut command: clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
        command.build();
        for sub in command.get_subcommands().cloned().collect::<Vec<_>>() {
            let path = format!("{path} {}", sub.get_name());
            if sub.has_subcommands() { leaves(sub, &path, found) } else { found.push((path, sub)) }
        }
    }
}
