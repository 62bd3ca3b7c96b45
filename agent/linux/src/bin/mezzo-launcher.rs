//! `mezzo-launcher`: one container's process, from "go" to its wait status. See `mezzo_linux::launcher`.

fn main() -> std::process::ExitCode {
    mezzo_linux::launcher::run()
}
