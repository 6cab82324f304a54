//! Calls that only one room may make.

use super::files::SourceFile;

/// A text that may stand only below these folders.
struct Rule {
    text: &'static str,
    rooms: &'static [&'static str],
    why: &'static str,
}

const RULES: [Rule; 8] = [
    Rule { text: "Verified::attest(", rooms: &["engines/notary/"], why: "only the notary attests" },
    Rule { text: "Permit::grant(", rooms: &["engines/guard/"], why: "only the guard grants permits" },
    Rule { text: "ServerConfig::builder", rooms: &["edges/serve/src/tls"], why: "TLS is made in one place" },
    Rule { text: "ClientConfig::builder", rooms: &["edges/serve/src/tls"], why: "TLS is made in one place" },
    Rule { text: "axum::serve(", rooms: &[], why: "it never closes an idle connection; use serve::Listener" },
    Rule {
        text: "unsafe ",
        rooms: &["edges/host/", "planes/sidecar/"],
        why: "unsafe code lives in `host` and the sidecar",
    },
    Rule { text: "getrandom::", rooms: &["edges/host/"], why: "entropy comes through `host`" },
    Rule { text: "SystemTime::now", rooms: &["edges/host/"], why: "time comes through `host`" },
];

/// Checks one file. Tests may make what they need; they prove nothing to anybody but themselves.
pub(crate) fn check(file: &SourceFile) -> Vec<String> {
    if file.path.starts_with("xtask/") || file.is_test() {
        return Vec::new();
    }
    let applies = |rule: &&Rule| !rule.rooms.iter().any(|room| file.path.starts_with(room));
    let stands = |rule: &&Rule| code_lines(file.code()).any(|line| line.contains(rule.text));
    let broken = RULES.iter().filter(applies).filter(stands);
    broken.map(|rule| format!("{}: `{}`: {}", file.path, rule.text.trim(), rule.why)).collect()
}

/// Lines that are not comments.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> usize {
        check(&SourceFile { path: path.to_owned(), text: text.to_owned() }).len()
    }

    #[test]
    fn each_call_outside_its_room_is_seen() {
        for rule in RULES {
            assert_eq!(
                broken("planes/data/src/gate.rs", &format!("let x = {}x);", rule.text)),
                1,
                "{}",
                rule.text
            );
        }
    }

    #[test]
    fn the_same_call_in_its_room_is_fine() {
        assert_eq!(broken("engines/notary/src/plan_token.rs", "Verified::attest(x)"), 0);
        assert_eq!(broken("engines/guard/src/lib.rs", "Permit::grant(x)"), 0);
    }

    #[test]
    fn a_comment_is_not_a_call() {
        assert_eq!(broken("planes/data/src/gate.rs", "/// [`Permit::grant(`] is called elsewhere"), 0);
    }
}
