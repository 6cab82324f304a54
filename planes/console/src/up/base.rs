//! The base of a host's networks: what the node builds before anything else runs, and says in a file when it stands.

use crate::failure::{Exit, Failure, Outcome};
use crate::state_dir::{FILE_MAX, StateDir};
use host::files;
use host::network::{Namespace, NamespaceName};
use serde::Deserialize;

/// What to do about networks that cannot be used.
const LOOK: &str = "look at node/log in the state directory; `palisade node reset --yes` removes what is left of \
                    the networks, and the next `palisade up` builds them anew";

/// What the node says of the base. What else it says is for people.
#[derive(Debug, Deserialize)]
struct Base {
    control_plane_namespace: String,
}

/// The namespace that the node keeps for the control plane.
///
/// # Errors
/// When the node does not say that its networks stand, or the namespace is not there.
pub(crate) fn control_plane_namespace(state: &StateDir) -> Outcome<Namespace> {
    let path = state.networks();
    let bytes = files::read_bounded(&path, FILE_MAX).map_err(|error| Failure::of_file(&error, LOOK))?;
    let base: Base = serde_json::from_slice(&bytes).map_err(|error| Failure::bad_file(&path, error, LOOK))?;
    let name: NamespaceName =
        base.control_plane_namespace.parse().map_err(|error| Failure::bad_file(&path, error, LOOK))?;
    Namespace::open(&name)
        .map_err(|error| Failure::new(Exit::Failure, "network_missing", error.to_string(), LOOK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_that_does_not_stand_is_an_error_with_a_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let code = |state: &StateDir| control_plane_namespace(state).unwrap_err().code;
        assert_eq!(code(&state), "file");
        std::fs::create_dir(state.node()).unwrap();
        let say = |text: &str| std::fs::write(state.networks(), text).unwrap();
        for malformed in ["", "{}", r#"{"control_plane_namespace":"../etc/passwd"}"#] {
            say(malformed);
            assert_eq!(code(&state), "file_invalid", "{malformed}");
        }
        let absent = format!("palisade-absent-{}", std::process::id());
        say(&format!(r#"{{"driver":"linux","control_plane_namespace":"{absent}"}}"#));
        let failure = control_plane_namespace(&state).unwrap_err();
        assert_eq!(failure.code, "network_missing");
        assert!(failure.next_step.contains("palisade node reset --yes"), "{failure:?}");
    }
}
