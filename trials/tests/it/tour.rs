//! The README's tour: every `palisade` command in it, in its order, does what it says.

use std::path::Path;
use std::process::{Command, Output};
use trials::{Options, Site, program};

#[tokio::test]
async fn every_command_of_the_readme_works_in_its_order() {
    let site = Site::up(Options::default()).await.unwrap();
    let blocks = blocks(&std::fs::read_to_string(root().join("README.md")).unwrap());
    prepare(&site, &blocks);
    let execution = first_execution(&site);

    let mut commands = 0;
    for line in blocks.iter().filter(|block| block.language.is_empty()).flat_map(|block| block.text.lines()) {
        let (command, comment) = line.split_once(" # ").unwrap_or((line, ""));
        // What builds and starts the site is what this trial stands on.
        if ["cargo build", "./check"].iter().any(|start| command.starts_with(start)) {
            continue;
        }
        let output = shell(&site, &command.replace(" ID", &format!(" {execution}")));
        let expected = if comment.contains("exit code 6") { 6 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{command}: {output:?}");
        commands += usize::from(command.starts_with("palisade "));
    }

    assert!(commands >= 10, "only {commands} commands were found in the README");
}

/// A code block.
struct Block {
    language: String,
    text: String,
}

fn blocks(readme: &str) -> Vec<Block> {
    // Before and after each fence in turn: every second part is code.
    let parts = readme.split("```").skip(1).step_by(2);
    parts
        .map(|part| {
            let (language, text) = part.split_once('\n').unwrap();
            Block { language: language.to_owned(), text: text.to_owned() }
        })
        .collect()
}

/// Puts what the commands name where they look for it: the state directory, the samples, and the workflow that the
/// README shows.
fn prepare(site: &Site, blocks: &[Block]) {
    let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, site.folder().join(name)).unwrap();
    link(&site.state(), "palisade-state");
    link(&root().join("engines"), "engines");
    let workflow = blocks.iter().find(|block| block.language == "yaml").unwrap();
    std::fs::write(site.folder().join("total.yaml"), &workflow.text).unwrap();
}

fn first_execution(site: &Site) -> String {
    let listed = site.run(&["execution", "list", "-o", "json"]).unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    listed[0]["id"].as_str().unwrap().to_owned()
}

/// Runs a line as a newcomer's shell does.
fn shell(site: &Site, line: &str) -> Output {
    let programs = program("palisade").parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    Command::new("sh").args(["-c", line]).current_dir(site.folder()).env("PATH", path).output().unwrap()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
