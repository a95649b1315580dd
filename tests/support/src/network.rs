//! A network of its own for a server, which can be cut off and comes back with other neighbours, as after a resume.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::require_program;

/// A network namespace with one wire to the outside.
///
/// | | outside | inside |
/// |---|---|---|
/// | callers of the server | `.1`, after the cut `.3` | `.2` |
/// | whom the server calls | `.65` | `.66` |
pub struct Network {
    name: String,
    prefix: String,
    cut: Arc<watch::Sender<()>>,
    /// Connections that are passed on just now.
    passed_on: Arc<AtomicUsize>,
}

impl Network {
    /// Lays the wire, for which one has to be root.
    pub fn lay() -> Self {
        require_program("ip", "iproute2");
        let (number, network) = (0..=255).find_map(Self::take).unwrap_or_else(|| {
            let why = ip(&["netns", "add", "promptd-probe"]).expect_err("256 networks are in use");
            panic!("a network namespace cannot be made, which needs root: {why}")
        });
        let (outside, inside) = (format!("pd{number}o"), format!("pd{number}i"));
        let (name, prefix) = (&network.name, &network.prefix);
        // Of a test that was killed.
        let _old = ip(&["link", "del", &outside]);
        for line in [
            format!("link add {outside} type veth peer name {inside} netns {name}"),
            format!("addr add {prefix}.1/26 dev {outside}"),
            format!("addr add {prefix}.65/26 dev {outside}"),
            format!("link set {outside} up"),
            format!("-n {name} addr add {prefix}.2/26 dev {inside}"),
            format!("-n {name} addr add {prefix}.66/26 dev {inside}"),
            format!("-n {name} link set {inside} up"),
            format!("-n {name} link set lo up"),
        ] {
            do_ip(&line);
        }
        network
    }

    /// The network of a number, where nobody else has it.
    fn take(number: u32) -> Option<(u32, Self)> {
        let name = format!("promptd{number}");
        // The name is the lock: whoever adds it has the number.
        ip(&["netns", "add", &name]).ok()?;
        let network = Self {
            name,
            prefix: format!("10.201.{number}"),
            cut: Arc::new(watch::Sender::new(())),
            passed_on: Arc::default(),
        };
        Some((number, network))
    }

    /// What runs a program inside.
    pub fn runner(&self) -> Vec<&str> {
        vec!["ip", "netns", "exec", &self.name]
    }

    /// Where a server inside is called.
    pub fn inside(&self) -> String {
        format!("{}.2", self.prefix)
    }

    /// Brings what listens on a port of 127.0.0.1 within reach of those inside; answers where.
    pub async fn reach(&self, port: u16) -> SocketAddr {
        let listener = TcpListener::bind(format!("{}.65:0", self.prefix)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, passed_on) = (Arc::clone(&self.cut), Arc::clone(&self.passed_on));
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                passed_on.fetch_add(1, Ordering::SeqCst);
                let (cut, passed_on) = (cut.subscribe(), Arc::clone(&passed_on));
                tokio::spawn(async move {
                    pass_on(caller, port, cut).await;
                    passed_on.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        address
    }

    /// Cuts the wire, and ends the connections that went over it outside; nobody inside hears of it.
    pub async fn cut_off(&self) {
        do_ip(&format!("link set {} down", self.outside()));
        self.cut.send_replace(());
        super::wait_until("the end of what was passed on", || {
            self.passed_on.load(Ordering::SeqCst) == 0
        })
        .await;
    }

    /// Lays it anew: the callers' address is another one now, so that whatever is sent to the old one goes nowhere. Ends
    /// when those inside come through to what is within [`Self::reach`]: a first packet that is lost because the link is
    /// not quite up is sent again a second later only.
    pub async fn come_back_elsewhere(&self, reached: SocketAddr) {
        let (outside, prefix) = (self.outside(), &self.prefix);
        do_ip(&format!("addr del {prefix}.1/26 dev {outside}"));
        do_ip(&format!("addr add {prefix}.3/26 dev {outside}"));
        do_ip(&format!("link set {outside} up"));
        let connect = format!(": </dev/tcp/{}/{}", reached.ip(), reached.port());
        let comes_through = || ip(&["netns", "exec", &self.name, "timeout", "1", "bash", "-c", &connect]).is_ok();
        super::wait_until("a link that is up", comes_through).await;
    }

    /// How many connections with the callers' old address are open inside.
    pub fn left_inside(&self) -> usize {
        self.open_inside(1).len()
    }

    /// Whether those inside have nothing to say any more to whom they called: all has arrived.
    pub fn has_all_arrived(&self) -> bool {
        self.open_inside(65)
            .iter()
            .all(|queues| queues.starts_with("00000000:"))
    }

    /// What waits to be sent and to be read, for each open connection with an address outside.
    fn open_inside(&self, outside: u8) -> Vec<String> {
        let words = format!("netns exec {} cat /proc/net/tcp", self.name);
        let table = ip(&words.split(' ').collect::<Vec<_>>()).unwrap();
        let address: std::net::Ipv4Addr = format!("{}.{outside}", self.prefix).parse().unwrap();
        // The kernel prints the four bytes as one number of this machine.
        let remote = format!("{:08X}:", u32::from_ne_bytes(address.octets()));
        let open = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let wanted = fields.get(2)?.starts_with(&remote) && *fields.get(3)? == "01";
            wanted.then(|| fields.get(4).map(|queues| (*queues).to_owned()))?
        };
        table.lines().filter_map(open).collect()
    }

    fn outside(&self) -> String {
        format!("pd{}o", self.name.trim_start_matches("promptd"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // By itself it would go only when the last connection inside is forgotten.
        let _gone = ip(&["link", "del", &self.outside()]);
        let _gone = ip(&["netns", "del", &self.name]);
    }
}

async fn pass_on(mut caller: TcpStream, port: u16, mut cut: watch::Receiver<()>) {
    let Ok(mut called) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    tokio::select! {
        _over = copy_bidirectional(&mut caller, &mut called) => {}
        // The word of it is lost with the wire: nobody tells those inside.
        _cut = cut.changed() => caller.set_zero_linger().unwrap(),
    }
}

fn do_ip(line: &str) {
    let words: Vec<_> = line.split(' ').collect();
    ip(&words).unwrap_or_else(|error| panic!("ip {line}: {error}"));
}

fn ip(words: &[&str]) -> Result<String, String> {
    let output = Command::new("ip")
        .args(words)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
