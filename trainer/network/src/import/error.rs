//! Why a file cannot be imported.

use std::fmt;
use std::path::PathBuf;

/// Why a node is refused, in words.
pub(crate) type Reason = String;

/// A node that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    /// Its name in the file, or that of its first result.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// What is wrong with it, with the attribute or input that it is about.
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`: {}", self.operator, self.node, self.reason)
    }
}

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no ONNX, or breaks its rules.
    #[error("{path}: {reason}", path = .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Some of its nodes cannot be imported: all of them that were found.
    #[error("{path}: {reason}", path = .path.display(), reason = self.reason())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The nodes, in the file's order.
        nodes: Vec<Refused>,
    },
}

impl ImportError {
    /// What is wrong, without the file's name.
    pub fn reason(&self) -> String {
        match self {
            ImportError::Io { source, .. } => source.to_string(),
            ImportError::Broken { reason, .. } => reason.clone(),
            ImportError::Refused { nodes, .. } => {
                format!("{} of its nodes cannot be imported:{}", nodes.len(), list(nodes))
            }
        }
    }
}

/// One line a node; those with the same reason once, with their number.
fn list(nodes: &[Refused]) -> String {
    const SHOWN: usize = 40;
    let mut reasons: Vec<(&Refused, usize)> = Vec::new();
    for node in nodes {
        let same = |of: &&mut (&Refused, usize)| of.0.operator == node.operator && of.0.reason == node.reason;
        match reasons.iter_mut().find(same) {
            Some((_, count)) => *count += 1,
            None => reasons.push((node, 1)),
        }
    }
    let mut text = String::new();
    for (node, count) in reasons.iter().take(SHOWN) {
        text += &format!("\n  {node}");
        if *count > 1 {
            text += &format!(" (and {} more like it)", count - 1);
        }
    }
    if reasons.len() > SHOWN {
        text += &format!("\n  and {} other reasons", reasons.len() - SHOWN);
    }
    text
}
