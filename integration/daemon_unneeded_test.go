package integration

// unneeded are the rules of the daemons' profiles that no daemon needs at its work in a guest, and why the profiles have them all
// the same. Ahead of a rule are the names of the profiles that have it, with commas between them, or a star for the rules that a daemon's
// profile and all of its children have.
//
// What is in the records of testdata/recorded, beside the templates, was done by other versions or in other tests.
var unneeded = []struct {
	why       string
	sometimes bool   // they may be needed: it depends on what else a node has
	rules     string // a line each
}{
	{why: "whether it is read depends on how a program was built, and on what files its node has", sometimes: true, rules: `
		* /usr/share/zoneinfo/** r
		* /sys/kernel/mm/transparent_hugepage/hpage_pmd_size r
		* /sys/fs/cgroup/{,**/}cpu.max r
	`},
	{why: "a debugger that is not confined", rules: `
		* ptrace (readby,tracedby)
	`},
	{why: "nodes that have systemd-resolved, systemd-userdbd or nscd", rules: `
		containerd,containerd//cni,containerd//firewall,dockerd//ps,dockerd//git,dockerd//firewall /run/{systemd/resolve,resolvconf,NetworkManager}/{,stub-}resolv.conf r
		containerd,containerd//cni,containerd//firewall,dockerd//ps,dockerd//git,dockerd//firewall /{etc,run,usr/lib}/userdb/{,**} r
		containerd,containerd//cni,containerd//firewall,dockerd//ps,dockerd//git,dockerd//firewall /run/systemd/userdb/{,*} rw
		containerd,containerd//cni,containerd//firewall,dockerd//ps,dockerd//git,dockerd//firewall /run/systemd/resolve/io.systemd.Resolve rw
		containerd,containerd//cni,containerd//firewall,dockerd//ps,dockerd//git,dockerd//firewall /run/nscd/socket rw
		containerd,containerd//cni,containerd//firewall,dockerd//ps,dockerd//git,dockerd//firewall /proc/sys/kernel/random/boot_id r
	`},
	{why: "names of hosts and services in what a plugin or a rule of the firewall is given", sometimes: true, rules: `
		containerd//cni,containerd//firewall,dockerd//firewall /etc/{nsswitch.conf,passwd,group,hosts,host.conf,gai.conf,resolv.conf,protocols,services,networks} r
		containerd//firewall,dockerd//firewall network inet dgram
		containerd//firewall,dockerd//firewall network inet6 dgram
	`},
	{why: "registries, which no guest reaches, also those that have an IPv6 address only", rules: `
		containerd /etc/ssl/{,openssl.cnf,certs/{,**}} r
		containerd /etc/pki/{tls,ca-trust}/{,**} r
		containerd /usr/{,local/}share/ca-certificates/{,**} r
		containerd network inet6 stream
		containerd network inet dgram
		containerd network inet6 dgram
	`},
	{why: "a program that does not end when its daemon gives up is killed", rules: `
		containerd signal (send) peer=containerd//*
		containerd signal (send) set=(term,kill) peer={runc,crun}
		containerd//unpack,containerd//mkfs,containerd//cni,containerd//apparmor_parser signal (receive) peer=containerd
		containerd//firewall signal (receive) peer=containerd{,//cni}
		containerd//modprobe signal (receive) peer=containerd{,//*}
		dockerd signal (send) set=(term,kill) peer={runc,crun}
		dockerd signal (send) set=(exists,kill) peer={[^u]**,u{,[^n]**},un{,[^c]**}}
		dockerd//docker-init,dockerd//ps,dockerd//unpack,dockerd//git,dockerd//qemu-check,dockerd//apparmor_parser signal (receive) peer=dockerd
		dockerd//firewall signal (receive) peer=dockerd{,//cni}
		dockerd//modprobe signal (receive) peer=dockerd{,//*}
	`},
	{why: "modules of the kernel that are not loaded; a kernel in user mode has what is needed built in", sometimes: true, rules: `
		containerd,dockerd @{programs}/{kmod,modprobe} Cx -> modprobe
		containerd//cni,containerd//firewall @{programs}/{kmod,modprobe} Px -> containerd//modprobe
		dockerd//firewall @{programs}/{kmod,modprobe} Px -> dockerd//modprobe
		containerd//modprobe,dockerd//modprobe @{programs}/{kmod,modprobe} mr
		containerd//modprobe,dockerd//modprobe /{etc,run,lib,usr/lib,usr/local/lib}/{modprobe,depmod}.d/{,**} r
		containerd//modprobe,dockerd//modprobe /{,usr/}lib/modules/*/modules.* r
		containerd//modprobe,dockerd//modprobe /{,usr/}lib/modules/*/{kernel,updates{,/dkms}}/{arch/*/crypto,crypto,drivers/net,fs,lib,net}/** r
		containerd//modprobe,dockerd//modprobe /sys/module/** r
		containerd//modprobe,dockerd//modprobe /proc/{cmdline,modules} r
		containerd//modprobe,dockerd//modprobe capability sys_module
	`},
	{why: "a firewall: a kernel in user mode cannot translate addresses, iptables has two backends, and nft and ipset are of other versions",
		sometimes: true, rules: `
		dockerd @{programs}/{nft,ipset} Cx -> firewall
		dockerd//firewall @{programs}/{nft,ipset} mr
		dockerd//firewall /run/xtables.lock rwk
		dockerd//firewall /etc/ethertypes r
		dockerd//firewall /proc/[0-9]*/net/ip{,6}_tables_{matches,names,targets} r
		dockerd//firewall /proc/sys/kernel/modprobe r
		dockerd//firewall /proc/sys/net/** r
		dockerd//firewall capability net_raw
		dockerd//firewall network inet raw
		dockerd//firewall network inet6 raw
	`},
	{why: "firewalld, where it runs", rules: `
		dockerd dbus bus=system peer=(name=org.freedesktop.DBus)
		dockerd dbus bus=system peer=(name=org.fedoraproject.FirewallD1)
		dockerd dbus (receive) bus=system
	`},
	{why: "other plugins for networks than those of the guest's pods, which need no firewall", rules: `
		containerd//cni @{programs}/{x,}tables-*-multi Px -> containerd//firewall
		containerd//cni @{programs}/{nft,ipset} Px -> containerd//firewall
		containerd//cni /etc/cni/{,**} r
		containerd//cni /sys/{class,devices/virtual}/net/** rw
		containerd//cni capability net_raw
		containerd//cni network inet dgram
		containerd//cni network inet6 dgram
		containerd//cni network inet6 raw
		containerd//cni network packet
		containerd//firewall @{programs}/{x,}tables-*-multi mrix
		containerd//firewall @{programs}/{nft,ipset} mr
		containerd//firewall /run/xtables.lock rwk
		containerd//firewall /etc/ethertypes r
		containerd//firewall /proc/[0-9]*/net/ip{,6}_tables_{matches,names,targets} r
		containerd//firewall /proc/sys/kernel/modprobe r
		containerd//firewall /proc/sys/net/** r
		containerd//firewall capability net_admin
		containerd//firewall capability net_raw
		containerd//firewall network inet raw
		containerd//firewall network inet6 raw
		containerd//firewall network netlink raw
	`},
	{why: "programs that unpack faster than the daemon itself, which are taken where they are installed", sometimes: true, rules: `
		containerd @{programs}/{unpigz,pigz,gzip,igzip} Cx -> unpack
		containerd//unpack @{programs}/{unpigz,pigz,gzip,igzip} mr
		dockerd @{programs}/{xz,unpigz,pigz,gzip} Cx -> unpack
		dockerd//unpack @{programs}/{xz,unpigz,pigz,gzip} mr
	`},
	{why: "the snapshotters blockfile, devmapper and erofs, which nobody has chosen", rules: `
		containerd @{programs}/{mkfs.ext4,mke2fs,mkfs.erofs} Cx -> mkfs
		containerd//mkfs @{programs}/{mkfs.ext4,mke2fs,mkfs.erofs} mr
		containerd//mkfs /etc/mke2fs.conf r
		containerd//mkfs @{data}/** rwk
		containerd//mkfs /proc/{swaps,[0-9]*/mounts} r
	`},
	{why: "the part that dockerd has too, which asks a runtime for its version", rules: `
		containerd @{programs}/{runc,crun,youki} PUx
	`},
	{why: "directories that a new node does not have, or that Debian's containerd has elsewhere (recorded)", sometimes: true, rules: `
		containerd /{etc/cni/,etc/cni/net.d/,etc/nri/,opt/nri/**/} w
		containerd /opt/containerd/{,**} rw
	`},
	{why: "checkpoints (recorded), and files that other versions have in /tmp", rules: `
		containerd /{tmp,var/tmp}/ r
		containerd mount -> /{tmp,var/tmp}/{containerd,ctd-volume}*/
		containerd umount /{tmp,var/tmp}/{containerd,ctd-volume}*/
	`},
	{why: "devices by CDI, and containers that get all devices", rules: `
		containerd /run/cdi/{,**} r
		containerd /dev/{,**/} r
	`},
	{why: "logs and files that a kubelet names; none runs in this guest", rules: `
		containerd /var/log/{pods,containers}/{,**} rw
		containerd /var/lib/kubelet/{,**} r
	`},
	{why: "pods with a user namespace", rules: `
		containerd capability setgid
		containerd capability setuid
		containerd capability sys_ptrace
		containerd ptrace (read) peer={runc,crun}
	`},
	{why: "settings of containerd: oom_score, and a cgroup of its own; and user namespaces' maps", rules: `
		containerd /proc/[0-9]*/{oom_score_adj,setgroups,uid_map,gid_map} rw
		containerd /sys/fs/cgroup/** w
		containerd capability sys_resource
	`},
	{why: "the addresses of pods in their statistics (recorded)", rules: `
		containerd capability net_admin
		containerd network netlink raw
	`},
	{why: "images with files of other users, devices and capabilities; all but the last recorded", rules: `
		containerd capability chown
		containerd capability dac_override
		containerd capability fowner
		containerd capability fsetid
		containerd capability mknod
		containerd capability setfcap
	`},
	{why: "dockerd may have started containerd", rules: `
		containerd signal (receive) peer=dockerd
		dockerd @{programs}/containerd Px -> containerd
	`},
	{why: "images of so many layers that dockerd executes itself to mount them", rules: `
		dockerd @{programs}/dockerd mrix
	`},
	{why: "images that containerd has, of which another test is, and BuildKit (recorded)", rules: `
		dockerd mount fstype=overlay -> /tmp/containerd-mount*/
		dockerd umount /tmp/containerd-mount*/
		dockerd//qemu-check @{data}/tmp/qemu-check*/check mr
		dockerd//qemu-check /check mr
		dockerd//qemu-check /dev/null rw
	`},
	{why: "nodes with other cgroups, kernels and limits; BuildKit reads the pressure (recorded)", sometimes: true, rules: `
		dockerd /proc/{cgroups,cmdline,modules,mounts,pressure/*,swaps,version} r
		dockerd /proc/sys/kernel/keys/root_max{keys,bytes} w
	`},
	{why: "networks with IPv6", sometimes: true, rules: `
		dockerd network inet6 dgram
		dockerd network inet6 raw
		dockerd//docker-proxy network inet6 dgram
	`},
	{why: "dockerd opens the port for its proxy since version 28", rules: `
		dockerd//docker-proxy capability net_bind_service
	`},
	{why: "processes with a terminal, those of other users, and other columns of ps", sometimes: true, rules: `
		dockerd//ps /proc/{uptime,tty/drivers} r
		dockerd//ps capability sys_ptrace
	`},
	{why: "builds from a repository, for which a guest has no git", rules: `
		dockerd @{programs}/git Cx -> git
		dockerd//git /etc/{nsswitch.conf,passwd,group,hosts,host.conf,gai.conf,resolv.conf,protocols,services,networks} r
		dockerd//git /etc/ssl/{,openssl.cnf,certs/{,**}} r
		dockerd//git /etc/pki/{tls,ca-trust}/{,**} r
		dockerd//git /usr/{,local/}share/ca-certificates/{,**} r
		dockerd//git @{programs}/{git,git-*,gpg,ssh} mrix
		dockerd//git /usr/lib/git-core/** mrix
		dockerd//git /usr/share/git-core/** r
		dockerd//git /etc/{gitconfig,ssh/**} r
		dockerd//git owner /{root,home/*}/{.gitconfig,.config/git/**,.ssh/**} r
		dockerd//git @{data}/{,**} rwlk
		dockerd//git owner /tmp/{,**} rwlk
		dockerd//git network inet stream
		dockerd//git network inet6 stream
		dockerd//git network inet dgram
		dockerd//git network inet6 dgram
		dockerd//git network netlink raw
	`},
}
