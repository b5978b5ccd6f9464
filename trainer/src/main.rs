//! The command line `lrpet`.

fn main() {}
