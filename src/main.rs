//! The `grantgate` program: everything it does is in the library.

fn main() -> std::process::ExitCode {
    grantgate::cli::main()
}
