//! Numbers on the command line. Each kind has one parser for all commands, so that a number that makes no sense is refused
//! before anything is read.

use std::str::FromStr;

/// What a parser gives: the number, or why it is none.
type Parsed<T> = Result<T, String>;

/// A whole number from 1.
pub fn count<T: FromStr + PartialOrd + From<u8>>(text: &str) -> Parsed<T> {
    text.parse()
        .ok()
        .filter(|number| *number >= T::from(1))
        .ok_or("it must be a whole number from 1".to_owned())
}

/// A whole number from 0.
pub fn whole<T: FromStr>(text: &str) -> Parsed<T> {
    text.parse().map_err(|_| "it must be a whole number from 0".to_owned())
}

/// A finite number above 0.
pub fn above_zero<T: FromStr + Into<f64> + Copy>(text: &str) -> Parsed<T> {
    number(text, |value| value > 0.0 && value.is_finite(), "a number above 0")
}

/// A finite number from 0.
pub fn from_zero<T: FromStr + Into<f64> + Copy>(text: &str) -> Parsed<T> {
    number(text, |value| value >= 0.0 && value.is_finite(), "a number from 0")
}

/// A number from 0 and below 1.
pub fn below_one(text: &str) -> Parsed<f64> {
    number(text, |value: f64| (0.0..1.0).contains(&value), "at least 0 and below 1")
}

/// A share of a whole: above 0 and at most 1.
pub fn share(text: &str) -> Parsed<f64> {
    number(text, |value: f64| value > 0.0 && value <= 1.0, "above 0 and at most 1")
}

/// A part of a whole of which something must be left: above 0 and below 1.
pub fn part(text: &str) -> Parsed<f64> {
    number(text, |value: f64| value > 0.0 && value < 1.0, "above 0 and below 1")
}

/// How many times larger: 1 to 16.
pub fn times(text: &str) -> Parsed<f64> {
    number(text, |value: f64| (1.0..=16.0).contains(&value), "at least 1 and at most 16")
}

/// A mean of pixels that are scaled to 0..1.
pub fn pixel_mean(text: &str) -> Parsed<f32> {
    number(
        text,
        |value| (0.0..=1.0).contains(&value),
        "a number from 0 to 1, as pixels are scaled to 0..1: divide means of 0..255 by 255",
    )
}

/// A standard deviation of pixels that are scaled to 0..1.
pub fn pixel_deviation(text: &str) -> Parsed<f32> {
    let what =
        "a number above 0 and at most 1, as pixels are scaled to 0..1: divide deviations of 0..255 by 255";
    number(text, |value| value > 0.0 && value <= 1.0, what)
}

/// The number that `text` states, where `fits` is true of it.
fn number<T: FromStr + Into<f64> + Copy>(text: &str, fits: impl Fn(f64) -> bool, what: &str) -> Parsed<T> {
    let fitting = |number: &T| fits((*number).into());
    text.trim().parse().ok().filter(fitting).ok_or_else(|| format!("it must be {what}"))
}

/// [`test_resize`](lrpet_data::Preparation::test_resize) on the command line.
pub fn parse_resize(text: &str) -> Result<f64, String> {
    text.parse()
        .map_err(|_| "a number such as 1.143".to_owned())
        .and_then(lrpet_data::Preparation::check_resize)
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn each_kind_has_its_limits() {
        assert_eq!(count::<usize>("1"), Ok(1));
        assert_eq!(count::<u64>("18446744073709551615"), Ok(u64::MAX));
        for text in ["0", "-1", "1.5", "", "x", "1e3", "99999999999999999999999"] {
            assert!(count::<usize>(text).is_err(), "{text}");
        }
        assert_eq!((whole::<usize>("0"), whole::<u64>("7")), (Ok(0), Ok(7)));
        for text in ["nan", "-1", "1.5", "", "99999999999999999999999"] {
            assert_eq!(whole::<u64>(text), Err("it must be a whole number from 0".to_owned()), "{text}");
        }
        type Case = (fn(&str) -> Parsed<f64>, &'static [&'static str], &'static [&'static str]);
        let cases: [Case; 6] = [
            (above_zero, &["1e-9", "1e9"], &["0", "-0", "-1", "inf", "nan", "1e999"]),
            (from_zero, &["0", "3.5"], &["-1e-9", "inf", "nan"]),
            (below_one, &["0", "0.999"], &["1", "-0.1", "nan"]),
            (share, &["1e-3", "1"], &["0", "1.01", "nan"]),
            (part, &["0.2"], &["0", "1", "nan"]),
            (times, &["1", "16"], &["0.99", "17", "nan"]),
        ];
        for (parse, right, wrong) in cases {
            right.iter().for_each(|text| assert_eq!(parse(text), Ok(text.parse().unwrap()), "{text}"));
            wrong
                .iter()
                .for_each(|text| assert!(parse(text).unwrap_err().starts_with("it must be "), "{text}"));
        }
        assert!(above_zero::<f32>("1e39").is_err() && above_zero::<f32>("1e-50").is_err());
    }

    /// Options whose value is a number of which no text may be outside its range. Every option of every command that takes
    /// one is tried, so that a new one cannot be forgotten.
    #[test]
    fn no_option_takes_what_is_no_number_of_its_kind() {
        /// Whole numbers for which 0 has a meaning.
        const FROM_ZERO: [&str; 7] =
            ["seed", "validation", "crop-padding", "reestimate", "choose-after", "warm-up", "image-cache"];
        let cli = Cli::command();
        let mut tried = 0;
        let mut pending: Vec<(Vec<String>, &clap::Command)> = vec![(vec!["lrpet".to_owned()], &cli)];
        while let Some((words, command)) = pending.pop() {
            for sub in command.get_subcommands() {
                pending.push(([&words[..], &[sub.get_name().to_owned()]].concat(), sub));
            }
            for argument in command.get_arguments() {
                let Some(name) = argument.get_long().filter(|_| argument.get_action().takes_values()) else {
                    continue;
                };
                // An option of numbers takes "0.5" or "7" and refuses a word.
                let refused = |value: &str| {
                    let line = words.iter().cloned().chain([format!("--{name}={value}")]);
                    let error = Cli::try_parse_from(line).err().map(|error| error.to_string());
                    error.is_some_and(|error| error.contains("invalid value"))
                };
                let numeric = refused("a word") && !(refused("0.5") && refused("7"));
                if !numeric {
                    continue;
                }
                tried += 1;
                for value in ["nan", "inf", "-inf", "-1", "-0.5", "1e999"] {
                    assert!(refused(value), "{} --{name} takes {value}", words.join(" "));
                }
                // Behind a blank a negative number is a number too, and no option.
                for value in ["-1", "-0.5"] {
                    let line = words.iter().cloned().chain([format!("--{name}"), value.to_owned()]);
                    let error = Cli::parsed(line).err().map(|error| error.to_string()).unwrap_or_default();
                    assert!(error.contains("invalid value"), "{} --{name} {value}: {error}", words.join(" "));
                }
                if refused("0.5") && !FROM_ZERO.contains(&name) {
                    assert!(refused("0"), "{} --{name} takes 0", words.join(" "));
                }
            }
        }
        assert!(tried > 40, "{tried} numeric options");
    }
}
