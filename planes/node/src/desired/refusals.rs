//! Refused documents: each is told once for as long as it comes again, and counted.

use super::Refusal;

/// The refusal that lasts, if one does.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    last: Option<Refusal>,
    /// How often it came again, since it was told.
    again: u64,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// The refusal's code.
    pub(crate) code: &'static str,
    /// How often it came.
    pub(crate) count: u64,
}

impl Refusals {
    /// A document was refused.
    pub(crate) fn came(&mut self, refusal: Refusal) -> Vec<Told> {
        if self.last.as_ref() == Some(&refusal) {
            self.again = self.again.saturating_add(1);
            return Vec::new();
        }
        let mut told: Vec<Told> = self.ended().into_iter().collect();
        told.push(Told { code: refusal.code(), count: 1 });
        self.last = Some(refusal);
        told
    }

    /// A document was not refused, or none will come any more: what is still to be told of the last refusal.
    pub(crate) fn ended(&mut self) -> Option<Told> {
        let count = core::mem::take(&mut self.again);
        let last = self.last.take().filter(|_| count > 0)?;
        Some(Told { code: last.code(), count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use terms::NodeId;

    #[test]
    fn a_refusal_is_told_when_it_begins_and_how_often_it_came_again_when_it_ends() {
        let mut refusals = Refusals::default();
        let back = |held| Refusal::WentBack { offered: 1, held };
        assert_eq!(refusals.came(back(2)), [told("networks.version_back", 1)]);
        assert_eq!(refusals.came(back(2)), []);
        assert_eq!(refusals.came(back(2)), []);
        assert_eq!(
            refusals.came(back(3)),
            [told("networks.version_back", 2), told("networks.version_back", 1)],
            "the same for another reason is another"
        );
        let stranger = Refusal::OtherNode(NodeId::from_bytes([1; 16]));
        assert_eq!(refusals.came(stranger.clone()), [told("networks.other_node", 1)]);
        assert_eq!(refusals.came(stranger.clone()), []);
        assert_eq!(refusals.ended(), Some(told("networks.other_node", 1)));
        assert_eq!(refusals.ended(), None);
        assert_eq!(refusals.came(stranger), [told("networks.other_node", 1)]);
    }

    const fn told(code: &'static str, count: u64) -> Told {
        Told { code, count }
    }
}
