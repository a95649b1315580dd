//! Programs that a test runs to their ends, which have to come.

use std::process::{Child, Command, Output, Stdio};

use super::{procs, wait_until_blocking};

/// Ends a program that a test gives up.
struct Ended(i32, bool);

impl Drop for Ended {
    fn drop(&mut self) {
        if !self.1 {
            procs::signal(self.0, "KILL");
        }
    }
}

/// Waits for the end of a program; answers what it wrote.
pub fn output_of(what: &str, child: Child) -> Output {
    let mut ended = Ended(child.id().try_into().unwrap(), false);
    let waiter = std::thread::spawn(|| child.wait_with_output());
    wait_until_blocking(&format!("the end of {what}"), || waiter.is_finished());
    ended.1 = true;
    waiter.join().unwrap().unwrap()
}

/// Runs a program to its end; answers what it wrote.
pub fn run(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    output_of(&format!("{command:?}"), child)
}

/// Waits for the end of a program; answers its exit code.
pub fn exit_code(what: &str, child: &mut Child) -> Option<i32> {
    let what = format!("the end of {what}");
    wait_until_blocking(&what, || child.try_wait().unwrap()).code()
}
