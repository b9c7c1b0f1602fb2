//! The `grantgate` program: everything it does is in the library.

/// Each core allocates and frees for itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    grantgate::cli::main()
}
