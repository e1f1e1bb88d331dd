package profiletest

// Decided has rules of each class that Features has, in five profiles: in enforce mode with a child and hats, complain, kill,
// audit and unconfined. Tests ask what they allow.
const Decided = `abi <abi/3.0>,
profile decided flags=(attach_disconnected) {
  /srv/** r,
  owner /home/** rw,
  /var/log/** a,
  audit /var/audited rw,
  deny /srv/secret/** rwlkx,
  /usr/lib/** mr,
  /run/lock k,
  /links/plain-* rw,
  link /links/plain-* -> /srv/*,
  /links/same-* r,
  link subset /links/same-* -> /srv/*,
  link subset /links/more-* -> /srv/*,
  /links/more-* rw,
  /links/run-* ix,
  link subset /links/run-* -> /usr/bin/*,

  /usr/bin/same ix,
  /usr/bin/free Ux,
  /usr/bin/unsafe ux,
  /usr/bin/other px,
  /usr/bin/named px -> elsewhere,
  /usr/bin/child cx,
  /usr/bin/kid cx -> kid,
  /usr/bin/fallback pix,
  /usr/bin/stacked px -> &elsewhere,
  /usr/bin/both Pux -> elsewhere,
  deny /usr/bin/never x,

  change_profile -> elsewhere,
  change_profile /usr/bin/start -> second,

  capability net_bind_service,
  audit capability chown,
  deny capability sys_admin,
  network inet stream,
  network netlink raw,
  audit deny network inet6,
  mount fstype=tmpfs options=(ro,nosuid) tmpfs -> /mnt/**,
  mount options=(rw,bind) /srv/ -> /mnt/*/,
  mount options=(rw,rslave) -> /,
  mount options=(move) /a/ -> /b/,
  remount options=(ro) /mnt/,
  mount fstype=ext4 options=(rw) options in (nosuid,nodev) /dev/sd* -> /disk/,
  deny mount fstype=proc,
  umount /mnt/**,
  pivot_root oldroot=/new/old/ /new/,
  signal (receive) set=(term) peer=unconfined,
  ptrace (read) peer=decided,
  set rlimit nofile <= 1024,
  set rlimit core <= 0,

  profile kid { /** rix, }
  ^hat { /** r, }
  ^other-hat { /** r, }
}
profile elsewhere flags=(complain) { /srv/** r, deny /srv/secret/** w, capability chown, signal, }
profile killing flags=(kill) { /srv/** r, network inet stream, }
profile loud flags=(audit) { /srv/** r, deny /etc/** w, }
profile free flags=(unconfined) { }
`
