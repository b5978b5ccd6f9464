//! An error with its causes, in one line.

use std::error::Error;

/// What `error` says and what caused it, from the outside in, parted by colons.
///
/// Some types say their cause themselves and name it as their source too, others leave that to the reader of the chain; and a
/// context often names the file that the error below it names again. So what was said already is not said twice, whoever says it.
/// Names in it move no cursor ([`crate::visible_lines`]).
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        next = error.source();
        let said = error.to_string();
        if parts.iter().any(|part| part.contains(&said)) {
            continue;
        }
        // "low.safetensors", caused by "low.safetensors: no header"
        let again =
            |part: &String| said.strip_prefix(part.as_str()).is_some_and(|rest| rest.starts_with(": "));
        if parts.last().is_some_and(again) {
            parts.pop();
        }
        parts.push(said);
    }
    crate::visible_lines(&parts.join(": "))
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    /// An error of given words with a given cause.
    #[derive(Debug)]
    struct Said(&'static str, Option<Box<Said>>);

    impl fmt::Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Said {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_ref().map(|cause| cause.as_ref() as &(dyn Error + 'static))
        }
    }

    fn said(words: &[&'static str]) -> String {
        let nested = words.iter().rev().fold(None, |cause, words| Some(Box::new(Said(words, cause))));
        chain(nested.unwrap().as_ref())
    }

    #[test]
    fn every_cause_is_said_once() {
        for (words, expected) in [
            (&["cannot read a.json", "No such file"][..], "cannot read a.json: No such file"),
            (&["a.json: No such file", "No such file"], "a.json: No such file"),
            (&["a.json", "a.json: line 3", "line 3"], "a.json: line 3"),
            (
                &["reading: a.json: line 3 is cut", "a.json: line 3 is cut", "line 3 is cut"],
                "reading: a.json: line 3 is cut",
            ),
            (
                &["no GPU can be used: no driver; use the CPU", "no driver"],
                "no GPU can be used: no driver; use the CPU",
            ),
            (&["one", "two", "three"], "one: two: three"),
            (&["a", "ab: c"], "a: ab: c"),
            (&["alone", ""], "alone"),
        ] {
            assert_eq!(said(words), expected);
        }
    }
}
