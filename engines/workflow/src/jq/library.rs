//! Which functions expressions may call, and the definitions that an expression needs.

use super::natives;
use super::syntax;
use jaq_core::load::parse;
use jaq_core::load::parse::Def;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// jq's functions that reach for a clock, the environment, files, other inputs or a log.
pub(crate) const WITHHELD: &[&str] = &[
    "env",
    "now",
    "input",
    "inputs",
    "input_filename",
    "input_line_number",
    "debug",
    "stderr",
    "halt",
    "halt_error",
    "localtime",
    "gmtime",
    "mktime",
    "strftime",
    "strptime",
    "strflocaltime",
    "get_search_list",
    "modulemeta",
];

type Signature = (&'static str, usize);

struct Library {
    natives: Places,
    definitions: Vec<Definition>,
    places: Places,
}

/// By name, then by number of arguments, where something is.
struct Places(BTreeMap<&'static str, BTreeMap<usize, usize>>);

impl Places {
    fn new(signatures: impl Iterator<Item = Signature>) -> Self {
        let mut places = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (place, (name, arity)) in signatures.enumerate() {
            places.entry(name).or_default().insert(arity, place);
        }
        Self(places)
    }

    fn of(&self, name: &str, arity: usize) -> Option<usize> {
        self.0.get(name)?.get(&arity).copied()
    }
}

struct Definition {
    definition: Def<&'static str>,
    uses: BTreeSet<Signature>,
}

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let parsed = parse(include_str!("prelude.jq"), |p| p.defs()).unwrap_or_default();
    let definitions: Vec<Definition> = parsed
        .into_iter()
        .filter_map(|definition| syntax::check_definition(definition).ok())
        .map(|(definition, uses)| Definition { definition, uses })
        .collect();
    let signature = |d: &Definition| (d.definition.name, d.definition.args.len());
    Library {
        natives: Places::new(natives::all(0).map(|(name, arguments, _)| (name, arguments.len()))),
        places: Places::new(definitions.iter().map(signature)),
        definitions,
    }
});

/// Whether an expression may call `name` with `arity` arguments.
pub(crate) fn offers(name: &str, arity: usize) -> bool {
    natives::is_public(name)
        && (LIBRARY.places.of(name, arity).is_some() || LIBRARY.natives.of(name, arity).is_some())
}

/// The definitions that `uses` needs, with theirs, in the library's order.
pub(crate) fn needed<'s>(uses: impl IntoIterator<Item = (&'s str, usize)>) -> Vec<Def<&'static str>> {
    let mut open: Vec<usize> =
        uses.into_iter().filter_map(|(name, arity)| LIBRARY.places.of(name, arity)).collect();
    let mut places = BTreeSet::new();
    while let Some(place) = open.pop() {
        if places.insert(place)
            && let Some(definition) = LIBRARY.definitions.get(place)
        {
            open.extend(definition.uses.iter().filter_map(|(name, arity)| LIBRARY.places.of(name, *arity)));
        }
    }
    places
        .into_iter()
        .filter_map(|place| LIBRARY.definitions.get(place))
        .map(|d| d.definition.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_of_the_prelude_reads_and_finds_what_it_uses() {
        let parsed = parse(include_str!("prelude.jq"), |p| p.defs()).expect("the prelude is jq");
        assert_eq!(parsed.len(), LIBRARY.definitions.len());
        for (place, definition) in LIBRARY.definitions.iter().enumerate() {
            for (name, arity) in &definition.uses {
                let native = LIBRARY.natives.of(name, *arity).is_some();
                let before = LIBRARY.places.of(name, *arity).is_some_and(|at| at < place);
                assert!(native || before, "`{}` uses `{name}`/{arity}", definition.definition.name);
            }
        }
    }

    #[test]
    fn nothing_withheld_is_offered() {
        for name in WITHHELD {
            assert!((0..4).all(|arity| !offers(name, arity)), "{name}");
        }
        for inner in ["_sum", "_collect", "!tick", "path_value"] {
            assert!((0..4).all(|arity| !offers(inner, arity)), "{inner}");
        }
    }
}
