//! Pages of lists, by cursor.

use crate::error::StoreError;

/// Most rows of one page: a screenful, and a bound on what one request may hold in memory.
pub const LIMIT_MAX: u32 = 200;

/// The longest cursor: two ids and a counter.
const CURSOR_MAX: usize = 256;

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The cursor that the page before gave; the beginning if absent.
    pub after: Option<String>,
    /// Most rows; held between 1 and [`LIMIT_MAX`].
    pub limit: u32,
}

impl Page {
    /// The first page.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }

    /// How many rows to ask for: one more than the page holds, which tells whether there is another page.
    pub(crate) fn fetch(&self) -> u32 {
        self.rows() + 1
    }

    /// The cursor read as `T`, or `start`.
    pub(crate) fn start<T: core::str::FromStr>(&self, start: T) -> Result<T, StoreError> {
        let Some(text) = &self.after else { return Ok(start) };
        let refused = || StoreError::Cursor(text.chars().take(CURSOR_MAX).collect());
        text.parse().map_err(|_| refused())
    }

    /// Cuts fetched rows down to the page and makes the cursor of the next.
    pub(crate) fn cut<T>(&self, mut rows: Vec<T>, cursor: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let limit = self.rows() as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(cursor) } else { None };
        (rows, next)
    }

    fn rows(&self) -> u32 {
        self.limit.clamp(1, LIMIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_with_more_behind_it_has_a_cursor() {
        let page = Page::first(2);
        assert_eq!(page.cut(vec![1, 2], i32::to_string), (vec![1, 2], None));
        assert_eq!(page.cut(vec![1, 2, 3], i32::to_string), (vec![1, 2], Some("2".into())));
    }

    #[test]
    fn limits_are_held_within_bounds() {
        assert_eq!(Page::first(0).fetch(), 2);
        assert_eq!(Page::first(u32::MAX).fetch(), LIMIT_MAX + 1);
    }

    #[test]
    fn a_foreign_cursor_is_refused() {
        let page = Page { after: Some("x".into()), limit: 1 };
        assert_eq!(page.start(0_u64), Err(StoreError::Cursor("x".into())));
    }
}
