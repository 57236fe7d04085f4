"""Legacy lines that begin with a dollar sign, by what they stand for in RainerScript."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "FOR_NEXT_ACTION",
    "FOR_NEXT_INPUT",
    "FOR_RSYSLOG_ALONE",
    "GLOBAL",
    "LASTING",
    "OPENS_INPUT",
]


def _queue(prefix: str) -> dict[str, str]:
    """Parameters of a queue by the legacy names that begin with `prefix`."""
    names = {
        "size": "size",
        "type": "type",
        "filename": "filename",
        "workerthreads": "workerthreads",
        "maxdiskspace": "maxdiskspace",
        "maxfilesize": "maxfilesize",
        "saveonshutdown": "saveonshutdown",
        "highwatermark": "highwatermark",
        "lowwatermark": "lowwatermark",
        "discardmark": "discardmark",
        "discardseverity": "discardseverity",
        "timeoutenqueue": "timeoutenqueue",
        "timeoutshutdown": "timeoutshutdown",
        "syncqueuefiles": "syncqueuefiles",
        "timeoutactioncompletion": "timeoutactioncompletion",
        "timeoutworkerthreadshutdown": "timeoutworkerthreadshutdown",
        "workertimeoutthreadshutdown": "timeoutworkerthreadshutdown",
        "workerthreadminimummessages": "workerthreadminimummessages",
        "checkpointinterval": "checkpointinterval",
        "dequeuebatchsize": "dequeuebatchsize",
        "dequeueslowdown": "dequeueslowdown",
        "lightdelaymark": "lightdelaymark",
        "dequeuetimebegin": "dequeuetimebegin",
        "dequeuetimeend": "dequeuetimeend",
        "cry.provider": "cry.provider",
        "fulldelaymark": "fulldelaymark",
    }
    return {f"{prefix}{legacy}": f"queue.{name}" for legacy, name in names.items()}


FOR_NEXT_ACTION: Mapping[str, str] = {
    **_queue("actionqueue"),
    "actionname": "name",
    "actionresumeretrycount": "action.resumeretrycount",
    "actionresumeinterval": "action.resumeinterval",
    "actionexeconlyonceeveryinterval": "action.execonlyonceeveryinterval",
    "actionexeconlyeverynthtime": "action.execonlyeverynthtime",
    "actionexeconlyeverynthtimetimeout": "action.execonlyeverynthtimetimeout",
    "actionwriteallmarkmessages": "action.writeallmarkmessages",
    "actionsendtcprebindinterval": "rebindinterval",
    "actionsendudprebindinterval": "rebindinterval",
    "actionsendresendlastmsgonreconnect": "resendlastmsgonreconnect",
    "actionomprogbinary": "binary",
    "omuxsocksocket": "socket",
}
"""Parameters of the next action, by lines that are for it alone."""

LASTING: Mapping[str, str] = {
    "fileowner": "fileowner",
    "filegroup": "filegroup",
    "fileownernum": "fileownernum",
    "filegroupnum": "filegroupnum",
    "filecreatemode": "filecreatemode",
    "dirowner": "dirowner",
    "dirgroup": "dirgroup",
    "dircreatemode": "dircreatemode",
    "createdirs": "createdirs",
    "failonchownfailure": "failonchownfailure",
    "dynafilecachesize": "dynafilecachesize",
    "actionfileenablesync": "sync",
    "omfileflushinterval": "flushinterval",
    "omfileiobuffersize": "iobuffersize",
    "omfileflushontxend": "flushontxend",
    "omfilezipl": "ziplevel",
    "omfileziplevel": "ziplevel",
    "omfileasyncwriting": "asyncwriting",
    "actionsendstreamdriver": "streamdriver",
    "actionsendstreamdrivermode": "streamdrivermode",
    "actionsendstreamdriverauthmode": "streamdriverauthmode",
    "actionsendstreamdriverpermittedpeer": "streamdriverpermittedpeers",
    "actionexeconlywhenpreviousissuspended": "@failures",
    "actionfiledefaulttemplate": "@file",
    "actionforwarddefaulttemplate": "@forward",
    "actionforwarddefaulttemplatename": "@forward",
}
"""Parameters of all actions that follow; ``@`` marks those that are not
parameters of omfile and omfwd."""

FOR_NEXT_INPUT: Mapping[str, tuple[str, str]] = {
    "udpserveraddress": ("imudp", "address"),
    "inputudpserverbindruleset": ("imudp", "ruleset"),
    "udpservertimerequery": ("imudp", "timerequery"),
    "inputtcpserverbindruleset": ("imtcp", "ruleset"),
    "inputtcpserverinputname": ("imtcp", "name"),
    "inputtcpserverlistenip": ("imtcp", "address"),
    "inputptcpserverlistenip": ("imptcp", "address"),
    "inputptcpserverbindruleset": ("imptcp", "ruleset"),
    "inputptcpserverinputname": ("imptcp", "name"),
    "inputrelpserverbindruleset": ("imrelp", "ruleset"),
    "inputfilename": ("imfile", "file"),
    "inputfiletag": ("imfile", "tag"),
    "inputfilestatefile": ("imfile", "statefile"),
    "inputfileseverity": ("imfile", "severity"),
    "inputfilefacility": ("imfile", "facility"),
    "inputfilereadmode": ("imfile", "readmode"),
    "inputfilebindruleset": ("imfile", "ruleset"),
    "inputfilepersiststateinterval": ("imfile", "persiststateinterval"),
    "inputfilemaxlinesatonce": ("imfile", "maxlinesatonce"),
    "inputunixlistensocketcreatepath": ("imuxsock", "createpath"),
    "inputunixlistensockethostname": ("imuxsock", "hostname"),
    "inputunixlistensocketflowcontrol": ("imuxsock", "flowcontrol"),
    "inputunixlistensocketusepidfromsystem": ("imuxsock", "usepidfromsystem"),
}
"""Parameters of the inputs of a module that follow; for imfile, of the next one."""

OPENS_INPUT: Mapping[str, tuple[str, str]] = {
    "udpserverrun": ("imudp", "port"),
    "inputtcpserverrun": ("imtcp", "port"),
    "inputptcpserverrun": ("imptcp", "port"),
    "inputrelpserverrun": ("imrelp", "port"),
    "addunixlistensocket": ("imuxsock", "socket"),
    "inputrunfilemonitor": ("imfile", ""),
}
"""Lines that open an input of a module; the value is this parameter."""

GLOBAL: Mapping[str, tuple[str, str]] = {
    "workdirectory": ("global", "workdirectory"),
    "defaultnetstreamdriver": ("global", "defaultnetstreamdriver"),
    "defaultnetstreamdrivercafile": ("global", "defaultnetstreamdrivercafile"),
    "defaultnetstreamdrivercertfile": ("global", "defaultnetstreamdrivercertfile"),
    "defaultnetstreamdriverkeyfile": ("global", "defaultnetstreamdriverkeyfile"),
    "defaultnetstreamdrivercrlfile": ("global", "defaultnetstreamdrivercrlfile"),
    "maxmessagesize": ("global", "maxmessagesize"),
    "localhostname": ("global", "localhostname"),
    "preservefqdn": ("global", "preservefqdn"),
    "umask": ("global", "umask"),
    "inputtcpmaxsessions": ("imtcp", "maxsessions"),
    "inputtcpmaxlisteners": ("imtcp", "maxlistners"),
    "inputtcpserverstreamdrivermode": ("imtcp", "streamdriver.mode"),
    "inputtcpserverstreamdriverauthmode": ("imtcp", "streamdriver.authmode"),
    "inputtcpserverstreamdriverpermittedpeer": ("imtcp", "permittedpeer"),
    "inputtcpserversupportoctetcountedframing": ("imtcp", "supportoctetcountedframing"),
    "inputtcpserverkeepalive": ("imtcp", "keepalive"),
    "inputfilepollinterval": ("imfile", "pollinginterval"),
    "markmessageperiod": ("immark", "interval"),
    "systemlogsocketname": ("imuxsock", "syssock.name"),
    "omitlocallogging": ("imuxsock", "@omit"),
    "systemlogratelimitinterval": ("imuxsock", "syssock.ratelimit.interval"),
    "systemlogratelimitburst": ("imuxsock", "syssock.ratelimit.burst"),
    "systemlogusepidfromsystem": ("imuxsock", "syssock.usepidfromsystem"),
    "imuxsockratelimitinterval": ("imuxsock", "syssock.ratelimit.interval"),
    "imuxsockratelimitburst": ("imuxsock", "syssock.ratelimit.burst"),
    "klogpermitnonkernelfacility": ("imklog", "permitnonkernelfacility"),
    "klogconsoleloglevel": ("imklog", "consoleloglevel"),
    "imjournalstatefile": ("imjournal", "statefile"),
    "imjournalratelimitinterval": ("imjournal", "ratelimit.interval"),
    "imjournalratelimitburst": ("imjournal", "ratelimit.burst"),
    "imjournalignorepreviousmessages": ("imjournal", "ignorepreviousmessages"),
    **{name: ("main_queue", parameter) for name, parameter in _queue("mainmsgqueue").items()},
}
"""Parameters of global(), of a module, or of main_queue()."""

FOR_RSYSLOG_ALONE: Mapping[str, str] = {
    "privdroptouser": "the service's unit says as which user the relay runs",
    "privdroptogroup": "the service's unit says as which group the relay runs",
    "privdroptouserid": "the service's unit says as which user the relay runs",
    "privdroptogroupid": "the service's unit says as which group the relay runs",
    "abortonuncleanconfig": "the relay never starts with errors in its configuration",
    "hupisrestart": "the relay reads its configuration again at SIGHUP",
    "optimizeforuniprocessor": "for rsyslog's own threads",
    "debugfile": "rsyslog's own debugging",
    "debuglevel": "rsyslog's own debugging",
    "moddir": "the relay has no modules to load",
    "dropmsgswithmaliciousdnsptrrecords": "the relay does not look up senders' names",
    "generateconfiggraph": "rsyslog's own debugging",
    "rulesetcreatemainqueue": "each destination has a queue of its own, on disk",
    "actionsendstreamdriverdefault": "rsyslog's own default",
    "space": "rsyslog's own default",
    "spacelfonreceive": "the relay keeps the text as it came; line ends are written as #012",
    "escapecontrolcharactersonreceive": (
        "the relay keeps the text as it came; line ends are written as #012"
    ),
    "escape8bitcharactersonreceive": "the relay keeps the text as it came",
    "escapecontrolcharactertab": "the relay keeps the text as it came",
    "controlcharacterescapeprefix": "the relay keeps the text as it came",
}
"""Lines that mean nothing for the relay, and why."""
