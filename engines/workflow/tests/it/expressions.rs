//! Expressions: what they give, what they may not reach, and how every one of them ends.

use proptest::prelude::*;
use serde_json::Value;
use workflow::{Budget, EvaluationError, Expression, ExpressionError};

const BUDGET: Budget = Budget { ticks: 1_000_000, memory_bytes: 16 << 20 };

/// Code, input, output.
const GIVES: &[(&str, &str, &str)] = &[
    (".a.b", r#"{"a": {"b": 1}}"#, "1"),
    (".missing", "{}", "null"),
    ("[.[] | select(. > 2)]", "[1, 2, 3, 4]", "[3, 4]"),
    ("map(.x) | add", r#"[{"x": 1}, {"x": 2.5}]"#, "3.5"),
    ("[10 / 4, 10 / 5, 7 % 3, -7 % 3, 2 - 5]", "null", "[2.5, 2, 1, -1, -3]"),
    ("[0.1 + 0.2, 0.5 + 0.5, 1e3]", "null", "[0.30000000000000004, 1, 1000.0]"),
    ("9007199254740993 + 0", "null", "9007199254740993"),
    (".", "18446744073709551615", "18446744073709551615.0"),
    (r#""a\(1 + 1)b""#, "null", r#""a2b""#),
    ("[limit(3; repeat(. * 2))]", "1", "[1, 2, 4]"),
    ("[range(5)] | .[1:3]", "null", "[1, 2]"),
    ("[range(5; 0; -2)]", "null", "[5, 3, 1]"),
    ("reduce .[] as $x (0; . + $x)", "[1, 2, 3]", "6"),
    ("[foreach .[] as $x (0; . + $x)]", "[1, 2, 3]", "[1, 3, 6]"),
    ("[foreach .[] as $x (0; . + $x; . * 10)]", "[1, 2]", "[10, 30]"),
    ("to_entries", r#"{"b": 1, "a": 2}"#, r#"[{"key": "b", "value": 1}, {"key": "a", "value": 2}]"#),
    ("with_entries(.value += 1)", r#"{"a": 1}"#, r#"{"a": 2}"#),
    (
        "from_entries",
        r#"[{"key": "a", "value": 1}, {"name": "b", "value": false}]"#,
        r#"{"a": 1, "b": false}"#,
    ),
    (
        "group_by(.k) | map({k: .[0].k, n: length})",
        r#"[{"k": 2}, {"k": 1}, {"k": 2}]"#,
        r#"[{"k": 1, "n": 1}, {"k": 2, "n": 2}]"#,
    ),
    ("sort_by(-.n)", r#"[{"n": 1}, {"n": 3}]"#, r#"[{"n": 3}, {"n": 1}]"#),
    (
        "sort",
        r#"[{"a": 1}, [1], "x", 2, true, false, null]"#,
        r#"[null, false, true, 2, "x", [1], {"a": 1}]"#,
    ),
    ("unique", "[3, 1, 3]", "[1, 3]"),
    ("[min, max]", "[3, 1, 2]", "[1, 3]"),
    ("[max_by(.n).n, min_by(.n).n]", r#"[{"n": 1}, {"n": 3}]"#, "[3, 1]"),
    ("del(.a, .b[0])", r#"{"a": 1, "b": [1, 2]}"#, r#"{"b": [2]}"#),
    ("del(.[0, 2])", "[1, 2, 3]", "[2]"),
    ("del(.[] | select(. > 1))", "[1, 2, 3]", "[1]"),
    (".a.b.c = 1", "null", r#"{"a": {"b": {"c": 1}}}"#),
    (".[2] = 1", "null", "[null, null, 1]"),
    (".[-1] = 9", "[1, 2]", "[1, 9]"),
    (".[1:] = [7, 8, 9]", "[1, 2]", "[1, 7, 8, 9]"),
    (".items[].n |= . * 2", r#"{"items": [{"n": 1}, {"n": 2}]}"#, r#"{"items": [{"n": 2}, {"n": 4}]}"#),
    (".a //= 3 | .b += 1", r#"{"b": 1}"#, r#"{"b": 2, "a": 3}"#),
    (r#"try error("x") catch ."#, "null", r#""x""#),
    (r#"[.[] | try (if . > 1 then error("no") else . end) catch "caught"]"#, "[1, 2]", r#"[1, "caught"]"#),
    ("[.[] | .a?]", r#"[1, {"a": 2}]"#, "[2]"),
    (r#".a // "none""#, "{}", r#""none""#),
    ("if . then 1 elif false then 2 else 3 end", "false", "3"),
    ("[paths]", r#"{"a": [1]}"#, r#"[["a"], ["a", 0]]"#),
    ("[leaf_paths]", r#"{"a": [1]}"#, r#"[["a", 0]]"#),
    ("[.. | numbers]", "[1, [2]]", "[1, 2]"),
    (r#"walk(if type == "number" then . + 1 else . end)"#, "[1, [2]]", "[2, [3]]"),
    (r#"ascii_downcase | split("-") | join("+")"#, r#""A-B""#, r#""a+b""#),
    (r#"test("^a.c$")"#, r#""abc""#, "true"),
    (r#"test("A"; "i")"#, r#""xa""#, "true"),
    (r#"[match("(?<n>[0-9]+)"; "g") | .offset, .captures[0].string]"#, r#""ä1b22""#, r#"[1, "1", 3, "22"]"#),
    (r##"gsub("[0-9]"; "#")"##, r#""a1b2""#, r##""a#b#""##),
    (r#"sub("(?<x>b)"; "<\(.x)>")"#, r#""abb""#, r#""a<b>b""#),
    (r#"split(", *"; null)"#, r#""a, b,c""#, r#"["a", "b", "c"]"#),
    (r#"capture("(?<y>\\d{4})")"#, r#""in 2026""#, r#"{"y": "2026"}"#),
    (r#"[scan("[a-z]")]"#, r#""a1b""#, r#"["a", "b"]"#),
    (
        "[@base64, @uri, @csv, @html, @json]",
        r#""a <b""#,
        r#"["YSA8Yg==", "a%20%3Cb", "\"a <b\"", "a &lt;b", "\"a <b\""]"#,
    ),
    ("[(.[0:2] | @tsv), @sh]", r#"[1, "a\tb", "it's"]"#, r#"["1\ta\\tb", "1 'a\tb' 'it'\\''s'"]"#),
    ("@base64d", r#""YSBi""#, r#""a b""#),
    (r#"@uri "https://h/\(.)?x""#, r#""a/b""#, r#""https://h/a%2Fb?x""#),
    ("fromjson | .a", r#""{\"a\": 1}""#, "1"),
    ("tojson", r#"{"a": [1, "x\n"]}"#, r#""{\"a\":[1,\"x\\n\"]}""#),
    ("[.[] as [$a, {b: $c}] | $a + $c]", r#"[[1, {"b": 2}]]"#, "[3]"),
    ("def f($n): if $n < 2 then 1 else $n * f($n - 1) end; f(10)", "null", "3628800"),
    ("def twice(f): f | f; twice(. + 1)", "1", "3"),
    ("[label $out | 1, break $out, 2]", "null", "[1]"),
    ("[.[] | tostring]", r#"[1, "1", [1], 1.5, null]"#, r#"["1", "1", "[1]", "1.5", "null"]"#),
    ("[.[] | tonumber]", r#"["1", "1.5", 2]"#, "[1, 1.5, 2]"),
    (
        r#"[.[] | try tonumber catch "no"]"#,
        r#"["1x", "", " 1", "0x1", "nan", "+1"]"#,
        r#"["no", "no", "no", "no", "no", "no"]"#,
    ),
    ("[flatten, flatten(1)]", "[1, [2, [3]]]", "[[1, 2, 3], [1, 2, [3]]]"),
    ("[1, 2] - [2]", "null", "[1]"),
    ("{a: 1, b: {c: 1}} * {b: {d: 2}}", "null", r#"{"a": 1, "b": {"c": 1, "d": 2}}"#),
    ("{a: (1, 2)}", "null", "!"),
    (".[]", "[1, 2]", "!"),
    ("[{a: (1, 2)}]", "null", r#"[{"a": 1}, {"a": 2}]"#),
    ("[\"ab\" * 2, \"ab\" * 0]", "null", r#"["abab", null]"#),
    (r#"[index("b"), rindex("b"), indices("b")]"#, r#""abcb""#, "[1, 3, [1, 3]]"),
    ("[1792368000 | todate, (todate | fromdate)]", "null", r#"["2026-10-19T00:00:00Z", 1792368000]"#),
    (
        "map(type)",
        r#"[1, 1.5, null, true, "", [], {}]"#,
        r#"["number", "number", "null", "boolean", "string", "array", "object"]"#,
    ),
    ("[.[] | floor, ceil, (sqrt | round)]", "[4.5]", "[4, 5, 2]"),
    ("[pow(2; 10), (8 | log2), (-3 | abs)]", "null", "[1024, 3, 3]"),
    ("[nan, infinite] | map(isnan)", "null", "[true, false]"),
    ("[nan < 1, nan == nan]", "null", "[true, false]"),
    ("[any(. > 2), all(. > 2), isempty(empty)]", "[1, 3]", "[true, false, true]"),
    ("IN(1, 2)", "2", "true"),
    ("INDEX(.id)", r#"[{"id": 7}]"#, r#"{"7": {"id": 7}}"#),
    (r#"getpath(["a", 0])"#, r#"{"a": [7]}"#, "7"),
    (r#"setpath(["a", "b"]; 1)"#, "null", r#"{"a": {"b": 1}}"#),
    ("pick(.a.b)", r#"{"a": {"b": 1, "c": 2}}"#, r#"{"a": {"b": 1}}"#),
    ("transpose", "[[1, 2], [3]]", "[[1, 3], [2, null]]"),
    ("[combinations]", "[[1, 2], [3]]", "[[1, 3], [2, 3]]"),
    ("first(.[] | select(. > 1))", "[1, 2, 3]", "2"),
    ("[nth(1; .[]), last(.[]), first, last]", "[1, 2, 3]", "[2, 3, 1, 3]"),
    ("until(. > 100; . * 2)", "1", "128"),
    ("[while(. < 5; . + 2)]", "1", "[1, 3]"),
    ("[recurse(if . < 3 then . + 1 else empty end)]", "1", "[1, 2, 3]"),
    (r#"[ltrimstr("a"), rtrimstr("b"), ltrimstr(1), trim]"#, r#""ab""#, r#"["b", "a", "ab", "ab"]"#),
    (r#"[startswith("a"), endswith("a"), contains("b"), has(0)?]"#, r#""ab""#, "[true, false, true]"),
    (r#"[has("a"), has("b"), (keys | length)]"#, r#"{"a": null}"#, "[true, false, 1]"),
    ("empty", "1", "null"),
    ("[length, utf8bytelength]", r#""häß""#, "[3, 5]"),
    ("[explode, (explode | implode)]", r#""aß""#, r#"[[97, 223], "aß"]"#),
    ("[reverse, (\"ab\" | reverse)]", "[1, 2]", r#"[[2, 1], "ba"]"#),
    ("[bsearch(2), bsearch(4)]", "[1, 2, 3]", "[1, -4]"),
    ("[.[] | values, (nulls | 0)]", "[null, 1]", "[0, 1]"),
    ("[splits(\", \")]", r#""a, b""#, r#"["a", "b"]"#),
    (".a as $x | [$x, .b] | add", r#"{"a": 1, "b": 2}"#, "3"),
    ("# a note\n. # another", "1", "1"),
];

#[test]
fn expressions_give_what_jq_gives() {
    let mut wrong = Vec::new();
    for (code, input, expected) in GIVES {
        let outcome = evaluate(code, serde_json::from_str(input).unwrap());
        let right = match *expected {
            "!" => matches!(&outcome, Err(EvaluationError::Failed(m)) if m.contains("several")),
            expected => outcome == Ok(serde_json::from_str(expected).unwrap()),
        };
        if !right {
            wrong.push(format!("{code} on {input}: {outcome:?}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What ends an expression.
#[derive(Clone, Copy)]
enum Ends {
    Steps,
    Memory,
    Either,
}

const ENDLESS: &[(&str, Ends)] = &[
    ("[repeat(.)]", Ends::Steps),
    ("last(repeat(.))", Ends::Steps),
    ("def f: f; f", Ends::Steps),
    ("def f: try error(1) catch f; f", Ends::Either),
    ("def f: try f catch 1; f", Ends::Either),
    ("def f: try (1, f) catch f; last(f)", Ends::Either),
    ("def f: f?, f?; f", Ends::Either),
    ("def f: f // f; f", Ends::Either),
    ("def f: (f | empty) // f; f", Ends::Either),
    ("def f: 1 + f; f", Ends::Either),
    ("def f: -f; f", Ends::Either),
    ("def f: f | f; f", Ends::Either),
    ("def f: f, f; f", Ends::Either),
    ("def f: (., .) | f; f", Ends::Either),
    ("def f: [f]; f", Ends::Either),
    ("def f: {a: f}; f", Ends::Either),
    ("def f: {(f): 1}; f", Ends::Either),
    ("def f: \"\\(f)\"; f", Ends::Either),
    ("def f: .[f]; f", Ends::Either),
    ("def f: if f then 1 else 2 end; f", Ends::Either),
    ("def f: f and f; f", Ends::Either),
    ("def f: f == f; f", Ends::Either),
    ("def f: . as $x | f | $x; f", Ends::Either),
    ("def f: f as [$a] | $a; f", Ends::Either),
    ("def f: def g: f; g; f", Ends::Steps),
    ("def f: def g: f | 1; g; f", Ends::Either),
    ("def f: def g: f, g; g; f", Ends::Either),
    ("def f: reduce f as $x (0; 1); f", Ends::Either),
    ("def f: reduce 1 as $x (f; 1); f", Ends::Either),
    ("def f: foreach (1, 2) as $x (0; f; .); f", Ends::Either),
    ("def f: label $a | f; f", Ends::Either),
    ("def f: first(f); f", Ends::Either),
    ("def f: limit(3; f); f", Ends::Either),
    ("def f: [[.]] | map(f); f", Ends::Either),
    ("def f: (path(.a) | empty), f; f", Ends::Steps),
    ("def f: .a | f; path(f)", Ends::Either),
    ("def f($x): f($x + 1); f(0)", Ends::Steps),
    ("def f($x): [f($x)]; f(0)", Ends::Either),
    ("def f($x; $y): f($y; $x) | f($x; $y); f(0; 1)", Ends::Either),
    ("[path(repeat(.a))]", Ends::Either),
    ("def f: .a | f; f |= 1", Ends::Either),
    ("def f: (., .) | f; f |= 1", Ends::Either),
    ("def f: f; f |= 1", Ends::Either),
    ("def f: .a, f; f = 1", Ends::Either),
    ("[range(100000) | \"a\"] as $p | path(getpath($p))", Ends::Either),
    ("[range(100000) | \"a\"] as $p | setpath($p; 1)", Ends::Either),
    ("[range(1e12)]", Ends::Steps),
    ("[range(0; 1; 0)]", Ends::Steps),
    ("reduce range(1e12) as $i (0; . + $i)", Ends::Steps),
    ("last(range(1e12))", Ends::Steps),
    ("[limit(1e12; repeat(1))] | length", Ends::Steps),
    ("skip(1e12; repeat(1))", Ends::Steps),
    ("isempty(repeat(.) | empty)", Ends::Steps),
    ("until(false; . )", Ends::Steps),
    ("last(while(true; .))", Ends::Steps),
    ("[recurse(.; true)]", Ends::Steps),
    ("\"x\" * 1e9", Ends::Memory),
    ("\"x\" * 1e300", Ends::Memory),
    ("reduce range(100) as $i (\"x\"; . + .)", Ends::Either),
    ("reduce range(100) as $i ([1]; . + .)", Ends::Either),
    ("reduce range(100) as $i (0; [., .])", Ends::Memory),
    ("reduce range(100) as $i ({}; {a: ., b: .})", Ends::Memory),
    ("reduce range(100) as $i ({}; .a = . | .b = .)", Ends::Memory),
    ("reduce range(100) as $i (\"x\"; \"\\(.)\\(.)\")", Ends::Either),
    ("reduce range(100) as $i (\"x\"; @json)", Ends::Either),
    ("reduce range(100000) as $i (0; [.])", Ends::Memory),
    ("reduce range(100000) as $i (0; {a: .})", Ends::Memory),
    ("reduce range(1e5) as $i (null; setpath([\"a\", \"b\"]; [.]))", Ends::Memory),
    ("def f: (1,2)|(1,2)|(1,2)|(1,2)|(1,2)|(1,2)|(1,2)|(1,2); isempty(f|f|f|f|f|f|empty)", Ends::Steps),
    ("isempty([range(1000)] | .[] as $a | .[] as $b | .[] as $c | empty)", Ends::Steps),
    ("last([1,2] | .[] as $a | [1,2] | .[] | [1,2][] | range(1e6))", Ends::Steps),
    (
        "[(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)+(1,2)]",
        Ends::Either,
    ),
    (".[1e9] = 1", Ends::Either),
    ("[range(300)] as $a | [$a[] | $a[] | $a[]] | length", Ends::Steps),
    ("[range(2000) | tostring] | [.[] as $x | select(. - [$x] == [])]", Ends::Steps),
    ("(\"A\" * 60000) | [match(\".*[^A-Z]|[A-Z]\"; \"g\")] | length", Ends::Steps),
    ("last(\"x\" | repeat(sub(\"(?<a>.)\"; .a)))", Ends::Steps),
    ("[range(1e5) | [1, 2]] | combinations", Ends::Either),
    ("[range(200000)] | sort_by(-.) | group_by(.) | unique_by(.) | sort", Ends::Either),
    ("def f: [.[]?, f]; f", Ends::Either),
];

#[test]
fn endless_huge_and_deep_expressions_end_within_the_budget() {
    let mut wrong = Vec::new();
    for (code, ends) in ENDLESS {
        let outcome = evaluate(code, Value::Null);
        let right = match ends {
            Ends::Steps => outcome == Err(EvaluationError::Steps),
            Ends::Memory => outcome == Err(EvaluationError::Memory),
            Ends::Either => matches!(outcome, Err(EvaluationError::Steps | EvaluationError::Memory)),
        };
        if !right {
            wrong.push(format!("{code}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn values_that_stand_for_far_more_than_they_hold_never_come_to_be() {
    for end in [
        "[..] | length",
        ". == .",
        ". as $x | [$x, $x] | sort",
        "tojson",
        "\"\\(.)\"",
        "[.[][][][][][]?] | sort",
        "[leaf_paths]",
        ".. |= 1",
        "flatten",
        "contains([[1]])",
        "walk(.)",
        "error",
        "{a: .} * {a: .}",
    ] {
        let code = format!("reduce range(60) as $i (0; [., .]) | {end}");
        assert_eq!(evaluate(&code, Value::Null), Err(EvaluationError::Memory), "{code}");
    }
}

#[test]
fn a_budget_of_steps_or_memory_is_held_exactly() {
    let count = |ticks| {
        let budget = Budget { ticks, ..BUDGET };
        Expression::compile("[range(1000)] | length").unwrap().evaluate(&Value::Null, budget)
    };
    assert_eq!(count(10), Err(EvaluationError::Steps));
    assert_eq!(count(1_000_000), Ok(1000.into()));
    let memory = |memory_bytes| {
        let budget = Budget { memory_bytes, ..BUDGET };
        Expression::compile("\"x\" * 1000 | length").unwrap().evaluate(&Value::Null, budget)
    };
    assert_eq!(memory(500), Err(EvaluationError::Memory));
    assert_eq!(memory(2_000), Ok(1000.into()));
}

#[test]
fn what_reaches_outside_is_refused_by_name() {
    for name in [
        "now",
        "env",
        "input",
        "inputs",
        "debug",
        "stderr",
        "halt",
        "halt_error",
        "localtime",
        "gmtime",
        "mktime",
        "input_filename",
        "input_line_number",
    ] {
        assert_eq!(refusal(name), ExpressionError::Withheld(name.to_owned()));
    }
    assert_eq!(refusal("strftime(\"%Y\")"), ExpressionError::Withheld("strftime".to_owned()));
    for variable in ["$ENV", "$ENV.HOME", "$__loc__", "$__prog_args", "$input", "$x"] {
        let name = variable.split('.').next().unwrap().to_owned();
        assert_eq!(refusal(variable), ExpressionError::UnknownVariable(name));
    }
}

#[test]
fn what_is_not_jq_is_refused() {
    for (code, expected) in [
        ("", "term"),
        (".a.", "key"),
        ("1 +", "term"),
        ("[1", "closing bracket"),
        ("{a", "closing brace"),
        ("\"a", "closing quote"),
        ("if 1 then 2", "else or end"),
        ("1 2", "nothing"),
        (". as x | 1", "pattern"),
        ("def f: 1", ";"),
        ("\"\\q\"", "escape"),
        ("&", "token"),
        ("import \"a\" as a; 1", "nothing"),
        ("\u{0}", "token"),
    ] {
        let ExpressionError::Syntax { expected: got, .. } = refusal(code) else { panic!("{code}") };
        assert!(got.contains(expected), "{code}: {got}");
    }
    for (code, name, arity) in [
        ("nothing", "nothing", 0),
        ("map", "map", 0),
        ("map(.; .)", "map", 2),
        ("_sum", "_sum", 0),
        ("_collect", "_collect", 0),
        ("_e0", "_e0", 0),
        ("path_value(.)", "path_value", 1),
        ("m::f", "m::f", 0),
        ("@nothing", "@nothing", 0),
        ("@sh2 \"x\"", "@sh2", 0),
        ("reduce .[] as $x (0)", "reduce", 1),
        ("def f: 1; f(2)", "f", 1),
        ("def f: def g: 1; g; g", "g", 0),
    ] {
        assert_eq!(
            refusal(code),
            ExpressionError::UnknownFunction { name: name.to_owned(), arity },
            "{code}"
        );
    }
    assert_eq!(refusal("break $x"), ExpressionError::UnknownVariable("$x".to_owned()));
    assert_eq!(refusal("(1 as $x | 2) | $x"), ExpressionError::UnknownVariable("$x".to_owned()));
}

#[test]
fn a_recursion_that_would_keep_every_level_alive_is_refused() {
    for code in [
        "def f(g): f(g | .); f(.)",
        "def f(g; $n): if $n == 0 then g else f(g | . + 1; $n - 1) end; f(.; 100000)",
        "def f(g): def h: f(g); h; f(.)",
    ] {
        assert_eq!(refusal(code), ExpressionError::RecursiveFilter("f".to_owned()), "{code}");
    }
    assert_eq!(
        evaluate("def f(g): def h: if . > 3 then . else g | h end; h; f(. + 1)", 0.into()),
        Ok(4.into())
    );
}

#[test]
fn an_expression_at_the_bounds_of_its_form_compiles_and_runs_and_one_beyond_is_refused() {
    type Form = fn(usize) -> String;
    let forms: [(&str, Form); 16] = [
        ("(", |n| format!("{}1{}", "(".repeat(n), ")".repeat(n))),
        ("[", |n| format!("{}1{}", "[".repeat(n), "]".repeat(n))),
        ("-", |n| format!("{}1", "-".repeat(n))),
        ("+", |n| format!("1{}", " + 1".repeat(n))),
        ("|", |n| format!("1{}", " | .".repeat(n))),
        (",", |n| format!("[1{}]", ", 1".repeat(n))),
        ("//", |n| format!("1{}", " // 1".repeat(n))),
        ("as", |n| format!("{}1", "1 as $x | ".repeat(n))),
        ("try", |n| format!("{}1", "try ".repeat(n))),
        ("if", |n| format!("{}1{}", "if ".repeat(n), " then 1 end".repeat(n))),
        ("def", |n| format!("{}1", "def f: 1; ".repeat(n))),
        ("nested def", |n| format!("{}1{}", "def f: ".repeat(n), "; f".repeat(n))),
        ("label", |n| format!("{}1", "label $x | ".repeat(n))),
        ("path", |n| format!("[1]{}", "[]?".repeat(n))),
        ("object", |n| format!("{{{}}}", "a: 1, ".repeat(n))),
        ("string", |n| format!("\"{}\"", "\\(1)".repeat(n))),
    ];
    for (name, form) in forms {
        let fits = (1..400).rev().find(|n| Expression::compile(&form(*n)).is_ok()).expect(name);
        assert!(fits >= 15, "{name}: only {fits}");
        let outcome = evaluate(&form(fits), Value::Null);
        assert!(matches!(outcome, Ok(_) | Err(EvaluationError::Memory)), "{name} {fits}: {outcome:?}");
        assert!(Expression::compile(&form(100_000)).is_err(), "{name}");
        for n in [150, 250, 500, 1_000, 2_000] {
            let _ = Expression::compile(&form(n));
        }
    }
}

#[test]
fn brackets_that_hide_in_texts_and_comments_count_as_the_lexer_counts_them() {
    let deep = "(".repeat(3_000);
    for code in [
        format!("\"{}\"", "(".repeat(3_000)),
        format!("1 # {deep}"),
        format!("1 # \\\n{deep}"),
        format!("1 # {deep} \\\r\n{deep}\n + 1"),
        format!("\"\\\"{deep}\""),
        format!("[\"{}\"]", "a) ".repeat(2_000)),
    ] {
        assert!(Expression::compile(&code).is_ok(), "{}", &code[..20]);
    }
    for code in [
        deep.clone(),
        "\"\\(".repeat(1_000),
        "(\")\" | ".repeat(1_000),
        "(# )\n".repeat(1_000),
        "(\"\\\\\" | \")\" | ".repeat(500),
        format!("1 # \\\\\n + {deep}"),
    ] {
        assert_eq!(Expression::compile(&code).err(), Some(ExpressionError::Deep), "{}", &code[..20]);
    }
}

#[test]
fn recursion_of_the_richest_form_stays_within_the_native_stack() {
    // Each level is as wide as an expression can be, so that a level takes the most stack between two steps.
    let wide = "1 + (".repeat(28);
    let code = format!("def f: {wide}f{}; f", ")".repeat(28));
    assert_eq!(evaluate(&code, Value::Null), Err(EvaluationError::Memory));
    let pipes = "(. | ".repeat(28);
    let code = format!("def f: {pipes}f | 1{}; f", ")".repeat(28));
    assert_eq!(evaluate(&code, Value::Null), Err(EvaluationError::Memory));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_string_of_tokens_is_refused_or_ends(tokens in proptest::collection::vec(token(), 0..25)) {
        let code = tokens.join(" ");
        if let Ok(expression) = Expression::compile(&code) {
            let budget = Budget { ticks: 5_000, memory_bytes: 64 << 10 };
            let _ = expression.evaluate(&serde_json::json!({"a": [1, {"b": "x"}], "c": null}), budget);
        }
    }

    #[test]
    fn any_text_is_refused_or_ends(code in ".{0,60}") {
        if let Ok(expression) = Expression::compile(&code) {
            let _ = expression.evaluate(&Value::Null, Budget { ticks: 5_000, memory_bytes: 64 << 10 });
        }
    }
}

/// What random expressions are made of, between blanks.
const TOKENS: &str = r#"
    . .. .a .[] .[0] [ ] { } ( ) | , : ; +
    - * / % = |= += // //= == < and or not if then
    elif else end try catch reduce foreach as $x $y def f g label break 1
    2.5 "s" "\( )" ? null true map select recurse repeat range path paths limit first
    last sort group_by to_entries tojson fromjson test gsub @base64 empty error walk del input env a
    keys add length flatten until setpath getpath 1e9
"#;

fn token() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(TOKENS.split_whitespace().collect::<Vec<_>>())
}

fn evaluate(code: &str, input: Value) -> Result<Value, EvaluationError> {
    Expression::compile(code).unwrap_or_else(|e| panic!("{code}: {e}")).evaluate(&input, BUDGET)
}

fn refusal(code: &str) -> ExpressionError {
    Expression::compile(code).expect_err(code)
}
