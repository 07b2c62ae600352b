//! The guard as a program of its own; see `gateway_worker::guard`.

fn main() -> std::process::ExitCode {
    gateway_worker::guard::main(std::env::args_os().skip(1))
}
