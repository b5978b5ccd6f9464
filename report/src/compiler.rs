//! What a program can say of its own making.

use std::sync::OnceLock;

use crate::run::Compiler;

impl Compiler {
    /// What compiled the program that calls this.
    pub fn of_this_program() -> Compiler {
        Compiler {
            version: env!("LRPET_RUSTC").to_owned(),
            target: env!("LRPET_TARGET").to_owned(),
            flags: env!("LRPET_FLAGS").to_owned(),
        }
    }
}

/// Instruction-set features that the program that calls this was compiled for, with commas between them.
pub fn target_features() -> &'static str {
    env!("LRPET_TARGET_FEATURES")
}

/// What [`built_from`] was told.
static PROGRAM: OnceLock<&str> = OnceLock::new();

/// Says from which revision the whole program was built (empty where that is not known): its own sources may be newer than those of
/// this crate. Only the first call says anything.
pub fn built_from(revision: &'static str) {
    let _ = PROGRAM.set(revision);
}

/// Revision of the sources from which the program that calls this was built, `-dirty` where they differed from it; none where
/// they were in no repository. Where the program did not say ([`built_from`]), that of this crate's and the runtime's sources.
pub fn revision() -> Option<String> {
    let revision = PROGRAM.get().copied().unwrap_or(env!("LRPET_REVISION"));
    Some(revision.to_owned()).filter(|revision| !revision.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_knows_its_compiler() {
        let compiler = Compiler::of_this_program();
        assert!(compiler.version.starts_with("rustc 1."), "{compiler:?}");
        assert!(compiler.target.contains('-') && compiler.flags.starts_with("opt-level="), "{compiler:?}");
    }
}
