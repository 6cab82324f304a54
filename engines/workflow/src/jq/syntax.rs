//! Reads expressions: bounds them, checks every name, and puts a step wherever evaluation can multiply or recurse.

use super::library;
use super::natives::{CALL, TICK};
use jaq_core::load::lex::{self, StrPart, Tok, Token};
use jaq_core::load::parse::{BinaryOp, Def, Parser, Pattern, Term};
use jaq_core::load::{Lexer, parse};
use jaq_core::path::{Part, Path};
use std::collections::BTreeSet;

/// The longest expression, in bytes. Longer programs belong into several tasks.
pub const EXPRESSION_BYTES_MAX: usize = 8 * 1024;
/// How deep an expression's brackets may nest; the lexer recurses into each.
const BRACKETS_DEEP_MAX: usize = 64;
/// How many tokens may stand beside or around a token. It bounds how deep the syntax tree can be, whatever
/// the operators, and with it the recursion of parser, compiler and evaluator.
const TOKENS_DEEP_MAX: usize = 128;
/// How much of an expression a message repeats, in characters.
const ECHO_MAX: usize = 40;

/// Says why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpressionError {
    /// The text is too long.
    #[error("an expression has at most {EXPRESSION_BYTES_MAX} bytes")]
    Long,
    /// The text nests too deeply, or strings too many operators together.
    #[error("the expression nests too deeply; split it over several tasks or inner functions")]
    Deep,
    /// The text is not jq.
    #[error("not a jq expression: expected {expected}, found {found}")]
    Syntax {
        /// What the reader wanted.
        expected: String,
        /// What stood there.
        found: String,
    },
    /// A function that doesn't exist.
    #[error("`{name}` with {arity} arguments is not a known function")]
    UnknownFunction {
        /// The function's name.
        name: String,
        /// How many arguments it was given.
        arity: usize,
    },
    /// A function of jq that would reach outside of the workflow.
    #[error("`{0}` is not available: expressions see no clock, environment, files or log")]
    Withheld(String),
    /// A variable that doesn't exist, or not here.
    #[error("`{0}` is not a variable here")]
    UnknownVariable(String),
    /// A recursion that would make every level hold the levels before.
    #[error("`{0}` calls itself with a filter argument; pass a value (`$x`) or recurse in an inner function")]
    RecursiveFilter(String),
}

/// An expression, checked and with steps put in; `uses` is what it needs from the library.
pub(crate) struct Checked<'s> {
    pub(crate) term: Term<&'s str>,
    pub(crate) uses: Uses<'s>,
}

/// Functions of the library, by name and number of arguments.
pub(crate) type Uses<'s> = BTreeSet<(&'s str, usize)>;

/// Checks `code`, which may read `variables` (each with its `$`).
pub(crate) fn check<'s>(code: &'s str, variables: &[&'s str]) -> Result<Checked<'s>, ExpressionError> {
    let tokens = bounded_tokens(code)?;
    let parsed = Parser::new(&tokens).parse(|p| p.term());
    let term = parsed.map_err(|errors| parse_error(&errors))?;
    let mut checker = Checker { variables: variables.to_vec(), ..Checker::default() };
    let term = checker.term(term)?;
    Ok(Checked { term, uses: checker.uses })
}

/// Puts steps into a definition of our own library.
pub(crate) fn check_definition(
    definition: Def<&'static str>,
) -> Checking<(Def<&'static str>, Uses<'static>)> {
    let mut checker = Checker { library: true, ..Checker::default() };
    let definition = checker.definition(definition)?;
    Ok((definition, checker.uses))
}

/// The text before the first interpolation, if the expression is nothing but a string.
pub(crate) fn literal_beginning(code: &str) -> Option<String> {
    bounded_tokens(code).ok()?;
    let Term::Str(None, parts) = parse(code, |p| p.term())? else { return None };
    let mut beginning = String::new();
    for part in parts {
        match part {
            StrPart::Str(text) => beginning.push_str(text),
            StrPart::Char(c) => beginning.push(c),
            StrPart::Term(_) => break,
        }
    }
    Some(beginning)
}

fn bounded_tokens(code: &str) -> Result<Vec<Token<&str>>, ExpressionError> {
    if code.len() > EXPRESSION_BYTES_MAX {
        return Err(ExpressionError::Long);
    }
    if !brackets_nest_within(code, BRACKETS_DEEP_MAX) {
        return Err(ExpressionError::Deep);
    }
    let tokens = Lexer::new(code).lex().map_err(|errors| lex_error(&errors))?;
    if tokens_deep(&tokens) > TOKENS_DEEP_MAX {
        return Err(ExpressionError::Deep);
    }
    Ok(tokens)
}

/// Whether brackets, and texts within them, nest at most `max` deep. It reads texts, interpolations and comments as
/// the lexer does, without recursion.
fn brackets_nest_within(code: &str, max: usize) -> bool {
    let mut open = Vec::new();
    let mut bytes = code.bytes();
    while let Some(byte) = bytes.next() {
        let in_text = open.last() == Some(&b'"');
        match byte {
            b'"' if in_text => {
                open.pop();
            }
            b'\\' if in_text => open.extend(bytes.next().filter(|escaped| *escaped == b'(')),
            _ if in_text => {}
            b'"' | b'(' | b'[' | b'{' => open.push(byte),
            b')' | b']' | b'}' => {
                open.pop();
            }
            b'#' => skip_comment(&mut bytes),
            _ => {}
        }
        if open.len() > max {
            return false;
        }
    }
    true
}

/// Skips to the end of the line; an odd number of backslashes before it carries the comment on.
fn skip_comment(bytes: &mut std::str::Bytes<'_>) {
    let mut carried_on = false;
    for byte in bytes {
        match byte {
            b'\n' if !carried_on => return,
            b'\n' => carried_on = false,
            b'\\' => carried_on = !carried_on,
            b'\r' => {}
            _ => carried_on = false,
        }
    }
}

/// The largest number of tokens that stand beside or around any one token.
fn tokens_deep(tokens: &[Token<&str>]) -> usize {
    let inner = tokens.iter().map(|Token(_, token)| match token {
        Tok::Block(tokens) => tokens_deep(tokens),
        Tok::Str(parts) => {
            let terms = parts.iter().map(|part| match part {
                StrPart::Term(token) => tokens_deep(std::slice::from_ref(token)),
                StrPart::Str(_) | StrPart::Char(_) => 0,
            });
            terms.max().unwrap_or(0).saturating_add(parts.len())
        }
        Tok::Word | Tok::Var | Tok::Fmt | Tok::Num | Tok::Sym => 0,
    });
    inner.max().unwrap_or(0).saturating_add(tokens.len())
}

fn lex_error(errors: &[lex::Error<&str>]) -> ExpressionError {
    match errors.first() {
        Some((expected, found)) => syntax(expected.as_str(), found),
        None => syntax("a token", ""),
    }
}

fn parse_error(errors: &[jaq_core::load::parse::TError<'_, &str>]) -> ExpressionError {
    match errors.first() {
        Some((expected, found)) => syntax(expected.as_str(), found.map_or("", |token| token.as_str())),
        None => syntax("a term", ""),
    }
}

fn syntax(expected: &str, found: &str) -> ExpressionError {
    let echo: String = found.chars().take(ECHO_MAX).collect();
    let found = if echo.is_empty() { "the end".to_owned() } else { format!("`{echo}`") };
    ExpressionError::Syntax { expected: expected.to_owned(), found }
}

/// A function that an expression defines.
struct Function<'s> {
    name: &'s str,
    arity: usize,
    /// Whether the walk is inside its body, so that calling it is recursion.
    open: bool,
    takes_filters: bool,
    recursive: bool,
}

#[derive(Default)]
struct Checker<'s> {
    library: bool,
    functions: Vec<Function<'s>>,
    variables: Vec<&'s str>,
    labels: Vec<&'s str>,
    uses: Uses<'s>,
}

type Checking<T> = Result<T, ExpressionError>;
type TextPart<'s> = StrPart<&'s str, Term<&'s str>>;
type Entry<'s> = (Term<&'s str>, Option<Term<&'s str>>);

impl<'s> Checker<'s> {
    fn term(&mut self, term: Term<&'s str>) -> Checking<Term<&'s str>> {
        Ok(match term {
            Term::Id | Term::Num(_) => term,
            Term::Recurse => then_step(term),
            Term::Var(name) if self.variables.contains(&name) => term,
            Term::Var(name) => return Err(ExpressionError::UnknownVariable(name.to_owned())),
            Term::Break(name) if self.labels.contains(&name) => term,
            Term::Break(name) => return Err(ExpressionError::UnknownVariable(name.to_owned())),
            Term::Str(format, parts) => {
                if let Some(format) = format {
                    self.function(format, 0)?;
                }
                Term::Str(format, self.parts(parts)?)
            }
            Term::Arr(None) => term,
            Term::Arr(Some(inner)) => Term::Arr(Some(self.boxed(*inner)?)),
            Term::Obj(entries) => Term::Obj(self.entries(entries)?),
            Term::Neg(inner) => Term::Neg(self.boxed(*inner)?),
            Term::BinOp(l, op, r) => self.binary(*l, op, *r)?,
            Term::Label(name, body) => {
                self.labels.push(name);
                let body = self.boxed(*body)?;
                self.labels.pop();
                Term::Label(name, body)
            }
            Term::Fold(name, source, pattern, arguments) => self.fold(name, *source, pattern, arguments)?,
            Term::TryCatch(body, catch) => {
                Term::TryCatch(self.boxed(*body)?, catch.map(|catch| self.boxed(*catch)).transpose()?)
            }
            Term::IfThenElse(branches, otherwise) => {
                let branches =
                    branches.into_iter().map(|(if_, then)| Ok((self.term(if_)?, self.term(then)?)));
                let branches = branches.collect::<Checking<_>>()?;
                Term::IfThenElse(branches, otherwise.map(|otherwise| self.boxed(*otherwise)).transpose()?)
            }
            Term::Def(definitions, body) => {
                let depth = self.functions.len();
                let definitions =
                    definitions.into_iter().map(|d| self.definition(d)).collect::<Checking<_>>()?;
                let body = self.boxed(*body)?;
                self.functions.truncate(depth);
                Term::Def(definitions, body)
            }
            Term::Call(name, arguments) => self.call(name, arguments)?,
            Term::Path(head, path) => self.path(*head, path)?,
        })
    }

    fn boxed(&mut self, term: Term<&'s str>) -> Checking<Box<Term<&'s str>>> {
        self.term(term).map(Box::new)
    }

    fn parts(&mut self, parts: Vec<TextPart<'s>>) -> Checking<Vec<TextPart<'s>>> {
        let checked = parts.into_iter().map(|part| match part {
            StrPart::Term(term) => self.term(term).map(StrPart::Term),
            StrPart::Str(_) | StrPart::Char(_) => Ok(part),
        });
        checked.collect()
    }

    fn entries(&mut self, entries: Vec<Entry<'s>>) -> Checking<Vec<Entry<'s>>> {
        let checked = entries
            .into_iter()
            .map(|(key, value)| Ok((self.term(key)?, value.map(|value| self.term(value)).transpose()?)));
        checked.collect()
    }

    fn binary(
        &mut self,
        l: Term<&'s str>,
        op: BinaryOp<&'s str>,
        r: Term<&'s str>,
    ) -> Checking<Term<&'s str>> {
        let l = self.term(l)?;
        let depth = self.variables.len();
        let op = match op {
            BinaryOp::Pipe(Some(pattern)) => BinaryOp::Pipe(Some(self.pattern(pattern)?)),
            other => other,
        };
        let r = self.term(r)?;
        self.variables.truncate(depth);
        let r = if matches!(op, BinaryOp::Comma) { step_then(TICK, r) } else { r };
        Ok(Term::BinOp(Box::new(l), op, Box::new(r)))
    }

    /// Checks a pattern's keys, and brings its variables into scope after them.
    fn pattern(&mut self, pattern: Pattern<&'s str>) -> Checking<Pattern<&'s str>> {
        let mut bound = Vec::new();
        let pattern = self.pattern_keys(pattern, &mut bound)?;
        self.variables.append(&mut bound);
        Ok(pattern)
    }

    fn pattern_keys(
        &mut self,
        pattern: Pattern<&'s str>,
        bound: &mut Vec<&'s str>,
    ) -> Checking<Pattern<&'s str>> {
        Ok(match pattern {
            Pattern::Var(name) => {
                bound.push(name);
                Pattern::Var(name)
            }
            Pattern::Arr(items) => {
                let items = items.into_iter().map(|item| self.pattern_keys(item, bound));
                Pattern::Arr(items.collect::<Checking<_>>()?)
            }
            Pattern::Obj(entries) => {
                let entries = entries
                    .into_iter()
                    .map(|(key, item)| Ok((self.term(key)?, self.pattern_keys(item, bound)?)));
                Pattern::Obj(entries.collect::<Checking<_>>()?)
            }
        })
    }

    fn fold(
        &mut self,
        name: &'s str,
        source: Term<&'s str>,
        pattern: Pattern<&'s str>,
        arguments: Vec<Term<&'s str>>,
    ) -> Checking<Term<&'s str>> {
        let most = if name == "reduce" { 2 } else { 3 };
        if !(2..=most).contains(&arguments.len()) {
            return Err(ExpressionError::UnknownFunction { name: name.to_owned(), arity: arguments.len() });
        }
        let source = self.term(source)?;
        let mut arguments = arguments.into_iter();
        let mut checked = Vec::new();
        if let Some(start) = arguments.next() {
            checked.push(self.term(start)?);
        }
        let depth = self.variables.len();
        let pattern = self.pattern(pattern)?;
        for argument in arguments {
            checked.push(step_then(TICK, self.term(argument)?));
        }
        self.variables.truncate(depth);
        Ok(Term::Fold(name, Box::new(source), pattern, checked))
    }

    fn definition(&mut self, definition: Def<&'s str>) -> Checking<Def<&'s str>> {
        let Def { name, args, body } = definition;
        let takes_filters = args.iter().any(|arg| !arg.starts_with('$'));
        let position = self.functions.len();
        let arity = args.len();
        self.functions.push(Function { name, arity, open: true, takes_filters, recursive: false });
        let depth = self.variables.len();
        for arg in &args {
            if arg.starts_with('$') {
                self.variables.push(arg);
            } else {
                let argument =
                    Function { name: arg, arity: 0, open: false, takes_filters: false, recursive: false };
                self.functions.push(argument);
            }
        }
        let body = self.term(body)?;
        self.variables.truncate(depth);
        self.functions.truncate(position.saturating_add(1));
        let mut step = TICK;
        if let Some(function) = self.functions.get_mut(position) {
            function.open = false;
            if function.recursive {
                step = CALL;
            }
        }
        Ok(Def { name, args, body: step_then(step, body) })
    }

    fn call(&mut self, name: &'s str, arguments: Vec<Term<&'s str>>) -> Checking<Term<&'s str>> {
        self.function(name, arguments.len())?;
        let arguments = arguments.into_iter().map(|argument| {
            let plain = matches!(argument, Term::Id | Term::Num(_) | Term::Var(_));
            let argument = self.term(argument)?;
            Ok(if plain { argument } else { step_then(TICK, argument) })
        });
        Ok(Term::Call(name, arguments.collect::<Checking<_>>()?))
    }

    /// Checks that a function exists, and that calling it here is harmless.
    fn function(&mut self, name: &'s str, arity: usize) -> Checking<()> {
        let known = self.functions.iter_mut().rev().find(|f| f.name == name && f.arity == arity);
        if let Some(function) = known {
            function.recursive |= function.open;
            return if function.open && function.takes_filters {
                Err(ExpressionError::RecursiveFilter(name.to_owned()))
            } else {
                Ok(())
            };
        }
        if self.library || library::offers(name, arity) {
            self.uses.insert((name, arity));
            return Ok(());
        }
        if library::WITHHELD.contains(&name) {
            return Err(ExpressionError::Withheld(name.to_owned()));
        }
        Err(ExpressionError::UnknownFunction { name: name.chars().take(ECHO_MAX).collect(), arity })
    }

    fn path(&mut self, head: Term<&'s str>, path: Path<Term<&'s str>>) -> Checking<Term<&'s str>> {
        let head = self.term(head)?;
        let mut iterates = false;
        let mut parts = Vec::new();
        for (part, opt) in path.0 {
            let part = match part {
                Part::Index(index) => Part::Index(self.term(index)?),
                Part::Range(None, None) => {
                    iterates = true;
                    Part::Range(None, None)
                }
                Part::Range(from, upto) => Part::Range(
                    from.map(|from| self.term(from)).transpose()?,
                    upto.map(|upto| self.term(upto)).transpose()?,
                ),
            };
            parts.push((part, opt));
        }
        let term = Term::Path(Box::new(head), Path(parts));
        Ok(if iterates { then_step(term) } else { term })
    }
}

fn step_then<'s>(step: &'static str, term: Term<&'s str>) -> Term<&'s str> {
    Term::BinOp(Box::new(Term::Call(step, Vec::new())), BinaryOp::Pipe(None), Box::new(term))
}

fn then_step(term: Term<&str>) -> Term<&str> {
    Term::BinOp(Box::new(term), BinaryOp::Pipe(None), Box::new(Term::Call(TICK, Vec::new())))
}
