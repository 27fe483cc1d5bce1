//! The program `keyfob`: everything it does is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything can make a TLS connection. It fails only when one is installed already, which is just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    keyfob::cli::run(std::env::args_os()).into()
}
