//! What to do where the folder holds a run with other settings.

use std::path::Path;

use anyhow::{Error, anyhow};
use lrpet_train::{FINAL, LAST, TrainError};

use super::super::line;

/// `error` of a run in the folder `out`; with the command that does what was probably meant, where it is about another run.
pub(super) fn with_advice(error: TrainError, out: &Path) -> Error {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match advice(&error, &words, out) {
        Some(advice) => anyhow!("{error}. {advice}"),
        None => error.into(),
    }
}

/// The advice, where `words` were given behind the program's name.
fn advice(error: &TrainError, words: &[String], out: &Path) -> Option<String> {
    let TrainError::OtherRun { setting, theirs, ours, .. } = error else { return None };
    if let ("epochs", Ok(before), Ok(wanted)) = (&**setting, theirs.parse::<usize>(), ours.parse::<usize>()) {
        // Epochs that were wanted for a run that was made longer already are those of --extend.
        let longer =
            option(words, "--extend").and_then(|text| text.parse().ok()).unwrap_or(wanted).max(wanted);
        let same = changed(words, "--epochs", Some(&before.to_string()));
        return Some(if longer > before {
            let longer = changed(&same, "--extend", Some(&longer.to_string()));
            format!("To make the run longer: {}", line(&longer))
        } else {
            format!("A run cannot be made shorter. To go on as it was: {}", line(&same))
        });
    }
    if ["classes", "class names"].contains(&&**setting) {
        return Some(other_classes(words, out));
    }
    // A run keeps what decides its result; its weights can be trained on with anything else, but of the same network.
    let weights = [FINAL, LAST].map(|name| out.join(name)).into_iter().find(|path| path.exists());
    let Some(weights) = weights.filter(|_| !["network", "input", "classes", "init"].contains(&&**setting))
    else {
        return Some("Give the same again, or another --out".to_owned());
    };
    let mut next = out.as_os_str().to_owned();
    next.push("-2");
    let mut words = changed(words, "--extend", None);
    words.retain(|word| word != "--resume");
    words = changed(&words, "--init", Some(&weights.to_string_lossy()));
    words = changed(&words, "--out", Some(&next.to_string_lossy()));
    Some(format!("To train its weights on with this setting, as a run of its own: {}", line(&words)))
}

/// A folder has other classes than the run was begun with.
fn other_classes(words: &[String], out: &Path) -> String {
    let data = option(words, "--data").unwrap_or("the data");
    let mut text = format!(
        "Class folders were added to {}, taken away or renamed since; the run goes on with those that it began with",
        lrpet_report::visible(data)
    );
    let Some(weights) = [FINAL, LAST].map(|name| out.join(name)).into_iter().find(|path| path.exists())
    else {
        return text;
    };
    let mut next = out.as_os_str().to_owned();
    next.push("-2");
    let mut words = changed(words, "--extend", None);
    words.retain(|word| word != "--resume" && word != "--new-head");
    words = changed(&words, "--init", Some(&weights.to_string_lossy()));
    words = changed(&words, "--out", Some(&next.to_string_lossy()));
    words.push("--new-head".to_owned());
    text.push_str(&format!(
        ". To train its weights on for the new ones, as a run of its own: {}",
        line(&words)
    ));
    text
}

/// The value of an option.
fn option<'w>(words: &'w [String], name: &str) -> Option<&'w str> {
    let at = words.iter().position(|word| word == name || word.starts_with(&format!("{name}=")))?;
    words[at].strip_prefix(&format!("{name}=")).or_else(|| words.get(at + 1).map(String::as_str))
}

/// The words with the option `name` set to a value, in its old place if it had one, or without it.
fn changed(words: &[String], name: &str, value: Option<&str>) -> Vec<String> {
    let prefix = format!("{name}=");
    let mut out = Vec::new();
    let mut value = value.map(|value| [name.to_owned(), value.to_owned()]);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word != name && !word.starts_with(&prefix) {
            out.push(word.clone());
            continue;
        }
        if word == name {
            rest.next();
        }
        out.extend(value.take().into_iter().flatten());
    }
    out.extend(value.into_iter().flatten());
    out
}

#[cfg(test)]
mod tests {
    use super::super::super::Cli;
    use super::*;
    use clap::Parser;

    fn advised(setting: &str, theirs: &str, ours: &str, words: &str, out: &Path) -> Vec<String> {
        let error = TrainError::OtherRun {
            path: out.join(LAST),
            setting: setting.to_owned(),
            theirs: theirs.to_owned(),
            ours: ours.to_owned(),
        };
        let words: Vec<String> = words.split(' ').map(|word| word.replace('~', " ")).collect();
        let advice = advice(&error, &words, out).unwrap();
        let (_, command) = advice.rsplit_once(": lrpet ").unwrap();
        let command = shlex::split(&format!("lrpet {command}")).unwrap();
        Cli::try_parse_from(&command).unwrap();
        command
    }

    #[test]
    fn the_advised_command_does_what_was_meant() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        let base = "train --net resnet8 --data my~photos";
        let with = |more: &str| format!("{base} --out {} --resume {more}", out.display());
        for (more, extend) in
            [("--epochs 60", "60"), ("--epochs=60", "60"), ("--epochs 60 --extend 90", "90")]
        {
            let command = advised("epochs", "30", "60", &with(more), out);
            assert_eq!(option(&command, "--epochs"), Some("30"));
            assert_eq!(option(&command, "--extend"), Some(extend));
            assert!(command.contains(&"--resume".to_owned()) && command.contains(&"my photos".to_owned()));
        }
        // Without a word about epochs 30 are meant.
        let command = advised("epochs", "10", "30", &with("--lr 0.1"), out);
        assert_eq!([option(&command, "--epochs"), option(&command, "--extend")], [Some("10"), Some("30")]);
        let command = advised("epochs", "60", "30", &with("--epochs 30"), out);
        assert_eq!([option(&command, "--epochs"), option(&command, "--extend")], [Some("60"), None]);

        std::fs::write(out.join(LAST), "").unwrap();
        let other = TrainError::OtherRun {
            path: out.join(LAST),
            setting: "network".to_owned(),
            theirs: "resnet8".to_owned(),
            ours: "resnet20".to_owned(),
        };
        assert!(advice(&other, &[], out).unwrap().ends_with("another --out"));
        let command = advised("classes", "3", "4", &with("--lr 0.1"), out);
        assert_eq!(option(&command, "--init"), out.join(LAST).to_str());
        assert!(command.contains(&"--new-head".to_owned()) && !command.contains(&"--resume".to_owned()));
        let command = advised("batch", "128", "64", &with("--batch 64"), out);
        assert_eq!(option(&command, "--init"), out.join(LAST).to_str());
        assert_eq!(option(&command, "--out"), Some(&*format!("{}-2", out.display())));
        assert!(!command.contains(&"--resume".to_owned()) && option(&command, "--batch") == Some("64"));
        std::fs::write(out.join(FINAL), "").unwrap();
        let command = advised("batch", "128", "64", &with("--batch 64 --init old.safetensors"), out);
        assert_eq!(option(&command, "--init"), out.join(FINAL).to_str());
    }
}
