//! Shell completions.

use crate::failure::Outcome;
use crate::output::Output;
use clap_complete::Shell;

/// Prints completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade completions bash > ~/.local/share/bash-completion/completions/palisade
  palisade completions zsh > ~/.zfunc/_palisade
  palisade completions fish > ~/.config/fish/completions/palisade.fish")]
pub(crate) struct Options {
    /// The shell
    shell: Shell,
}

/// Prints them.
///
/// # Errors
/// When the output cannot be written.
pub(crate) fn run(options: Options, output: &mut Output<'_>) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut crate::cli::command(), "palisade", &mut script);
    output.text(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_nouns() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut sink = Vec::new();
            run(Options { shell }, &mut Output::new(Format::Table, false, &mut sink)).unwrap();
            let script = String::from_utf8(sink).unwrap();
            assert!(["tenant", "workflow", "execution"].iter().all(|noun| script.contains(noun)), "{shell}");
        }
    }
}
