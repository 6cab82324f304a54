//! Runtime expressions: jq, read and run by jaq on values of our own, within a budget of steps, size and depth.
//!
//! What ends an endless expression: the reader puts a step before every function body, filter argument, further
//! alternative and iteration (`syntax`), and every operator pays for the bytes it touches (`value`, `access`,
//! `arithmetic`, `order`, the natives). What ends a deep one: each step looks at the native stack, values know
//! their depth, and the text of an expression is bounded in every direction in which its tree could grow.

mod access;
mod arithmetic;
mod library;
mod math;
mod meter;
mod natives;
mod order;
mod pattern;
mod program;
mod syntax;
mod text;
mod value;

pub use meter::Budget;
pub use syntax::{EXPRESSION_BYTES_MAX, ExpressionError};

pub(crate) use meter::VALUE_DEPTH_MAX;
pub(crate) use program::{Draft, ExpressionId, Failure, Program};
pub(crate) use syntax::literal_beginning;
pub(crate) use text::percent_encode;
pub(crate) use value::{List, Map, Value, write_json};

use std::sync::Arc;

/// One jq expression, without the variables of a workflow.
#[derive(Debug, Clone)]
pub struct Expression(Arc<Program>, ExpressionId);

/// Says why an evaluation has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The budget of steps is spent.
    #[error("the expression takes too many steps")]
    Steps,
    /// A value would be too large, or nest too deeply.
    #[error("the expression makes a value that is too large or nests too deeply")]
    Memory,
    /// The expression failed on this input. The text may repeat parts of it.
    #[error("{0}")]
    Failed(String),
}

impl Expression {
    /// Reads and compiles `code`, without `${` and `}`.
    ///
    /// # Errors
    /// When the code is not jq, or uses what is not there.
    pub fn compile(code: &str) -> Result<Self, ExpressionError> {
        let mut draft = Draft::default();
        let id = draft.add(code, &[])?;
        let program = draft.compile(&[]).ok_or(ExpressionError::Deep)?;
        Ok(Self(Arc::new(program), id))
    }

    /// Evaluates the expression on `input` within `budget`. No output is null; more than one is an error.
    ///
    /// # Errors
    /// When the budget is spent, or the expression fails on this input.
    pub fn evaluate(
        &self,
        input: &serde_json::Value,
        budget: Budget,
    ) -> Result<serde_json::Value, EvaluationError> {
        let (outcome, _) = self.0.evaluate(self.1, Value::from(input), [], budget);
        match outcome {
            Ok(value) => Ok((&value).into()),
            Err(Failure::Steps) => Err(EvaluationError::Steps),
            Err(Failure::Memory) => Err(EvaluationError::Memory),
            Err(Failure::Failed(message)) => Err(EvaluationError::Failed(message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BUDGET: Budget = Budget { ticks: 1_000_000, memory_bytes: 64 << 20 };

    fn run(code: &str, input: serde_json::Value) -> Result<serde_json::Value, EvaluationError> {
        Expression::compile(code).unwrap_or_else(|e| panic!("{code}: {e}")).evaluate(&input, BUDGET)
    }

    #[test]
    fn expressions_give_what_jq_gives() {
        let cases = [
            (".a.b", json!({"a": {"b": 1}}), json!(1)),
            (".missing", json!({}), json!(null)),
            ("[.[] | select(. > 2)]", json!([1, 2, 3, 4]), json!([3, 4])),
            ("map(.x) | add", json!([{"x": 1}, {"x": 2.5}]), json!(3.5)),
            ("10 / 4, 10 / 5 | [.]", json!(null), json!(null)),
            ("[10 / 4, 10 / 5]", json!(null), json!([2.5, 2])),
            ("\"a\\(1 + 1)b\"", json!(null), json!("a2b")),
            ("[limit(3; repeat(. * 2))]", json!(1), json!([1, 2, 4])),
            ("[range(5)] | .[1:3]", json!(null), json!([1, 2])),
            ("reduce .[] as $x (0; . + $x)", json!([1, 2, 3]), json!(6)),
            ("[foreach .[] as $x (0; . + $x)]", json!([1, 2, 3]), json!([1, 3, 6])),
            (
                "to_entries",
                json!({"b": 1, "a": 2}),
                json!([{"key": "b", "value": 1}, {"key": "a", "value": 2}]),
            ),
            ("with_entries(.value += 1)", json!({"a": 1}), json!({"a": 2})),
            (
                "group_by(.k) | map({k: .[0].k, n: length})",
                json!([{"k": 2}, {"k": 1}, {"k": 2}]),
                json!([{"k": 1, "n": 1}, {"k": 2, "n": 2}]),
            ),
            ("sort_by(-.n)", json!([{"n": 1}, {"n": 3}]), json!([{"n": 3}, {"n": 1}])),
            ("unique", json!([3, 1, 3]), json!([1, 3])),
            ("[min, max]", json!([3, 1, 2]), json!([1, 3])),
            ("del(.a, .b[0])", json!({"a": 1, "b": [1, 2]}), json!({"b": [2]})),
            ("del(.[0, 2])", json!([1, 2, 3]), json!([2])),
            (".a.b.c = 1", json!(null), json!({"a": {"b": {"c": 1}}})),
            (".[2] = 1", json!(null), json!([null, null, 1])),
            (
                ".items[].n |= . * 2",
                json!({"items": [{"n": 1}, {"n": 2}]}),
                json!({"items": [{"n": 2}, {"n": 4}]}),
            ),
            ("try error(\"x\") catch .", json!(null), json!("x")),
            ("try (1, error(\"x\")) catch . | [.]", json!(null), json!(null)),
            (".a // \"none\"", json!({}), json!("none")),
            ("if . then 1 elif false then 2 else 3 end", json!(false), json!(3)),
            ("[paths]", json!({"a": [1]}), json!([["a"], ["a", 0]])),
            ("[.. | numbers]", json!([1, [2]]), json!([1, 2])),
            ("walk(if type == \"number\" then . + 1 else . end)", json!([1, [2]]), json!([2, [3]])),
            ("ascii_downcase | split(\"-\") | join(\"+\")", json!("A-B"), json!("a+b")),
            ("test(\"^a.c$\")", json!("abc"), json!(true)),
            ("[match(\"(?<n>[0-9]+)\"; \"g\") | .captures[0].string]", json!("a1b22"), json!(["1", "22"])),
            ("gsub(\"[0-9]\"; \"#\")", json!("a1b2"), json!("a#b#")),
            ("sub(\"(?<x>b)\"; \"<\\(.x)>\")", json!("abb"), json!("a<b>b")),
            ("split(\", *\"; null)", json!("a, b,c"), json!(["a", "b", "c"])),
            ("capture(\"(?<y>\\\\d{4})\")", json!("in 2026"), json!({"y": "2026"})),
            ("[scan(\"[a-z]\")]", json!("a1b"), json!(["a", "b"])),
            ("@base64, @uri, @json | [.]", json!("a b"), json!(null)),
            ("[@base64, @uri, @csv]", json!("a b"), json!(["YSBi", "a%20b", "\"a b\""])),
            ("@base64d", json!("YSBi"), json!("a b")),
            ("fromjson | .a", json!("{\"a\": 1}"), json!(1)),
            ("[.[] as [$a, {b: $c}] | $a + $c]", json!([[1, {"b": 2}]]), json!([3])),
            ("def f($n): if $n < 2 then 1 else $n * f($n - 1) end; f(10)", json!(null), json!(3628800)),
            ("[label $out | 1, break $out, 2]", json!(null), json!([1])),
            ("[.[] | tostring]", json!([1, "1", [1], 1.5]), json!(["1", "1", "[1]", "1.5"])),
            ("flatten", json!([1, [2, [3]]]), json!([1, 2, 3])),
            ("[1, 2] - [2]", json!(null), json!([1])),
            ("{a: 1} * {a: {b: 2}}", json!(null), json!({"a": {"b": 2}})),
            ("\"ab\" * 2", json!(null), json!("abab")),
            ("index(\"b\")", json!("abc"), json!(1)),
            ("1792368000 | todate", json!(null), json!("2026-10-19T00:00:00Z")),
            (
                "[1, 1.0, 1.5, null, true] | map(type)",
                json!(null),
                json!(["number", "number", "number", "null", "boolean"]),
            ),
            ("@text \"x\\(.)\"", json!(1), json!("x1")),
            ("[.[] | floor, (sqrt | round)]", json!([4.5]), json!([4, 2])),
            ("any(. > 2)", json!([1, 3]), json!(true)),
            ("all", json!([true, false]), json!(false)),
            ("IN(1, 2)", json!(2), json!(true)),
            ("getpath([\"a\", 0])", json!({"a": [7]}), json!(7)),
            ("pick(.a.b)", json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 1}})),
            ("transpose", json!([[1, 2], [3]]), json!([[1, 3], [2, null]])),
            ("[combinations]", json!([[1, 2], [3]]), json!([[1, 3], [2, 3]])),
            ("first(.[] | select(. > 1))", json!([1, 2, 3]), json!(2)),
            ("[until(. > 100; . * 2)]", json!(1), json!([128])),
            ("tojson", json!({"a": [1, "x"]}), json!("{\"a\":[1,\"x\"]}")),
            ("ltrimstr(\"a\")", json!("ab"), json!("b")),
            ("empty", json!(1), json!(null)),
            (
                "from_entries",
                json!([{"key": "a", "value": 1}, {"name": "b", "value": false}]),
                json!({"a": 1, "b": false}),
            ),
            ("length", json!("häß"), json!(3)),
        ];
        for (code, input, expected) in cases {
            let several = expected.is_null() && code.ends_with("[.]");
            match run(code, input) {
                Ok(value) => assert_eq!(value, expected, "{code}"),
                Err(error) => assert!(several, "{code}: {error}"),
            }
        }
    }

    #[test]
    fn endless_huge_and_deep_expressions_end_within_the_budget() {
        use EvaluationError::{Memory, Steps};
        let dag = "def dag: reduce range(60) as $i (0; [., .]); ";
        let cases: [(&str, &[EvaluationError]); 46] = [
            ("[repeat(.)]", &[Steps]),
            ("last(repeat(.))", &[Steps]),
            ("def f: f; f", &[Steps]),
            ("def f: try error(1) catch f; f", &[Steps, Memory]),
            ("def f: try f catch 1; f", &[Steps, Memory]),
            ("def f: 1 + f; f", &[Steps, Memory]),
            ("def f: f | f; f", &[Steps, Memory]),
            ("def f: f, f; f", &[Steps, Memory]),
            ("def f: (., .) | f; f", &[Steps, Memory]),
            ("def f: [f]; f", &[Steps, Memory]),
            ("def f: {a: f}; f", &[Steps, Memory]),
            ("def f: . as $x | f | $x; f", &[Steps, Memory]),
            ("def f: def g: f; g; f", &[Steps]),
            ("def f: def g: f | 1; g; f", &[Steps, Memory]),
            ("def f: reduce f as $x (0; 1); f", &[Steps, Memory]),
            ("def f: first(f); f", &[Steps, Memory]),
            ("def f: (path(.a) | empty), f; f", &[Steps]),
            ("def f: .a | f; path(f)", &[Steps, Memory]),
            ("[path(repeat(.a))]", &[Steps, Memory]),
            ("def f: .a | f; f |= 1", &[Steps, Memory]),
            ("def f: (., .) | f; f |= 1", &[Steps, Memory]),
            ("[range(100000) | \"a\"] as $p | path(getpath($p))", &[Steps, Memory]),
            ("[range(100000) | \"a\"] as $p | setpath($p; 1)", &[Steps, Memory]),
            ("[range(1e12)]", &[Steps]),
            ("reduce range(1e12) as $i (0; . + $i)", &[Steps]),
            ("last(range(1e12))", &[Steps]),
            ("[limit(1e12; repeat(1))] | length", &[Steps]),
            ("isempty(repeat(.) | empty)", &[Steps]),
            ("until(false; . )", &[Steps]),
            ("last(while(true; .))", &[Steps]),
            ("[recurse(.; true)]", &[Steps]),
            ("\"x\" * 1e9", &[Memory]),
            ("\"x\" * 1e300", &[Memory]),
            ("reduce range(100) as $i (\"x\"; . + .)", &[Steps, Memory]),
            ("reduce range(100) as $i ([1]; . + .)", &[Steps, Memory]),
            ("reduce range(100) as $i (0; [., .])", &[Memory]),
            ("reduce range(100) as $i ({}; {a: ., b: .})", &[Memory]),
            ("reduce range(100000) as $i (0; [.])", &[Memory]),
            ("reduce range(100000) as $i (0; {a: .})", &[Memory]),
            ("def f: (1,2)|(1,2)|(1,2)|(1,2)|(1,2)|(1,2)|(1,2)|(1,2); isempty(f|f|f|f|f|f|empty)", &[Steps]),
            ("last([1,2] | .[] as $a | [1,2] | .[] | [1,2][] | range(1e6))", &[Steps]),
            (".[1e9] = 1", &[Steps, Memory]),
            ("[range(300)] as $a | [$a[] | $a[] | $a[]] | length", &[Steps]),
            ("[range(2000) | tostring] | [.[] as $x | select(. - [$x] == [])]", &[Steps]),
            ("(\"A\" * 60000) | [match(\".*[^A-Z]|[A-Z]\"; \"g\")] | length", &[Steps]),
            ("[range(1e5) | [1, 2]] | combinations", &[Steps, Memory]),
        ];
        for (code, allowed) in cases {
            let error = run(code, serde_json::Value::Null).expect_err(code);
            assert!(allowed.contains(&error), "{code}: {error:?}");
        }
        for end in [
            "[..] | length",
            "dag == dag",
            "tojson",
            "[.[][][][][][]?] | sort",
            "[leaf_paths]",
            ".. |= 1",
            "flatten",
        ] {
            let code = format!("{dag} dag | {end}");
            assert_eq!(run(&code, serde_json::Value::Null), Err(Memory), "{code}");
        }
    }
}
