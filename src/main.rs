//! The program `service-gateway`: see `service-gateway --help`.

fn main() -> std::process::ExitCode {
    // Not a command for people: the process between a worker and its program, see `gateway_worker::guard`.
    if let Some(code) = service_gateway::guard_main() {
        return code;
    }
    service_gateway::cli::run()
}
