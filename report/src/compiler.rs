//! What a program can say of its own making.

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

/// Revision of the sources from which the program that calls this was built, `-dirty` where they differed from it; none where
/// they were in no repository.
pub fn revision() -> Option<String> {
    Some(env!("LRPET_REVISION").to_owned()).filter(|revision| !revision.is_empty())
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
