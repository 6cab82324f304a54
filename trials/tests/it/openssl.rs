//! OpenSSL's own client, which shares no TLS code with ours.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// How long one conversation may take, in seconds: far longer than any listener keeps a peer that is done.
const PATIENCE_S: &str = "60";

/// Shakes hands with `url` and says all that OpenSSL saw.
pub(crate) fn handshake(url: &str, arguments: &[&str]) -> String {
    s_client(url, arguments, b"")
}

/// Shakes hands, sends `request`, and says all that OpenSSL saw until the other side closed.
pub(crate) fn conversation(url: &str, arguments: &[&str], request: &[u8]) -> String {
    s_client(url, &[arguments, &["-ign_eof"]].concat(), request)
}

/// Sends `request` with the certificate and key of `identity`, and gives the answer alone.
pub(crate) fn answer(url: &str, identity: &Path, request: &[u8]) -> String {
    let identity = identity.display().to_string();
    let text = s_client(url, &["-cert", &identity, "-key", &identity, "-quiet"], request);
    text[text.find("HTTP/1.1").unwrap_or(text.len())..].to_owned()
}

/// Runs `openssl`, which has to succeed.
pub(crate) fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn s_client(url: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut client = Command::new("timeout")
        .args([PATIENCE_S, "openssl", "s_client", "-connect", &address(url)])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    let input = input.to_vec();
    // Refused input is not taken to its end.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = client.wait_with_output().unwrap();
    writer.join().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// `host:port` of a URL; a name of this machine becomes the address that everything listens on.
fn address(url: &str) -> String {
    let rest = url.trim_start_matches("https://").replace("localhost", "127.0.0.1");
    rest.split('/').next().unwrap_or_default().to_owned()
}
