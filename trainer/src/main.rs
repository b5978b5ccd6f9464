//! The command line `lrpet`: arguments in, one result out. The work is done by the crates in this folder.

mod commands;
mod messages;

use std::process::ExitCode;

/// Training makes and drops large tensors at every step; mimalloc keeps their pages, where the system's allocator
/// would return them to the kernel and fault them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = commands::Cli::parsed(std::env::args_os()).unwrap_or_else(|error| error.exit());
    messages::start();
    lrpet_report::built_from(env!("LRPET_REVISION"));
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", lrpet_report::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
