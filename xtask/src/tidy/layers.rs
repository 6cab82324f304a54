//! Arrows point only up the list of layers, and siblings do not know each other.

use cargo_metadata::{DependencyKind, Metadata};
use std::collections::BTreeMap;

/// The layers, from the one that knows nobody.
const LAYERS: [&str; 6] = ["ground", "engines", "edges", "planes", "bin", "around"];

/// Layers whose rooms do not know each other.
const NO_SIBLINGS: [&str; 3] = ["engines", "planes", "bin"];

/// Rooms that speak `api` only, and what else of ours they may know.
const NARROW: [(&str, &[&str]); 1] =
    [("console", &["api", "host", "ledger", "network", "notary", "serve", "terms", "wire"])];

/// A crate and the layer its folder puts it in.
type Rooms = BTreeMap<String, String>;

/// Checks every edge between our own crates. Tests may look anywhere.
pub(crate) fn check(metadata: &Metadata) -> Vec<String> {
    let rooms = rooms(metadata);
    let mut broken = Vec::new();
    for package in metadata.workspace_packages() {
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            if rooms.contains_key(&dependency.name) {
                broken.extend(edge(&rooms, package.name.as_str(), &dependency.name));
            }
        }
    }
    broken
}

fn edge(rooms: &Rooms, from: &str, to: &str) -> Option<String> {
    let rank = |room: &str| LAYERS.iter().position(|layer| rooms.get(room).is_some_and(|own| own == layer));
    let layer = |room: &str| rooms.get(room).map_or("?", String::as_str);
    let said = |why: &str| Some(format!("{}/{from} -> {}/{to}: {why}", layer(from), layer(to)));
    if rank(to) > rank(from) {
        return said("an arrow down the list of layers");
    }
    if layer(from) == layer(to) && NO_SIBLINGS.contains(&layer(from)) {
        return said("siblings of this layer do not know each other");
    }
    match NARROW.iter().find(|(room, _)| *room == from) {
        Some((_, allowed)) if !allowed.contains(&to) => said("this room speaks `api` only"),
        Some(_) | None => None,
    }
}

fn rooms(metadata: &Metadata) -> Rooms {
    let layer = |path: &str| {
        let folder = path.strip_prefix(metadata.workspace_root.as_str()).unwrap_or(path);
        let first = folder.trim_start_matches('/').split('/').next().unwrap_or_default();
        if LAYERS.contains(&first) { first.to_owned() } else { "around".to_owned() }
    };
    let packages = metadata.workspace_packages();
    packages.iter().map(|p| (p.name.to_string(), layer(p.manifest_path.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Rooms {
        [
            ("terms", "ground"),
            ("plan", "engines"),
            ("notary", "engines"),
            ("store", "edges"),
            ("console", "planes"),
            ("control", "planes"),
        ]
        .map(|(room, layer)| (room.to_owned(), layer.to_owned()))
        .into()
    }

    #[test]
    fn an_arrow_down_the_list_is_seen() {
        assert!(edge(&sample(), "plan", "store").is_some());
        assert!(edge(&sample(), "terms", "plan").is_some());
        assert!(edge(&sample(), "store", "plan").is_none());
    }

    #[test]
    fn an_edge_between_engines_or_planes_is_seen() {
        assert!(edge(&sample(), "plan", "notary").is_some());
        assert!(edge(&sample(), "console", "control").is_some());
    }

    #[test]
    fn the_console_knows_the_api_but_not_the_store() {
        assert!(edge(&sample(), "console", "store").is_some());
        assert!(edge(&sample(), "console", "notary").is_none());
    }
}
