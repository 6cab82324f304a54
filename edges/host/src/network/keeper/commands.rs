//! What the keeper lets nftables run: whole commands about its own two tables, and no others.

use super::{FLOOR_TABLE, TABLE};

/// What a command may do.
const VERBS: [&str; 5] = ["add", "create", "delete", "destroy", "flush"];

/// To what.
const OBJECTS: [&str; 12] = [
    "table",
    "chain",
    "rule",
    "set",
    "map",
    "element",
    "counter",
    "quota",
    "limit",
    "ct",
    "synproxy",
    "flowtable",
];

/// Words that reach outside the text: files, and names that stand for other words.
const FORBIDDEN: [&str; 4] = ["include", "define", "redefine", "undefine"];

/// Says why a text is not a ruleset of the keeper's tables.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotARuleset {
    /// A bracket or quote is never closed, or closed before it is opened.
    #[error("brackets or quotes do not match")]
    Unbalanced,
    /// It reaches outside itself.
    #[error("`{0}` reaches outside the ruleset")]
    Reaches(&'static str),
    /// A command is about something else.
    #[error("`{0}` is not a command about `inet {TABLE}` or `inet {FLOOR_TABLE}`")]
    Foreign(String),
}

/// Checks that `text` holds only commands about the keeper's tables.
pub(super) fn check(text: &str) -> Result<(), NotARuleset> {
    commands(text)?.iter().try_for_each(|command| check_command(command))
}

fn check_command(command: &[String]) -> Result<(), NotARuleset> {
    let foreign =
        || NotARuleset::Foreign(command.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(" "));
    let mut words = command.iter().map(String::as_str);
    let first = words.next().ok_or_else(foreign)?;
    let object = if VERBS.contains(&first) { words.next().ok_or_else(foreign)? } else { first };
    // `ct helper` and the like are two words for one kind of object.
    if object == "ct" {
        words.next();
    }
    let family = words.next();
    let table = words.next();
    let own = table == Some(TABLE) || table == Some(FLOOR_TABLE);
    if OBJECTS.contains(&object) && family == Some("inet") && own { Ok(()) } else { Err(foreign()) }
}

/// The words of each command before its first bracket. Commands end with a line or a semicolon outside brackets.
fn commands(text: &str) -> Result<Vec<Vec<String>>, NotARuleset> {
    let mut found = Vec::new();
    let mut command = Vec::new();
    let mut depth = 0_usize;
    // Nothing may follow a bracket but the command's end: a second command could hide there.
    let mut closed = false;
    for token in tokens(text)? {
        match token {
            Token::Word(word) if depth == 0 && closed => return Err(NotARuleset::Foreign(word.to_owned())),
            Token::Word(word) if depth == 0 => command.push(word.to_owned()),
            Token::Open if depth == 0 && (closed || command.is_empty()) => {
                return Err(NotARuleset::Unbalanced);
            }
            Token::Open => depth += 1,
            Token::Close => {
                depth = depth.checked_sub(1).ok_or(NotARuleset::Unbalanced)?;
                closed = depth == 0;
            }
            Token::End if depth == 0 => {
                closed = false;
                found.push(std::mem::take(&mut command));
            }
            Token::Word(_) | Token::End => {}
        }
    }
    if depth != 0 {
        return Err(NotARuleset::Unbalanced);
    }
    found.push(command);
    found.retain(|command| !command.is_empty());
    Ok(found)
}

enum Token<'a> {
    Word(&'a str),
    Open,
    Close,
    End,
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, NotARuleset> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' => quoted(rest).ok_or(NotARuleset::Unbalanced)?,
            // A line that goes on would let a command hide behind what looks like the end of another.
            '\\' => return Err(NotARuleset::Reaches("\\")),
            '{' | '}' | ';' | '\n' => {
                found.push(match first {
                    '{' => Token::Open,
                    '}' => Token::Close,
                    _ => Token::End,
                });
                1
            }
            _ if first.is_whitespace() => first.len_utf8(),
            _ => {
                let word = |c: char| !c.is_whitespace() && !"{};\"#\\".contains(c);
                let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
                found.push(Token::Word(harmless(rest.get(..end).unwrap_or_default())?));
                end
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(found)
}

fn harmless(word: &str) -> Result<&str, NotARuleset> {
    let forbidden = FORBIDDEN.into_iter().find(|forbidden| *forbidden == word);
    let forbidden = forbidden.or_else(|| word.contains('$').then_some("$"));
    forbidden.map_or(Ok(word), |forbidden| Err(NotARuleset::Reaches(forbidden)))
}

/// The length of the quoted text at the start, quotes included. Quotes hold no line ends.
fn quoted(text: &str) -> Option<usize> {
    let inner = text.get(1..)?;
    let end = inner.find(['"', '\n'])?;
    inner.get(end..)?.starts_with('"').then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "\
table inet palisade {
  flags owner
}
delete table inet palisade # replaced in the same transaction
table inet palisade {
  flags owner
  set live { type mark; elements = { 7, 8 } }
  chain forward {
    type filter hook forward priority filter; policy drop;
    iifname \"pt7\" ct mark @live accept comment \"a } quote; # and all\"
  }
}
delete table inet palisade_floor
add element inet palisade live { 9 };
";

    #[test]
    fn a_ruleset_of_the_keepers_tables_passes() {
        assert_eq!(check(WHOLE), Ok(()));
        for text in ["", "\n;;\n", "flush chain inet palisade forward", "add ct helper inet palisade ftp { }"]
        {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn other_commands_and_tables_do_not() {
        for text in [
            "flush ruleset",
            "list ruleset",
            "add table inet other",
            "add table ip palisade",
            "table palisade { }",
            "delete table inet palisade\nflush ruleset",
            "table inet palisade { }; table inet other { }",
            "table inet palisade { } table inet other { } ",
            "table inet palisade { } flush ruleset",
            "reset counters",
            "import vm json",
            "monitor",
            "table inet palisade2 { }",
            "table inet \"palisade\" { }",
        ] {
            let answer = check(text);
            assert!(matches!(answer, Err(NotARuleset::Foreign(_))), "{text}: {answer:?}");
        }
    }

    #[test]
    fn a_text_cannot_leave_its_brackets_or_itself() {
        for text in [
            "table inet palisade { } }",
            "table inet palisade { } { }",
            "{ \"nftables\": [] }",
            "table inet palisade { ",
            "table inet palisade { comment \"x }",
            "table inet palisade { comment \"x\n\" }",
        ] {
            assert_eq!(check(text), Err(NotARuleset::Unbalanced), "{text}");
        }
        for text in [
            "include \"/etc/shadow\"",
            "table inet palisade {\n include \"/etc/shadow\"\n}",
            "define x = 1",
            "table inet palisade { set $x { } }",
            "flush \\\nruleset",
        ] {
            assert!(matches!(check(text), Err(NotARuleset::Reaches(_))), "{text}");
        }
    }
}
