//! Bytes of keys and values as a person can read them: text, indented JSON, or hex. The page sets them as text.

use serde::{Serialize, de::IgnoredAny};

/// Bytes of one key, value or header that are shown; of more than that the beginning.
pub(super) const SHOWN_BYTES_MAX: usize = 16 << 10;
/// Bytes of JSON once it is indented; what would be more stays as it is.
const INDENTED_BYTES_MAX: usize = 4 * SHOWN_BYTES_MAX;
const SPACES: &str = "  ";

/// How bytes are to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Form {
    /// The first that fits: JSON for an object or a list, text, hex.
    Auto,
    /// UTF-8; what is none becomes U+FFFD.
    Text,
    /// Indented, everything else as it stands; as text where it is no JSON.
    Json,
    /// Two digits a byte.
    Hex,
}

impl Form {
    pub(super) fn of(name: &str) -> Option<Self> {
        [("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json), ("hex", Self::Hex)]
            .into_iter()
            .find_map(|(known, form)| (known == name).then_some(form))
    }
}

/// Bytes as they are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    /// How they are shown: never [`Form::Auto`].
    #[serde(rename = "as")]
    form: Form,
    text: String,
    /// How many they are.
    bytes: usize,
    /// Only the beginning is shown.
    cut: bool,
}

impl Shown {
    /// Shows `bytes` in that form.
    pub(super) fn of(bytes: &[u8], wanted: Form) -> Self {
        let cut = bytes.len() > SHOWN_BYTES_MAX;
        let beginning = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
        let (form, text) = match wanted {
            Form::Hex => (Form::Hex, hex(beginning)),
            Form::Text => (Form::Text, String::from_utf8_lossy(beginning).into_owned()),
            Form::Json => json(bytes, cut)
                .unwrap_or_else(|| (Form::Text, String::from_utf8_lossy(beginning).into_owned())),
            Form::Auto => json(bytes, cut)
                .filter(|_| matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'[')))
                .or_else(|| readable(beginning, cut).map(|text| (Form::Text, text)))
                .unwrap_or_else(|| (Form::Hex, hex(beginning))),
        };
        Self { form, text, bytes: bytes.len(), cut }
    }

    /// Bytes that it takes in an answer, nearly.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }
}

/// The bytes as text if that is all they are, but for a character that was cut.
fn readable(beginning: &[u8], cut: bool) -> Option<String> {
    let text = match std::str::from_utf8(beginning) {
        Ok(text) => text,
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(&beginning[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_text = |one: char| !one.is_control() || matches!(one, '\n' | '\r' | '\t');
    text.chars().all(is_text).then(|| text.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}

/// Whole JSON, indented. Numbers, escapes and the order of names stay as they stand: only spaces are moved.
fn json(bytes: &[u8], cut: bool) -> Option<(Form, String)> {
    let text = std::str::from_utf8(bytes).ok().filter(|_| !cut)?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    Some((Form::Json, indented(text).unwrap_or_else(|| text.to_owned())))
}

/// `None` if more than [`INDENTED_BYTES_MAX`] would come of it.
fn indented(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    let mut characters = text.chars().peekable();
    while let Some(one) = characters.next() {
        if in_string {
            out.push(one);
            (escaped, in_string) = (!escaped && one == '\\', escaped || one != '"');
            continue;
        }
        match one {
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                out.push(one);
                while characters.next_if(char::is_ascii_whitespace).is_some() {}
                match characters.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        new_line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth -= 1;
                new_line(&mut out, depth);
                out.push(one);
            }
            ',' => {
                out.push(one);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            one => {
                in_string = one == '"';
                out.push(one);
            }
        }
        if out.len() > INDENTED_BYTES_MAX {
            return None;
        }
    }
    Some(out)
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&SPACES.repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8], form: Form) -> (Form, String) {
        let shown = Shown::of(bytes, form);
        (shown.form, shown.text)
    }

    #[test]
    fn bytes_are_shown_as_what_they_are() {
        for (bytes, form, text) in [
            (&b"plain"[..], Form::Text, "plain"),
            ("gr\u{fc}n\n".as_bytes(), Form::Text, "gr\u{fc}n\n"),
            (b"", Form::Text, ""),
            (b"42", Form::Text, "42"),
            (b"{\"a\":1}", Form::Json, "{\n  \"a\": 1\n}"),
            (b"[]", Form::Json, "[]"),
            (b"{broken", Form::Text, "{broken"),
            (b"\x00\x01\xff", Form::Hex, "00 01 ff"),
            (b"bell\x07", Form::Hex, "62 65 6c 6c 07"),
        ] {
            assert_eq!(shown(bytes, Form::Auto), (form, text.to_owned()), "{bytes:?}");
        }
    }

    #[test]
    fn a_form_that_was_asked_for_is_kept() {
        assert_eq!(shown(b"{}", Form::Text), (Form::Text, "{}".to_owned()));
        assert_eq!(shown(b"{}", Form::Hex), (Form::Hex, "7b 7d".to_owned()));
        assert_eq!(shown(b"\xff", Form::Text), (Form::Text, "\u{fffd}".to_owned()));
        assert_eq!(shown(b" 1.50e3 ", Form::Json), (Form::Json, "1.50e3".to_owned()));
        assert_eq!(shown(b"none", Form::Json), (Form::Text, "none".to_owned()));
    }

    #[test]
    fn only_the_beginning_of_a_long_value_is_shown() {
        let long = "\u{fc}".repeat(SHOWN_BYTES_MAX);
        let shown = Shown::of(&long.as_bytes()[1..], Form::Text);
        assert!(shown.cut && shown.bytes == 2 * SHOWN_BYTES_MAX - 1);
        // A character lies across the end.
        let odd = format!("x{long}");
        let shown = Shown::of(odd.as_bytes(), Form::Auto);
        assert_eq!((shown.form, shown.text.len(), shown.cut), (Form::Text, SHOWN_BYTES_MAX - 1, true));
        let json = format!("[\"{}\"]", "x".repeat(SHOWN_BYTES_MAX));
        assert_eq!(Shown::of(json.as_bytes(), Form::Auto).form, Form::Text);
    }

    #[test]
    fn indenting_moves_spaces_only() {
        let text =
            r#" {"a" : [1, 2.50, {"b":"x\\\", { [ :"}], "big":12345678901234567890,"e":{ } ,"n":null}"#;
        let (form, out) = shown(text.as_bytes(), Form::Auto);
        assert_eq!(form, Form::Json);
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&out), read(text));
        assert!(
            out.contains("\"a\": [\n    1,\n    2.50,\n    {\n      \"b\"") && out.contains("\"e\": {}"),
            "{out}"
        );
        assert!(out.contains(r#""x\\\", { [ :""#) && out.contains("12345678901234567890"), "{out}");
    }

    #[test]
    fn json_that_would_grow_too_much_stays_as_it_is() {
        let deep = format!("{}{}{}", "[".repeat(100), vec!["1"; 5000].join(","), "]".repeat(100));
        assert_eq!(shown(deep.as_bytes(), Form::Auto), (Form::Json, deep));
    }
}
