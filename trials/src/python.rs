//! Verifiers that others wrote, in Python: PyJWT, PyNaCl, cryptography.

use anyhow::{Context as _, Result, bail};
use std::process::Command;

/// The environment variable that names a Python with the verifiers installed; `./check` sets it.
const VARIABLE: &str = "PALISADE_TEST_PYTHON";

/// A Python with the verifiers.
pub struct Python(String);

impl Python {
    /// Finds it.
    ///
    /// # Errors
    /// When the variable is not set: a proof that did not run is no proof.
    pub fn find() -> Result<Self> {
        std::env::var(VARIABLE)
            .map(Self)
            .with_context(|| format!("{VARIABLE} is not set: run the trials by ./check"))
    }

    /// Runs a script of `trials/verifiers/`, which has to succeed.
    ///
    /// # Errors
    /// When it fails; the error holds what it said.
    pub fn run(&self, script: &str, arguments: &[&str]) -> Result<String> {
        let path = format!("{}/verifiers/{script}", env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(&self.0).arg(path).args(arguments).output()?;
        if !output.status.success() {
            bail!("{script}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}
