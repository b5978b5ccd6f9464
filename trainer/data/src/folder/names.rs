//! Names of classes: how they are compared, and how they are shown so that no two look the same.
//!
//! A class is called as its folder, in Unicode's form NFC: the same name written by two systems, `é` as one character or
//! as `e` and an accent, is one name. A name that is no UTF-8 is refused, since neither a model's card nor a report holds it.

use std::path::Path;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::DataError;

/// Names that a message lists.
const LISTED: usize = 10;

/// The name of the class whose images lie in `folder`.
///
/// # Errors
/// [`DataError::Format`] where it is no UTF-8.
pub fn class_name(folder: &Path) -> Result<String, DataError> {
    let name = folder.file_name().unwrap_or_default();
    match name.to_str() {
        Some(name) => Ok(nfc(name)),
        None => {
            let reason = format!(
                "the class folder {} is called by bytes that are no UTF-8: rename it",
                name.as_encoded_bytes().escape_ascii()
            );
            Err(DataError::Format { path: folder.parent().unwrap_or(folder).to_owned(), reason })
        }
    }
}

/// `text` in NFC.
pub(super) fn nfc(text: &str) -> String {
    text.nfc().collect()
}

/// `name` as a message shows it: in quotes where it holds what parts names in a list, with what one does not see written
/// out (`\u{200b}`), and wholly written out where it is not in NFC.
pub fn shown(name: &str) -> String {
    let edges =
        |at: usize, letter: char| letter.is_whitespace() && (at == 0 || at + letter.len_utf8() == name.len());
    let plain = is_nfc(name);
    let mut text = String::new();
    for (at, letter) in name.char_indices() {
        if unseen(letter) || edges(at, letter) || (!plain && !letter.is_ascii()) {
            text.extend(letter.escape_unicode());
        } else {
            text.push(letter);
        }
    }
    if name.is_empty() || name.contains([',', ';', '"', '\'', ':']) { format!("\"{text}\"") } else { text }
}

/// A character that shows nothing, or another blank than the usual one.
fn unseen(letter: char) -> bool {
    letter.is_control()
        || (letter.is_whitespace() && letter != ' ')
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// The first of `names` as a message shows them, and how many more there are.
pub fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let first: Vec<String> = names[..names.len() - more].iter().map(|name| shown(name)).collect();
    let first = first.join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}

/// Pairs of `names` that differ in case, blanks, forms of the same letter or characters that one does not see alone; each
/// name with every other character than ASCII's written out.
pub fn alike(names: &[String]) -> Vec<[String; 2]> {
    let bare = |name: &String| -> String {
        let folded = name.nfkc().flat_map(char::to_lowercase).filter(|letter| !unseen(*letter));
        folded.filter(|letter| !letter.is_whitespace() && !matches!(letter, '_' | '-')).collect()
    };
    let mut sorted: Vec<(String, &String)> = names.iter().map(|name| (bare(name), name)).collect();
    sorted.sort();
    let written = |name: &String| format!("\"{}\"", name.escape_default());
    let pairs = sorted.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    pairs.map(|pair| [written(pair[0].1), written(pair[1].1)]).collect()
}

/// The place of each of `found` among `known`.
///
/// # Errors
/// What is missing on either side, where one of `found` is not known.
pub fn places(known: &[String], found: &[String]) -> Result<Vec<u32>, String> {
    let place = |name: &String| known.iter().position(|other| nfc(other) == *name);
    let places: Vec<Option<usize>> = found.iter().map(place).collect();
    if places.iter().all(Option::is_some) {
        return Ok(places.into_iter().flatten().map(|place| place as u32).collect());
    }
    let without = |of: &[String], others: &[String]| -> Vec<String> {
        of.iter().filter(|name| !others.iter().any(|other| nfc(other) == nfc(name))).cloned().collect()
    };
    let mut reason = String::new();
    for (what, names) in [("missing here", without(known, found)), ("only here", without(found, known))] {
        if !names.is_empty() {
            reason += &format!("; {what}: {}", some(&names));
        }
    }
    Err(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_looks_the_same_is_shown_otherwise() {
        assert_eq!(shown("Schöne Blume"), "Schöne Blume");
        assert_eq!(shown("e\u{301}"), "e\\u{301}");
        assert_eq!(shown("cat "), "cat\\u{20}");
        assert_eq!(shown("c\u{200b}at\n"), "c\\u{200b}at\\u{a}");
        assert_eq!(some(&owned(&["a,b", "c", "a;b"])), "\"a,b\", c, \"a;b\"");
        let many: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        assert!(some(&many).ends_with("9 and 2 more"));
    }

    #[test]
    fn names_that_look_alike_are_found() {
        let names = owned(&["Cat", "dog", "cat ", "ﬁsh", "fish", "a,b", "a;b"]);
        assert_eq!(alike(&names), [["\"Cat\"", "\"cat \""], ["\"fish\"", "\"\\u{fb01}sh\""]]);
    }

    #[test]
    fn classes_are_found_by_name_in_either_form() {
        let known = owned(&["caf\u{e9}", "tea", "x"]);
        assert_eq!(places(&known, &owned(&["tea", "caf\u{e9}"])), Ok(vec![1, 0]));
        assert_eq!(places(&owned(&["cafe\u{301}"]), &known[..1]), Ok(vec![0]));
        let error = places(&known, &owned(&["tea", "a,b"])).unwrap_err();
        assert_eq!(error, "; missing here: café, x; only here: \"a,b\"");
    }
}
