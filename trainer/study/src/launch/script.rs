//! The script of a job array.

use std::fmt::Write;

use super::Task;

/// A script that runs task `$SLURM_ARRAY_TASK_ID` of `tasks`, on the cores that Slurm gives it.
pub(super) fn script(tasks: &[&Task]) -> String {
    let mut text = String::from(
        "#!/bin/bash\n# Written by `lrpet`: one task for each run.\n\
         export RAYON_NUM_THREADS=\"${RAYON_NUM_THREADS:-${SLURM_CPUS_ON_NODE:-0}}\"\n\
         case \"$SLURM_ARRAY_TASK_ID\" in\n",
    );
    for (index, task) in tasks.iter().enumerate() {
        let words: Vec<String> = task.command.iter().map(|word| quoted(word)).collect();
        let log = quoted(&task.log.to_string_lossy());
        let _ = writeln!(text, "{index}) log={log}; set -- {} ;;", words.join(" "));
    }
    // In place of the shell, so that Slurm's signals reach the program.
    text.push_str("*) exit 64 ;;\nesac\nexec \"$@\" >> \"$log\" 2>&1 < /dev/null\n");
    text
}

/// `word` for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_runs_the_task_that_is_asked_for_with_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("it's a $HOME.log");
        let words = ["printf", "[%s]", "a b", "it's", "$HOME", "\"", "`id`", "*", "", "\\"];
        let task = |name: &str, words: &[&str]| Task {
            name: name.to_owned(),
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            log: log.clone(),
            done: folder.path().join("done"),
            progress: folder.path().join("progress"),
        };
        let (other, wanted) = (task("other", &["false"]), task("wanted", &words));
        let file = folder.path().join("script");
        std::fs::write(&file, script(&[&other, &wanted])).unwrap();
        let run = |index: &str| {
            let mut command = Command::new("bash");
            command.arg(&file).env("SLURM_ARRAY_TASK_ID", index).status().unwrap().code()
        };
        assert_eq!(run("1"), Some(0));
        let expected: String = words[2..].iter().map(|word| format!("[{word}]")).collect();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), expected);
        assert_eq!((run("0"), run("7")), (Some(1), Some(64)));
    }
}
