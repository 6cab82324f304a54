//! The `palisade` command: brings everything up, and speaks the API.

use anyhow::Context as _;
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().context("the asynchronous runtime cannot start")?;
    Ok(runtime.block_on(console::invoke(std::env::args_os())))
}
