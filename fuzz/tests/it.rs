//! Replays every corpus: what a fuzzer once found interesting stays harmless.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

use std::path::Path;

#[test]
fn every_corpus_replays_without_harm() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in fuzz::TARGETS {
        let entries: Vec<_> = std::fs::read_dir(corpora.join(name)).unwrap().collect();
        assert!(!entries.is_empty(), "the corpus of {name} is empty");
        for entry in entries {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
}

#[test]
fn mutations_of_every_corpus_are_harmless() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut random = Lcg(7);
    for (name, target) in fuzz::TARGETS {
        for entry in std::fs::read_dir(corpora.join(name)).unwrap() {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            for _ in 0..ROUNDS {
                target(&mutated(&seed, &mut random));
            }
        }
    }
}

/// Enough to shake each seed within a second or two; the fuzzer does the rest.
const ROUNDS: usize = 60;

/// A linear congruential generator (Knuth's constants): the same mutations at every run.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end.max(1)
    }
}

fn mutated(seed: &[u8], random: &mut Lcg) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            bytes.push(b'{');
        }
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, b"{}[]\",:.0\\\n -"[random.below(13)]),
            3 => bytes.truncate(at),
            _ => {
                let piece: Vec<u8> = bytes[at..].iter().take(16).copied().collect();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}
