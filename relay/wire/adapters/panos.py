"""PAN-OS logs: comma separated values in place of tag and MSG (Palo Alto Networks).

The columns are those of the vendor's description of each log type, by its names.
"""

from __future__ import annotations

import csv

from relay.model.message import SyslogMessage

_FIRST = [
    *("future_use1", "receive_time", "serial", "type", "subtype", "future_use2"),
    "time_generated",
]
_GROUPS = "dg_hier_level_1 dg_hier_level_2 dg_hier_level_3 dg_hier_level_4 vsys_name device_name"
_SEQUENCE = f"seqno actionflags {_GROUPS}"
_FLOW = (
    "src dst natsrc natdst rule srcuser dstuser app vsys from to inbound_if outbound_if logset "
    "future_use3 sessionid repeatcnt sport dport natsport natdport flags proto action"
)
_CONFIG = "host vsys cmd admin client result path"
_COLUMNS = {
    "SYSTEM": (
        "vsys eventid object future_use3 future_use4 module severity opaque " + _SEQUENCE
    ).split(),
    "CONFIG": f"{_CONFIG} {_SEQUENCE}".split(),
    "TRAFFIC": (
        f"{_FLOW} bytes bytes_sent bytes_received packets start sec category future_use4 seqno "
        "actionflags srcloc dstloc future_use5 pkts_sent pkts_received session_end_reason "
        f"{_GROUPS} action_source src_uuid dst_uuid tunnel_id/imsi monitortag/imei "
        "parent_session_id parent_start_time tunnel assoc_id chunks chunks_sent chunks_received "
        "rule_uuid http2_connection link_change_count policy_id link_switches sdwan_cluster "
        "sdwan_device_type sdwan_cluster_type sdwan_site dynusergroup_name"
    ).split(),
    "THREAT": (
        f"{_FLOW} misc threatid category severity direction seqno actionflags srcloc dstloc "
        "future_use4 contenttype pcap_id filedigest cloud url_idx user_agent filetype xff "
        f"referer sender subject recipient reportid {_GROUPS} future_use5 src_uuid dst_uuid "
        "http_method tunnel_id/imsi monitor_tag/imei parent_session_id parent_start_time tunnel "
        "thr_category contentver future_use6 assoc_id ppid http_headers url_category_list "
        "rule_uuid http2_connection"
    ).split(),
    "HIP-MATCH": (
        "srcuser vsys machine_name os src matchname repeatcnt matchtype future_use3 future_use4 "
        f"{_SEQUENCE} vsys_id srcipv6 hostid serialnumber"
    ).split(),
    "CORRELATION": (
        f"src srcuser vsys category severity {_GROUPS} vsys_id objectname object_id evidence"
    ).split(),
    "USERID": (
        "vsys ip user datasourcename eventid repeatcnt timeout beginport endport datasource "
        f"datasourcetype {_SEQUENCE} vsys_id factortype factorcompletiontime factorno "
        "future_use3 future_use4 ugflags userbysource"
    ).split(),
}
# CONFIG logs may be set to carry what was changed.
_CONFIG_DETAILED = f"{_CONFIG} before_change_detail after_change_detail {_SEQUENCE}".split()


def read_panos(message: SyslogMessage) -> SyslogMessage | None:
    """`message` with its columns as pairs and all of them as MSG, or None if it has none.

    A line is taken for one of PAN-OS if its type is known and it has all columns up to
    the device name.  Any other stays as it is (syslog-ng 3.38 drops it).
    """
    header = (message.pairs or {}).get("LEGACY_MSGHDR", b"")
    text = header + message.msg
    values = _values(text.decode("utf-8", "surrogateescape"))
    columns = _COLUMNS.get(values[3] if len(values) > 3 else "")
    if columns is None:
        return None
    rest = values[len(_FIRST) :]
    if columns is _COLUMNS["CONFIG"] and len(rest) != len(columns):
        columns = _CONFIG_DETAILED
    if len(rest) <= columns.index("device_name"):
        return None
    pairs = {
        f".panos.{name}": value.encode("utf-8", "surrogateescape")
        for name, value in zip(_FIRST + columns, values, strict=False)
    }
    pairs[".app.name"] = b"panos"
    return message._replace(
        app_name=b"paloalto_panos",
        procid=None,
        msg=text,
        pairs={**{k: v for k, v in (message.pairs or {}).items() if k != "LEGACY_MSGHDR"}, **pairs},
    )


def _values(text: str) -> list[str]:
    try:
        return next(csv.reader([text]), [])
    except csv.Error:  # a value above the csv module's limit, a NUL, a line end
        return []
