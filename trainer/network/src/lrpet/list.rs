//! Ranks listed by layer: on the command line or in a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LrpetError;
use crate::bounded;

/// Most bytes of a list of ranks, as of a network's file.
const LARGEST: u64 = 8 << 20;

/// Ranks by name of layer, not yet held against a network ([`super::RankPlan::listed`] does).
///
/// In text: `name=rank,…`, or `dense` for none. In a file: a JSON object, or TOML with a line `name = rank` for
/// each layer (nested tables stand for the dots of a name, so quotes are not needed).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RankList {
    ranks: BTreeMap<String, u64>,
}

impl RankList {
    /// Ranks by name of layer.
    pub fn ranks(&self) -> &BTreeMap<String, u64> {
        &self.ranks
    }

    /// Reads a command line's argument: a list where it holds `=` or is `dense`, else the name of a file.
    ///
    /// # Errors
    /// [`LrpetError::List`], [`LrpetError::ListFile`].
    pub fn from_argument(argument: &str) -> Result<RankList, LrpetError> {
        if argument.contains('=') || argument.trim() == "dense" {
            argument.parse()
        } else {
            RankList::read(Path::new(argument))
        }
    }

    /// Reads a file: JSON where its name ends in `.json`, else TOML.
    ///
    /// # Errors
    /// [`LrpetError::ListFile`].
    pub fn read(path: &Path) -> Result<RankList, LrpetError> {
        let failed = |reason: String| LrpetError::ListFile { path: path.to_owned(), reason };
        let bytes = bounded::read(path, LARGEST).map_err(|error| failed(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| failed("it is no text in UTF-8".to_owned()))?;
        let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let value: Value = if json {
            serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?
        } else {
            toml::from_str(&text).map_err(|error| failed(error.to_string()))?
        };
        let mut list = RankList::default();
        list.flatten("", &value).map_err(failed)?;
        if list.ranks.is_empty() {
            return Err(failed("lists no layer".into()));
        }
        Ok(list)
    }

    /// Adds what `value` holds under the name `prefix`.
    fn flatten(&mut self, prefix: &str, value: &Value) -> Result<(), String> {
        match value {
            Value::Object(table) => table.iter().try_for_each(|(key, value)| {
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                self.flatten(&name, value)
            }),
            Value::Number(number) => match number.as_u64() {
                Some(rank) => self.add(prefix, rank),
                None => Err(format!("rank {number} of `{prefix}` is no whole number from 1")),
            },
            other => Err(format!("`{prefix}` is {other}, where a rank should be")),
        }
    }

    fn add(&mut self, name: &str, rank: u64) -> Result<(), String> {
        if rank == 0 {
            return Err(format!("rank 0 of `{name}`; leave a layer out to keep it dense"));
        }
        match self.ranks.insert(name.to_owned(), rank) {
            None => Ok(()),
            Some(_) => Err(format!("`{name}` is listed twice")),
        }
    }
}

impl From<BTreeMap<String, u64>> for RankList {
    fn from(ranks: BTreeMap<String, u64>) -> RankList {
        RankList { ranks }
    }
}

impl FromStr for RankList {
    type Err = LrpetError;

    fn from_str(text: &str) -> Result<RankList, LrpetError> {
        let mut list = RankList::default();
        if text.trim() == "dense" {
            return Ok(list);
        }
        for item in text.split(',').map(str::trim) {
            let (name, rank) = item
                .split_once('=')
                .filter(|(name, _)| !name.trim().is_empty())
                .ok_or_else(|| LrpetError::List(format!("`{item}` is not of the form name=rank")))?;
            let rank = rank.trim().parse().map_err(|_| {
                LrpetError::List(format!("rank `{}` of `{name}` is no whole number from 1", rank.trim()))
            })?;
            list.add(name.trim(), rank).map_err(LrpetError::List)?;
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_files_say_the_same() {
        let expected: RankList = "conv1=3, layer1.0.conv1=6,layer1.0.conv2 = 7,fc=4".parse().unwrap();
        assert_eq!(expected.ranks().len(), 4);
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a.json", r#"{"conv1": 3, "layer1.0.conv1": 6, "layer1": {"0": {"conv2": 7}}, "fc": 4}"#),
            ("b.toml", "conv1 = 3\nlayer1.0.conv1 = 6\n\"layer1.0.conv2\" = 7\nfc = 4\n"),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            assert_eq!(RankList::from_argument(path.to_str().unwrap()).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn bad_lists_are_refused_by_name() {
        for (text, word) in [
            ("conv1", "conv1"),
            ("=3", "=3"),
            ("conv1=0", "rank 0"),
            ("conv1=-2", "-2"),
            ("conv1=2.5", "2.5"),
            ("conv1=2,conv1=3", "twice"),
            ("conv1=2,", "name=rank"),
        ] {
            let error = text.parse::<RankList>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let dir = tempfile::tempdir().unwrap();
        for text in
            ["conv1 = 'x'", "conv1 = 1.5", "conv1 =", "", "conv1 = -1", "layer1.0.a = 1\n\"layer1.0.a\" = 2"]
        {
            let path = dir.path().join("ranks.toml");
            std::fs::write(&path, text).unwrap();
            let error = RankList::read(&path).unwrap_err().to_string();
            assert!(error.contains("ranks.toml"), "{error}");
        }
        if cfg!(unix) {
            let error = RankList::read(Path::new("/dev/zero")).unwrap_err().to_string();
            assert!(error.contains("/dev/zero") && error.contains("more than the"), "{error}");
        }
        assert!(RankList::from_argument("no-such-file").unwrap_err().to_string().contains("no-such-file"));
    }
}
