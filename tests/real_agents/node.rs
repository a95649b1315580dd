//! Node, in which most agents are written.

use support::frozen::output_behind_a_frozen_keeper;
use support::{Server, assert_same_bytes, node};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn output_survives_process_exit_and_a_frozen_keeper() {
    node::install().await;
    let server = Server::start().await;
    let program = "process.stdout.write('n'.repeat(1024 * 1024 - 1) + '\\n'); process.exit(0)";
    let node = node::programs().join("node");
    let output = output_behind_a_frozen_keeper(&server, &format!("exec {} -e \"{program}\"", node.display())).await;
    let mut expected = vec![b'n'; MIB];
    expected[MIB - 1] = b'\n';
    assert_same_bytes("/output", &output, &expected);
}
