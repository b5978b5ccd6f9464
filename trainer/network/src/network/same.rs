//! Which networks are the same, and where two differ.

use sha2::{Digest, Sha256};

use super::{Known, Network};

/// Key of a checkpoint's metadata with the file of its network, where that is none of the known ones.
pub const NETWORK_FILE: &str = "network_file";

/// Key of a model's card with [`Network::digest`], where the network is none of the known ones.
pub const NETWORK_DIGEST: &str = "network_digest";

impl Network {
    /// Whether it is the known network of its name, up to one ε of all its batch normalisations.
    pub fn is_known(&self) -> bool {
        let known = Known::by_name(&self.name).and_then(|known| known.build(self.input, self.classes));
        let known =
            known.map(|known| self.epsilon().map_or(known.clone(), |epsilon| known.with_epsilon(epsilon)));
        known.is_some_and(|known| known.function_text() == self.function_text())
    }

    /// The first 16 digits of the SHA-256 of [`Network::function_text`]: which network it is, in few bytes.
    pub fn digest(&self) -> String {
        let hash = Sha256::digest(self.function_text().as_bytes());
        hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The text of its file without what changes no function: what it is about, and the names of layers without weights.
    pub fn function_text(&self) -> String {
        let mut plain = Network { about: String::new(), name: String::from("-"), ..self.clone() };
        plain.output_names.clear();
        plain.layers.iter_mut().for_each(|layer| layer.label = None);
        plain.to_text()
    }
}

/// The first lines in which the files of two networks differ, with the names of their layers.
pub fn first_difference(ours: &str, theirs: &str) -> Option<(String, String)> {
    let mut layer = None;
    let (mut left, mut right) = (ours.lines(), theirs.lines());
    loop {
        let (ours, theirs) = (left.next(), right.next());
        if ours.is_none() && theirs.is_none() {
            return None;
        }
        if ours != theirs {
            let said = |line: Option<&str>| match (line, layer) {
                (None, _) => "no more layers".to_owned(),
                (Some(""), Some(layer)) => format!("{layer}: no more fields"),
                (Some(line), Some(layer)) => format!("{layer}: {line}"),
                (Some(line), None) => line.to_owned(),
            };
            return Some((said(ours), said(theirs)));
        }
        let line = ours.unwrap_or_default();
        if line.starts_with("[[") {
            layer = None;
        }
        layer = line.strip_prefix("name = ").or(layer);
    }
}
