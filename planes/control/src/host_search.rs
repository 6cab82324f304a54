//! Searches of hosts: the logs of other zones are out of the control plane's reach, so nodes are asked (OPS-2).

use api::placement::HostSearch;
use std::collections::BTreeMap;
use std::time::Duration;
use terms::{NodeId, Timestamp};
use tokio::sync::watch;

/// How long nodes may take to be asked, to search and to answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// The question that is open, if one is, and the answers to it.
pub(crate) struct HostSearches(watch::Sender<Open>);

#[derive(Default)]
struct Open {
    asked_at: Option<Timestamp>,
    answers: BTreeMap<NodeId, HostSearch>,
}

impl HostSearches {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Open::default()))
    }

    /// When nodes were asked, as long as the question is open.
    pub(crate) fn asked_at(&self) -> Option<Timestamp> {
        self.0.borrow().asked_at
    }

    /// Takes a node's answer, unless it is to an earlier question.
    pub(crate) fn answer(&self, node: NodeId, search: HostSearch) {
        self.0.send_if_modified(|open| {
            let fits = open.asked_at == Some(search.asked_at);
            fits.then(|| open.answers.insert(node, search));
            fits
        });
    }

    /// Asks all nodes, and gives their answers once they are `enough`, or those that came in time.
    pub(crate) async fn ask(
        &self,
        now: Timestamp,
        enough: impl Fn(&BTreeMap<NodeId, HostSearch>) -> bool,
    ) -> Vec<HostSearch> {
        self.0.send_replace(Open { asked_at: Some(now), answers: BTreeMap::new() });
        let _closed_at_the_end = Closing(self);
        let mut answers = self.0.subscribe();
        // In time or not, what came is what there is.
        let _ = tokio::time::timeout(ANSWERED_WITHIN, answers.wait_for(|open| enough(&open.answers))).await;
        self.0.borrow().answers.values().cloned().collect()
    }
}

/// Closes the question however its asker ends.
struct Closing<'a>(&'a HostSearches);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.0.send_replace(Open::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_795_507_200_000);

    #[tokio::test(start_paused = true)]
    async fn only_answers_to_the_open_question_count_and_it_closes_with_its_asker() {
        let searches = HostSearches::new();
        let (node, other) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
        searches.answer(node, search(NOW));
        let answering = async {
            assert_eq!(searches.asked_at(), Some(NOW));
            searches.answer(other, search(NOW.plus_ms(-1)));
            searches.answer(node, search(NOW));
        };
        let (answers, ()) = tokio::join!(searches.ask(NOW, |answers| answers.len() == 1), answering);
        assert_eq!(answers, [search(NOW)]);
        assert_eq!(searches.asked_at(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_answer_is_not_waited_for_for_ever() {
        assert_eq!(HostSearches::new().ask(NOW, |answers| !answers.is_empty()).await, []);
    }

    fn search(asked_at: Timestamp) -> HostSearch {
        let (tenants, unread, found_in) = (Vec::new(), Vec::new(), Vec::new());
        HostSearch { asked_at, tenants, secrets_sought: 7, bytes_searched: 1, unread, found_in }
    }
}
