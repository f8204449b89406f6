//! A network of a story's own with another machine in it: the node stands at 1.2.3.1 and 2a00:1::1, and
//! beside it is a far machine at public addresses (1.2.3.4, 2a00:1::4), at private ones and at that of
//! metadata services.

use crate::{Home, wait_until};

const NETWORK: &str = r#"
ip link set lo up
ip link add near type veth peer name far
unshare --net sleep infinity & far=$!
while [ "$(readlink /proc/$far/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
ip link set far netns $far
ip addr add 1.2.3.1/24 dev near
ip -6 addr add 2a00:1::1/64 dev near nodad
ip link set near up
nsenter -t $far -n sh -euc '
    ip link set lo up
    for address in 1.2.3.4/24 10.0.0.9/32 192.168.0.9/32 172.16.0.9/32 100.64.0.9/32 169.254.169.254/32
    do ip addr add $address dev far; done
    ip -6 addr add 2a00:1::4/64 dev far nodad
    ip -6 addr add fd00::9/128 dev far nodad
    ip link set far up'
for net in 10.0.0.0/8 192.168.0.0/16 172.16.0.0/12 100.64.0.0/10 169.254.169.254/32
do ip route add $net via 1.2.3.4; done
ip -6 route add fd00::/16 via 2a00:1::4
mount -t tmpfs tmpfs /mnt
"#;

impl Home {
    /// Gives it that network and no other, with this as its `/etc/hosts`. `servers` is a shell script
    /// that starts what serves there, in the background; `$far` is a process of the far machine, and
    /// `/mnt` a directory for files. Returns when they have said all of `signs`.
    #[must_use]
    #[track_caller]
    pub fn beside_a_far_machine(self, hosts: &str, servers: &str, signs: &[&str]) -> Self {
        let script = format!(
            "{NETWORK}\ncat > /mnt/hosts <<'HOSTS'\n{hosts}\nHOSTS\n\
             mount --bind /mnt/hosts /etc/hosts\n{servers}\necho ready"
        );
        let home = self.in_own_network(&script);
        wait_until(60, "the far machine serves", || {
            let said = home.network_says();
            signs.iter().all(|sign| said.contains(sign))
        });
        home
    }
}
