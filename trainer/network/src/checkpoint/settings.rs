//! What the checkpoint of a run that goes on says of itself.

use super::Checkpoint;
use crate::network::NETWORK_FILE;

impl Checkpoint {
    /// Takes what the checkpoint of a run that goes on says among its settings for what the final weights say of themselves.
    pub(super) fn take_settings(&mut self) {
        use serde_json::Value;
        let Some(settings) = self.metadata.get("settings").filter(|_| self.of_unfinished_run()) else {
            return;
        };
        let Ok(settings) = serde_json::from_str::<Value>(settings) else { return };
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Array(values) => Some(values.iter().map(Value::to_string).collect::<Vec<_>>().join(",")),
            value => Some(value.to_string()),
        };
        let (images, projection) = (&settings["images"], &settings["projection"]);
        let listed = |ranks: &&Value| ranks.as_object().is_some_and(|ranks| !ranks.is_empty());
        let said = [
            ("network", text(&settings["network"])),
            (NETWORK_FILE, text(&settings[NETWORK_FILE])),
            ("dataset", text(&settings["dataset"])),
            ("input", text(&settings["input"]).map(|input| input.replace('×', "x"))),
            ("classes", text(&settings["classes"])),
            ("mean", text(&images["mean"])),
            ("std", text(&images["std"])),
            ("test_resize", text(&images["test_resize"])),
            ("test_share", text(&images["test_share"])),
            ("ranks", Some(&projection["ranks"]).filter(listed).and_then(text)),
            ("rule", text(&projection["rule"])),
        ];
        for (key, value) in said {
            let Some(value) = value else { continue };
            self.metadata.entry(key.to_owned()).or_insert(value);
        }
    }

    /// Whether these are the weights of a run between two epochs, which `lrpet train --resume` goes on from.
    pub fn of_unfinished_run(&self) -> bool {
        ["history", "epoch"].iter().all(|key| self.metadata.contains_key(*key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkpoint_of_a_run_says_what_its_settings_do() {
        let settings = r#"{"network":"resnet8","input":"3×96×64","classes":3,"dataset":"photos","images":{"mean":[0.5,0.25,0.1],"std":null,
        "test_resize":1.5},"projection":{"ranks":{"conv1":4},"rule":"0.5"}}"#;
        let mut checkpoint = Checkpoint::default();
        let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        checkpoint.metadata.extend([entry("settings", settings), entry("dataset", "kept")]);
        checkpoint.take_settings();
        // The settings of other files are their own affair.
        assert!(!checkpoint.of_unfinished_run() && checkpoint.metadata.len() == 2);
        checkpoint.metadata.extend([entry("history", "[]"), entry("epoch", "1")]);
        checkpoint.take_settings();
        let said = |key: &str| checkpoint.metadata.get(key).map(String::as_str);
        let keys = [
            "network",
            "input",
            "classes",
            "dataset",
            "mean",
            "test_resize",
            "ranks",
            "rule",
            "std",
            "test_share",
        ];
        let wanted =
            ["resnet8", "3x96x64", "3", "kept", "0.5,0.25,0.1", "1.5", r#"{"conv1":4}"#, "0.5"].map(Some);
        assert_eq!(keys.map(said), [&wanted[..], &[None, None]].concat()[..]);
    }
}
