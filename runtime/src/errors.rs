//! Errors as people read them: one line, with what is behind it.

use std::error::Error;

/// An error and everything behind it. Says nothing twice, because some errors repeat their cause.
#[must_use]
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = source.source();
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn causes_follow_and_a_repeated_one_is_said_once() {
        let error = Layer("cannot start: no disk", Some(Box::new(Layer("no disk", None))));
        assert_eq!(one_line(&error), "cannot start: no disk");
        let error = Layer("cannot start", Some(Box::new(Layer("no\ndisk", None))));
        assert_eq!(one_line(&error), "cannot start: no disk");
    }
}
