//! Natives that work on numbers.

use super::natives::{Entry, Outcome};
use super::value::Value;
use jaq_core::Error;
use jaq_core::native::bome;

macro_rules! of_float {
    ($($name:literal = $f:expr,)*) => {
        vec![$(($name, 0, |cv| bome(apply(&cv.1, $f))),)*]
    };
}

pub(crate) fn natives() -> Vec<Entry> {
    let mut all: Vec<Entry> = of_float![
        "floor" = f64::floor,
        "ceil" = f64::ceil,
        "round" = f64::round,
        "trunc" = f64::trunc,
        "fabs" = f64::abs,
        "sqrt" = f64::sqrt,
        "cbrt" = f64::cbrt,
        "exp" = f64::exp,
        "exp2" = f64::exp2,
        "exp10" = |x| 10_f64.powf(x),
        "log" = f64::ln,
        "log2" = f64::log2,
        "log10" = f64::log10,
        "sin" = f64::sin,
        "cos" = f64::cos,
        "tan" = f64::tan,
        "asin" = f64::asin,
        "acos" = f64::acos,
        "atan" = f64::atan,
    ];
    let others: Vec<Entry> = vec![
        ("abs", 0, |cv| bome(abs(cv.1))),
        ("nan", 0, |_| bome(Ok(Value::Float(f64::NAN)))),
        ("infinite", 0, |_| bome(Ok(Value::Float(f64::INFINITY)))),
        ("isnan", 0, |cv| bome(float(&cv.1).map(|x| x.is_nan().into()))),
        ("isinfinite", 0, |cv| bome(float(&cv.1).map(|x| x.is_infinite().into()))),
        ("isnormal", 0, |cv| bome(float(&cv.1).map(|x| x.is_normal().into()))),
        ("tonumber", 0, |cv| bome(to_number(cv.1))),
        ("toboolean", 0, |cv| bome(to_boolean(cv.1))),
        ("pow", 2, |mut cv| {
            let (y, x) = (cv.0.pop_var(), cv.0.pop_var());
            bome(float(&x).and_then(|x| Ok(Value::number(x.powf(float(&y)?)))))
        }),
        ("atan2", 2, |mut cv| {
            let (y, x) = (cv.0.pop_var(), cv.0.pop_var());
            bome(float(&x).and_then(|x| Ok(Value::number(x.atan2(float(&y)?)))))
        }),
    ];
    all.extend(others);
    all
}

fn float(value: &Value) -> Result<f64, Error<Value>> {
    value.as_f64().ok_or_else(|| Error::typ(value.clone(), "number"))
}

fn apply(value: &Value, f: fn(f64) -> f64) -> Outcome {
    Ok(Value::number(f(float(value)?)))
}

fn abs(value: Value) -> Outcome {
    match value {
        Value::Int(n) if n < 0 => -value,
        Value::Float(x) => Ok(Value::Float(x.abs())),
        Value::Int(_) => Ok(value),
        other => Err(Error::typ(other, "number")),
    }
}

fn to_number(value: Value) -> Outcome {
    let number = match &value {
        Value::Int(_) | Value::Float(_) => return Ok(value),
        // JSON's grammar, not Rust's: no `inf`, no `+1`, no blanks.
        Value::Text(text) if !text.starts_with(char::is_whitespace) => {
            serde_json::from_str::<serde_json::Number>(text).ok()
        }
        _ => None,
    };
    let refused = || Error::str(format_args!("{value} is not a number"));
    number.map(|number| Value::from(&serde_json::Value::Number(number))).ok_or_else(refused)
}

fn to_boolean(value: Value) -> Outcome {
    match value.as_text() {
        Some("true") => Ok(Value::Bool(true)),
        Some("false") => Ok(Value::Bool(false)),
        _ if matches!(value, Value::Bool(_)) => Ok(value),
        _ => Err(Error::str(format_args!("{value} is not a boolean"))),
    }
}
