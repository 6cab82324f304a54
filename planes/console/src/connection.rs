//! Where the API is and who calls: from the state directory, or from flags and the environment.

use crate::client::Client;
use crate::failure::{Failure, Outcome};
use crate::state_dir::StateDir;
use crate::token;
use host::files;
use serve::tls::{Roots, client_config};
use std::path::{Path, PathBuf};
use terms::Token;

/// The environment variable for `--url`.
pub(crate) const URL: &str = "PALISADE_URL";
/// The environment variable for `--ca-file`.
pub(crate) const CA_FILE: &str = "PALISADE_CA_FILE";
/// The environment variable for `--token-file`.
pub(crate) const TOKEN_FILE: &str = "PALISADE_TOKEN_FILE";

/// The largest file of trusted roots.
const ROOTS_MAX: usize = 1024 * 1024;

/// Which control plane to speak to. The token is only ever read from a file.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Options {
    /// The state directory of `palisade up` [default: ./palisade-state]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The control plane's URL, instead of a state directory [env: PALISADE_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// Roots of the control plane's certificate, PEM; the public web's if absent [env: PALISADE_CA_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The operator token's file, mode 0600 [env: PALISADE_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Where the parts of a connection come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// All of them from a state directory.
    StateDir(StateDir),
    /// All of them named by the caller.
    Named { url: String, ca_file: Option<PathBuf>, token_file: PathBuf },
}

impl Options {
    /// Whether the caller names a control plane, or a part of the way to one.
    #[must_use]
    pub(crate) const fn names_a_control_plane(&self) -> bool {
        self.url.is_some() || self.ca_file.is_some() || self.token_file.is_some()
    }

    /// Connects: reads what is needed; no packet is sent yet.
    ///
    /// # Errors
    /// When something is missing, unreadable or open to others.
    pub(crate) fn connect(&self) -> Outcome<Client> {
        match self.source(|name| std::env::var_os(name).filter(|value| !value.is_empty()))? {
            Source::StateDir(state) => connect_to_state(&state),
            Source::Named { url, ca_file, token_file } => {
                let roots = match ca_file {
                    Some(path) => roots(&path)?,
                    None => Roots::native(),
                };
                open(url, &roots, token::read(&token_file)?)
            }
        }
    }

    /// The state directory in use, if one is.
    ///
    /// # Errors
    /// As [`Options::connect`].
    pub(crate) fn state(&self) -> Outcome<Option<StateDir>> {
        match self.source(|name| std::env::var_os(name).filter(|value| !value.is_empty()))? {
            Source::StateDir(state) => Ok(Some(state)),
            Source::Named { .. } => Ok(None),
        }
    }

    /// Decides where the parts come from. They are never mixed: a state directory's token must not travel to
    /// an
    /// address that somebody else named.
    fn source(&self, variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Outcome<Source> {
        let named_by_flag = self.url.is_some() || self.ca_file.is_some() || self.token_file.is_some();
        if self.state_dir.is_some() && named_by_flag {
            return Err(Failure::usage(
                "--state-dir names a whole connection, and so do --url, --ca-file and --token-file",
                "use --state-dir alone, or --url with --token-file",
            ));
        }
        let url = match &self.url {
            Some(url) => Some(url.clone()),
            None if self.state_dir.is_some() => None,
            None => variable(URL).map(|url| url.to_string_lossy().into_owned()),
        };
        let Some(url) = url else {
            if named_by_flag {
                return Err(Failure::usage(
                    "--ca-file and --token-file belong to a URL",
                    "add --url URL, or use --state-dir alone",
                ));
            }
            return StateDir::find(self.state_dir.as_deref()).map(Source::StateDir);
        };
        let ca_file = self.ca_file.clone().or_else(|| variable(CA_FILE).map(PathBuf::from));
        let token_file = self.token_file.clone().or_else(|| variable(TOKEN_FILE).map(PathBuf::from));
        let Some(token_file) = token_file else {
            return Err(Failure::usage(
                format!("there is no token for `{url}`"),
                "name its file: --token-file FILE or PALISADE_TOKEN_FILE",
            ));
        };
        Ok(Source::Named { url: url.trim_end_matches('/').to_owned(), ca_file, token_file })
    }
}

/// Connects to the control plane of a state directory.
///
/// # Errors
/// When the state directory was never brought up, or cannot be read.
pub(crate) fn connect_to_state(state: &StateDir) -> Outcome<Client> {
    let Some(remembered) = state.recall()? else {
        return Err(Failure::new(
            crate::failure::Exit::Unreachable,
            "unreachable",
            format!("`{}` is not a state directory of `palisade up`", state.path().display()),
            "run `palisade up --demo` first, or point at a control plane: --state-dir DIR, or --url URL",
        ));
    };
    open(remembered.control_plane_url, &roots(&state.ca())?, token::read(&state.operator_token())?)
}

fn open(url: String, roots: &Roots, token: Token) -> Outcome<Client> {
    let tls = client_config(roots, None).map_err(|error| {
        Failure::usage(error.to_string(), "check the file that --ca-file or the state directory names")
    })?;
    Ok(Client::new(serve::Client::new(tls, Client::options()), url, token))
}

fn roots(path: &Path) -> Outcome<Roots> {
    const NEXT: &str = "name the control plane's CA: --ca-file FILE or PALISADE_CA_FILE";
    let bytes = files::read_bounded(path, ROOTS_MAX).map_err(|error| Failure::of_file(&error, NEXT))?;
    Roots::from_pem(&String::from_utf8_lossy(&bytes)).map_err(|error| Failure::bad_file(path, error, NEXT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use std::ffi::OsString;

    fn nothing(_: &str) -> Option<OsString> {
        None
    }

    fn everything(name: &str) -> Option<OsString> {
        match name {
            URL => Some("https://env".into()),
            CA_FILE => Some("/env/ca".into()),
            TOKEN_FILE => Some("/env/token".into()),
            _ => None,
        }
    }

    #[test]
    fn a_state_directory_is_the_default_and_a_named_one_beats_the_environment() {
        let state = |options: &Options, env: fn(&str) -> Option<OsString>| match options.source(env).unwrap()
        {
            Source::StateDir(state) => state.path().to_owned(),
            other => panic!("{other:?}"),
        };
        let named = Options { state_dir: Some("/s".into()), ..Options::default() };
        assert_eq!(state(&named, everything), Path::new("/s"));
        assert!(Options::default().source(nothing).is_ok_and(|s| matches!(s, Source::StateDir(_))));
    }

    #[test]
    fn flags_beat_the_environment_one_by_one() {
        let options = Options {
            url: Some("https://flag/".into()),
            token_file: Some("/t".into()),
            ..Options::default()
        };
        let expected = Source::Named {
            url: "https://flag".into(),
            ca_file: Some("/env/ca".into()),
            token_file: "/t".into(),
        };
        assert_eq!(options.source(everything).unwrap(), expected);
    }

    #[test]
    fn a_token_of_a_state_directory_never_goes_to_a_url_that_was_named() {
        let url_alone = Options { url: Some("https://elsewhere".into()), ..Options::default() };
        let both = Options { state_dir: Some("/s".into()), ..url_alone.clone() };
        let token_alone = Options { token_file: Some("/t".into()), ..Options::default() };
        for options in [url_alone, both, token_alone] {
            assert_eq!(options.source(nothing).unwrap_err().exit, Exit::Usage, "{options:?}");
        }
    }

    #[test]
    fn a_folder_that_was_never_brought_up_says_what_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let failure = connect_to_state(&StateDir::new(dir.path())).unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.next_step.contains("palisade up --demo"));
    }
}
