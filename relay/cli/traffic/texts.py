"""Texts of the generator's messages, all invented.

A ``{name}`` is a field, drawn anew for each message; see `relay.cli.traffic.generator.Draw`.
Addresses are those for documentation (RFC 5737, RFC 3849), the enterprise number of our own
structured data is 32473 (RFC 5612).
"""

from __future__ import annotations

from typing import NamedTuple


class Program(NamedTuple):
    facility: int
    pid: str
    """`kept` by the program on a host, `new` with nearly each message, or `none`."""
    texts: list[str]


USERS = (
    "anna bela carmen dmitri elena farid greta ines jonas backup deploy nagios root".split()  # noqa: SIM905
)
WORDS = (  # noqa: SIM905
    "batch cache commit cursor delayed device entry failed fetched finished flush handler index "
    "invalid item key lease limit loaded lookup missing node offset parent peer pending policy "
    "queue ready refresh region replica request reset resolved retry route schema segment session "
    "shard skipped slot snapshot stale started status stopped stream table target tenant timeout "
    "token transaction unknown update upstream value verified version volume waiting worker zone"
).split()


def _programs(text: str) -> dict[str, Program]:
    """Programs of lines ``NAME FACILITY PID``, ``- TEXT``, and those that continue a text."""
    programs: dict[str, Program] = {}
    for line in text.split("\n"):
        if not line.startswith(("- ", "  ")):
            name, facility, pid = line.split()
            programs[name] = Program(int(facility), pid, [])
        elif line.startswith("- "):
            programs[name].texts.append(line[2:])
        else:
            programs[name].texts[-1] += line[1:]
    return programs


PROGRAMS = _programs("""\
sshd 10 new
- Accepted publickey for {user} from {ip} port {port} ssh2: ED25519 SHA256:{base64}
- Failed password for invalid user {word} from {ip} port {port} ssh2
- Connection closed by authenticating user {user} {ip6} port {port} [preauth]
- pam_unix(sshd:session): session opened for user {user}(uid={small}) by (uid=0)
- Received disconnect from {ip} port {port}:11: {words} [preauth]
kernel 0 none
- [{big}.{micro}] eth{digit}: link becomes ready
- [{big}.{micro}] DROP IN=eth{digit} OUT= MAC={mac} SRC={ip} DST={ip} LEN={small} TOS=0x00
  TTL={small} ID={port} DF PROTO=TCP SPT={port} DPT={port} WINDOW={port} SYN
- [{big}.{micro}] {word}[{port}]: segfault at {hex8} ip 0000{hex12} sp 0000{hex12} error {digit} in
  lib{word}.so.{digit}[{hex12}+{hex4}]
- [{big}.{micro}] nvme{digit}: {words}
- {word} {word}
CRON 9 new
- ({user}) CMD (/usr/local/bin/{word}-{word} --quiet >/dev/null 2>&1)
- pam_unix(cron:session): session closed for user {user}
systemd 3 kept
- Started {word}-{word}.service - Keeps the {word} of each {word}.
- {word}-{word}.service: Consumed {digit}.{milli}s CPU time, {small}.{digit}M memory peak.
- {word}.service: Main process exited, code=exited, status={digit}/FAILURE
- Reached target {word}.target.
sudo 10 none
-    {user} : TTY=pts/{digit} ; PWD=/home/{user} ; USER=root ; COMMAND=/usr/bin/{word} --{word}
  /etc/{word}.conf
- pam_unix(sudo:session): session opened for user root(uid=0) by {user}(uid={small})
postfix/smtpd 2 new
- connect from mail-{small}.example.org[{ip}]
- NOQUEUE: reject: RCPT from unknown[{ip}]: 450 4.7.1 <{word}.example.net>: Helo command rejected:
  {words}; from=<{user}@example.com> to=<{user}@example.org> proto=ESMTP helo=<{word}.example.net>
postfix/qmgr 2 kept
- {hex8}{hex4}: from=<{user}@example.com>, size={port}, nrcpt={digit} (queue active)
dovecot 2 none
- imap-login: Login: user=<{user}>, method=PLAIN, rip={ip}, lip={ip}, mpid={port}, TLS,
  session=<{base64}>
- imap({user})<{port}><{base64}>: Disconnected: {words} in={port} out={big} deleted=0
nginx 16 kept
- {ip} - {user} "GET /{word}/{word}/{big}?{word}={hex8}&{query} HTTP/1.1" 200 {port}
  "https://www.example.com/{word}" "Browser/{small}.{digit} (X11; x86_64) {word}/{small}"
- {ip6} - - "POST /api/v{digit}/{word} HTTP/2.0" {status} {small} "-" "client/{digit}" rt=0.{milli}
  urt=0.{milli}
- *{big} upstream timed out (110: {words}), client: {ip}, server: www.example.com, request: "GET
  /{word} HTTP/1.1", upstream: "http://{ip}:{port}/{word}"
haproxy 16 kept
- {ip}:{port} [{clf}] front~ {word}/{word}-{digit} 0/0/{digit}/{small}/{small} {status} {port} - -
  ---- {small}/{small}/{digit}/{digit}/0 0/0 "GET /{word}?{query} HTTP/1.1"
apache2 17 new
- [core:error] [pid {port}:tid {hex12}] [client {ip}:{port}] AH{port}: {words}
- {ip} "GET /{word}/{word}.html HTTP/1.1" {status} {port}
named 3 kept
- client @0x{hex12} {ip}#{port} ({word}.example.com): query: {word}.example.com IN AAAA +E(0)K
  ({ip})
- zone example.net/IN: notify from {ip6}#{port}: serial {big}
dhcpd 3 kept
- DHCPACK on {ip} to {mac} ({word}-{small}) via eth{digit}
- DHCPDISCOVER from {mac} via {ip}: {words}
postgres 16 new
- [{small}-1] {user}@{word} LOG:  duration: {small}.{milli} ms  statement: SELECT id, {word},
  {word} FROM {word} WHERE {word} = '{hex8}' ORDER BY {word} LIMIT {small}
- [{small}-1] ERROR:  relation "{word}_{word}" does not exist at character {small}
- [{small}-1] LOG:  checkpoint complete: wrote {port} buffers ({digit}.{digit}%); {words}
mariadbd 3 kept
- {big} [Warning] Aborted connection {big} to db: '{word}' user: '{user}' ({words})
redis-server 16 kept
- {small} changes in {small} seconds. Saving...
- DB saved on disk: {words}
dockerd 3 kept
- time="{iso}" level=info msg="ignoring event" container={hex32}{hex32} module={word}
  namespace=moby topic=/tasks/{word} type="*events.Task{word}"
- time="{iso}" level=error msg="{words}" error="{word}: {word}" spanID={hex12}
kubelet 3 kept
- E{port} {small} pod_workers.go:{small}] "Error syncing pod" err="failed to start {word} with
  {word}: back-off {small}s {words}" pod="{word}/{word}-{hex8}"
  podUID="{hex8}-{hex4}-{hex4}-{hex4}-{hex12}"
- I{port} {small} kubelet.go:{small}] "SyncLoop (PLEG)" pod="{word}/{word}-{hex8}"
containerd 3 kept
- time="{iso}" level=warning msg="cleanup {word} {hex32}" namespace=k8s.io {words}
chronyd 3 kept
- Selected source {ip} (time-{digit}.example.net)
- System clock wrong by 0.{micro} seconds
auditd 13 kept
- type=SYSCALL msg=audit({big}.{milli}:{port}): arch=c000003e syscall={small} success=yes exit=0
  a0={hex12} a1={hex8} a2={hex4} ppid={port} pid={port} auid={small} uid=0 gid=0 tty=pts{digit}
  ses={small} comm="{word}" exe="/usr/bin/{word}" key="{word}"
NetworkManager 3 kept
- <info>  [{big}.{milli}] device (eth{digit}): state change: {word} -> {word} (reason '{word}')
rsyslogd 5 none
- [origin software="rsyslogd" swVersion="8.{small}.0" x-pid="{port}"] {words}
- action 'action-{digit}-omrelp' suspended (module 'omrelp'), retry {digit}. {words}
smartd 3 kept
- {word}
- Device: /dev/sd{letter}, {small} {words} sectors
keepalived 3 kept
- {word} {word}
- (VI_{small}) Entering {word} STATE
- {words} for [{ip}]:{port}
slapd 20 kept
- conn={port} op={digit} SRCH base="ou={word},dc=example,dc=com" scope=2 deref=0
  filter="(&(objectClass={word})(uid={user}))"
- conn={port} op={digit} RESULT tag=101 err=0 qtime=0.{micro} nentries={digit} text=
freeradius 10 kept
- ({big}) Login OK: [{user}] (from client {word}-{digit} port {digit} cli {mac})
billing-api 18 kept
- request_id={hex8}-{hex4}-{hex4} user={user} tenant={word} path=/v{digit}/{word} status={status}
  duration_ms={small} {words}
- java.lang.IllegalStateException: {words} at com.example.{word}.{word}({word}.java:{small}) at
  com.example.{word}.{word}.{word}({word}.java:{small}) {words}
backup-agent 18 new
- {word}
- job {big}: {port} files, {big} bytes: {words}
snmpd 3 kept
- {word}
- {word} {word} {digit}
- Connection from UDP: [{ip}]:{port}->[{ip}]:161""")

SD_ELEMENTS = (
    '[meta sequenceId="{big}" sysUpTime="{big}" language="en"]',
    '[timeQuality tzKnown="1" isSynced="1" syncAccuracy="{port}"]',
    '[origin ip="{ip}" enterpriseId="32473" software="{word}d" swVersion="{digit}.{small}"]',
    '[request@32473 id="{hex8}-{hex4}" method="GET" path="/{word}/{word}" status="{status}"]',
    '[audit@32473 user="{user}" action="said \\"{word}\\"" list="[{word}\\]" ms="{small}"]',
    '[k8s@32473 pod="{word}-{hex8}" namespace="{word}" node="node-{small}" container="{word}"]',
)

JSON = (
    '{"level":"info","logger":"com.example.{word}","message":"{words}","requestId":"{hex32}",'
    '"durationMs":{small},"user":{"name":"{user}","id":{big}},"tags":["{word}","{word}"]}',
    '{"time":"{iso}","severity":"ERROR","msg":"{words}","error":{"type":"{word}Error",'
    '"stack":"at {word} ({word}.js:{small}:{digit})\\n    at {word} ({word}.js:{small})"},'
    '"http":{"method":"POST","url":"/{word}?{query}","status":{status}},"retry":false}',
    '@cee:{"msg":"{words}","pid":{port},"src":"{ip}","dst":"{ip6}","ratio":0.{milli},"ok":true}',
    '@cee: {"event":"{word}","actor":"{user}","bytes":{big},"parent":null}',
    '{"ts":{big}.{milli},"caller":"{word}/{word}.go:{small}","msg":"{words}",'
    '"quote":"\\"{word}\\"",'
    '"path":"C:\\\\{word}\\\\{word}","labels":{"app":"{word}","zone":"{letter}","n":{digit}}}',
)

ASA = (
    "%ASA-6-302013: Built inbound TCP connection {big} for outside:{ip}/{port} ({ip}/{port}) to "
    "inside:{ip}/{port} ({ip}/{port})",
    "%ASA-6-302014: Teardown TCP connection {big} for outside:{ip}/{port} to inside:{ip}/{port} "
    "duration 0:0{digit}:1{digit} bytes {big} TCP FINs",
    "%ASA-4-106023: Deny tcp src outside:{ip}/{port} dst dmz:{ip}/{port} by access-group "
    '"{word}_in" '
    "[0x{hex8}, 0x0]",
    "%ASA-5-111008: User '{user}' executed the '{word} {word}' command.",
)
IOS = (
    "%LINK-3-UPDOWN: Interface GigabitEthernet{digit}/0/{small}, changed state to up",
    "%LINEPROTO-5-UPDOWN: Line protocol on Interface GigabitEthernet{digit}/0/{small}, changed "
    "state to down",
    "%SYS-5-CONFIG_I: Configured from console by {user} on vty{digit} ({ip})",
    "%SEC-6-IPACCESSLOGP: list {word} denied tcp {ip}({port}) -> {ip}({port}), {small} packets",
    "%OSPF-5-ADJCHG: Process {digit}, Nbr {ip} on Vlan{small} from LOADING to FULL, Loading Done",
)
FORTIGATE = (
    'devname="{host}" devid="FG{big}" eventtime={big} tz="+0000" logid="0000000013" type="traffic" '
    'subtype="forward" level="notice" vd="root" srcip={ip} srcport={port} srcintf="port{digit}" '
    'srcintfrole="lan" dstip={ip} dstport={port} dstintf="wan{digit}" dstintfrole="wan" '
    'sessionid={big} proto=6 action="close" policyid={small} policytype="policy" '
    'service="{word}" trandisp="snat" transip={ip} transport={port} duration={small} '
    'sentbyte={big} rcvdbyte={big} sentpkt={small} rcvdpkt={small} appcat="{word}"',
    'devname="{host}" devid="FG{big}" eventtime={big} logid="0100032001" type="event" '
    'subtype="system" level="information" vd="root" logdesc="Admin login" user="{user}" '
    'ui="https({ip})" action="login" status="success" msg="{words}"',
)
PANOS = (
    "TRAFFIC,end,2562,{slashes},{ip},{ip},{ip},{ip},{word}-out,,,{word},vsys1,trust,untrust,"
    "ethernet1/{digit},ethernet1/{digit},central-log,{slashes},{big},1,{port},{port},{port},{port},"
    "0x400019,tcp,allow,{big},{port},{big},{small},{slashes},{small},any,,{big},0x0,"
    "192.0.2.0-192.0.2.255,US,,{small},{small},tcp-fin,0,0,0,0,,{host},from-policy",
    "THREAT,url,2562,{slashes},{ip},{ip},0.0.0.0,0.0.0.0,{word}-out,,,web-browsing,vsys1,trust,"
    "untrust,ethernet1/{digit},ethernet1/{digit},central-log,{slashes},{big},1,{port},443,0,0,"
    '0x1000,tcp,alert,"www.example.com/{word},{word}",(9999),{word},informational,client-to-server',
    'SYSTEM,general,2562,{slashes},,general,,0,0,general,informational,"{words}",{big},0x0',
)
JUNOS = (
    "rpd[{port}]: bgp_recv: peer {ip} (External AS {port}): received unexpected EOF",
    "mgd[{port}]: UI_COMMIT: User '{user}' requested 'commit' operation (comment: {words})",
    "sshd[{port}]: SSHD_LOGIN_FAILED: Login failed for user '{user}' from host '{ip}'",
    "mib2d[{port}]: SNMP_TRAP_LINK_DOWN: ifIndex {small}, ifAdminStatus up(1), ifOperStatus "
    "down(2), ifName ge-0/0/{digit}",
)
JUNOS_SD = (
    'RT_FLOW - RT_FLOW_SESSION_CREATE [junos@2636.1.1.1.2.{small} source-address="{ip}" '
    'source-port="{port}" destination-address="{ip}" destination-port="{port}" '
    'service-name="junos-{word}" protocol-id="6" policy-name="{word}-{word}" '
    'source-zone-name="trust" destination-zone-name="untrust" session-id-32="{big}"]',
    'RT_FLOW - RT_FLOW_SESSION_CLOSE [junos@2636.1.1.1.2.{small} reason="TCP FIN" '
    'source-address="{ip}" destination-address="{ip}" elapsed-time="{small}"] session '
    "closed {words}",
)
ESXI = (
    "Hostd: info hostd[{port}] [Originator@6876 sub=Vimsvc.TaskManager opID={hex8} user={user}] "
    "Task Completed : haTask-{small}-vim.{word}.{word}-{big} Status success",
    "Vpxa: verbose vpxa[{port}] [Originator@6876 sub=PropertyProvider opID={hex8}] {words}",
    "vmkernel: cpu{digit}:{big})ScsiDeviceIO: {small}: Cmd(0x{hex12}) 0x1a, CmdSN 0x{hex4} from "
    'world 0 to dev "naa.{hex32}" failed H:0x0 D:0x2 P:0x0 Valid sense data: 0x5 0x20 0x0.',
    "vobd: [vmfsCorrelator] {big}us: [esx.problem.vmfs.heartbeat.{word}] {words}",
)

UTF8_TEXTS = (
    "Benutzer für „{word}“ hinzugefügt: Größe {small} KiB, Straße {digit} — {words}",
    "пользователь {user} вошёл в систему адрес {ip}: {words}",
    "ログイン成功 ユーザー={user} アドレス={ip} {words}",
    "tâche terminée à l'étape {digit} ✓ durée {small} µs 🚀 {words}",
)
LATIN_TEXTS = (
    "Verbindung zu Gerät {word} geschlossen, Größe {small}, später nochmals: {words}",
    "échec de l'opération {word} à la ligne {small}, réessayé: {words}",
    "el año {small} señal {word} caída, {words}",
)

ODD = (
    "no priority at all, only {words}",
    "<13>{words}",
    "<999>{bsd} {host} {word}: {words}",
    "< 13>{bsd} {host} {word}: {words}",
    "<34>{bsd}  {host}  {word} : {words}",
    "<34>{bsd} {word}: no host, {words}",
    "<165>1 yesterday {host} {word} {small} - - {words}",
    '<165>1 {iso} {host} {word} {small} - [open@32473 a="{word} {words}',
    "<165>2 {iso} {host} {word} {small} - - {words}",
    "<165>1 {iso} {host}",
    "<191>{bsd}",
    "\ttrace line without a header: {word}.{word}({word}.c:{small})",
    "<14>{bsd} {host} {word}[{small}: the bracket stays open, {words}",
    "<14>{bsd} {host} {word}: bell \a escape \033[31m{word}\033[0m tab\t{words}",
    "-- MARK -- {word}",
)
