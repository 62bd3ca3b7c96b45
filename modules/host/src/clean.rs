//! Makes what a module says fit for a terminal and a log: a stranger chooses these texts.

use mezzo_module_api::ModuleError;
use mezzo_module_api::v1::WatchResponse;
use prost::Message as _;

/// An error with its words in one line.
pub(crate) fn error(error: ModuleError) -> ModuleError {
    ModuleError { message: line(error.message), ..error }
}

/// The encoded answer to `watch`, whose message goes to frameworks and people. One that is in order stays as it is, byte for
/// byte; one that cannot be decoded too, for that is told elsewhere.
pub(crate) fn limitation(answer: Vec<u8>) -> Vec<u8> {
    let Ok(mut response) = WatchResponse::decode(answer.as_slice()) else { return answer };
    let Some(message) = response.limitation.as_mut().and_then(|it| it.message.as_mut()) else {
        return answer;
    };
    let clean = lines(message.clone());
    if clean == *message {
        return answer;
    }
    *message = clean;
    response.encode_to_vec()
}

/// Without control characters: what would move the cursor, colour a terminal or begin another line of a log is shown as Rust
/// writes it (`\n`, `\u{1b}`).
pub(crate) fn line(text: String) -> String {
    visible(text, char::is_control)
}

/// The same for what has several lines and columns of its own, such as a dump of processes.
pub(crate) fn lines(text: String) -> String {
    visible(text, |c| c.is_control() && !matches!(c, '\n' | '\t'))
}

fn visible(text: String, hidden: impl Fn(char) -> bool) -> String {
    if !text.contains(&hidden) {
        return text;
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use mezzo_module_api::v1::{ContainerLimitation, WatchResponse};
    use prost::Message as _;

    use super::{limitation, line, lines};

    #[test]
    fn control_characters_become_visible() {
        let text = "a\u{1b}[31mred\r\n\tb\0 \u{9b}é".to_owned();
        assert_eq!(line(text.clone()), r"a\u{1b}[31mred\r\n\tb\u{0} \u{9b}é");
        assert_eq!(lines(text), "a\\u{1b}[31mred\\r\n\tb\\u{0} \\u{9b}é");
        assert_eq!(line("as it was".to_owned()), "as it was");
    }

    #[test]
    fn a_limitation_keeps_its_lines_and_columns() {
        let answer = |message: &str| {
            let limitation =
                ContainerLimitation { message: Some(message.to_owned()), ..Default::default() };
            WatchResponse { limitation: Some(limitation) }.encode_to_vec()
        };
        let (dirty, clean) = (answer("over\n\t|- \u{1b}[2J"), answer("over\n\t|- \\u{1b}[2J"));
        assert_eq!(limitation(dirty), clean);
        assert_eq!(limitation(clean.clone()), clean);
        assert_eq!(limitation(b"garbage".to_vec()), b"garbage");
    }
}
